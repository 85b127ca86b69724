"""Figures for the notebooks: image sheets, training curves, bars. They need no display, no pyplot.

Every function returns a `Picture`, a matplotlib Figure that a notebook cell shows once, as its last
value, and that `save` writes as a small PNG. Images are float (n, 3, H, W) in [-1, 1], masks
(n, 1, H, W) in {0, 1}, 1 = the hole.
"""

import ast
import base64
import inspect
import io
import textwrap
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from .checks import check_number, check_whole, numbers
from .data import to_uint8 as _bytes
from .errors import RoiganError, shown
from .files import place, write_atomically

# Okabe and Ito's colours: told apart by colour-blind readers too
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 100
_FONT, _LINE = 8, 15  # points; pixels for one line of text
_LOSSLESS = 60_000  # a picture above so many bytes is shown with 256 colours


def figures_dir() -> Path:
    """Where this run's pictures and rows go: $ROIGAN_FIGURES, else figures/ in the repository."""
    folder = place("ROIGAN_FIGURES", "figures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Picture(Figure):
    """A Figure that a notebook shows once, as a PNG small enough to commit."""

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = png(self)
        if len(data) > _LOSSLESS:
            data = png(self, colours=256)
        return {"image/png": base64.b64encode(data).decode(), "text/plain": repr(self)}


def png(fig, colours=None) -> bytes:
    """The figure as optimised PNG at its own size; colours=256 stores a palette, a third of it."""
    buffer, out = io.BytesIO(), io.BytesIO()
    if not isinstance(fig, Figure):
        raise RoiganError(f"{shown(fig)} is no figure; give one of matplotlib's.")
    fig.savefig(buffer, format="png", dpi=fig.dpi, facecolor="white")
    picture = Image.open(buffer).convert("RGB")
    picture = picture.quantize(check_whole("colours", colours, 2, 256)) if colours else picture
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def save(fig, path, colours=None):
    """Write the figure as `png` in one step, its folder made. The path, or a RoiganError."""
    _check_ending(path, ".png", "Figures are saved as PNG")
    return write_atomically(path, png(fig, colours))


def source(thing):
    """The code of a library function, method or class, as a notebook shows it: no docstrings."""
    from IPython.display import Code

    try:
        lines = textwrap.dedent(inspect.getsource(thing)).splitlines()
    except (TypeError, OSError):
        raise RoiganError(f"{shown(thing)} has no source; give a function or a class.") from None
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            for k in range(node.body[0].lineno - 1, node.body[0].end_lineno):
                lines[k] = None
    return Code("\n".join(line for line in lines if line is not None), language="python")


def _check_ending(path, ending, rule):
    path = Path(path)
    if path.suffix.lower() != ending:
        raise RoiganError(f"{rule}: name it {path.with_suffix(ending)}, not {path}.")


def to_uint8(images) -> np.ndarray:
    """Images (n, 3, H, W) or (3, H, W) in [-1, 1] as bytes for display, channels last."""
    images = numbers("pictures", images)
    if images.ndim not in (3, 4) or images.shape[-3] not in (1, 3):
        raise RoiganError(
            f"Pictures are drawn from images (n, 3, H, W), not from a tensor {tuple(images.shape)}."
        )
    images = images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    return _bytes(images.float()).movedim(-3, -1).cpu().numpy()


def _tiled(pixels, ncols, scale, above=0, gap=0):
    """Bytes (n, H, W, 3), each pixel scale x scale, in a grid on white: (rows, columns, 3)."""
    pixels = pixels.repeat(scale, 1).repeat(scale, 2)
    room = (0, -len(pixels) % ncols), (above, gap), (0, gap), (0, 0)
    pixels = np.pad(pixels, room, constant_values=255)
    _, height, width, _ = pixels.shape
    page = pixels.reshape(-1, ncols, height, width, 3).swapaxes(1, 2).reshape(-1, ncols * width, 3)
    return page[: len(page) - gap, : ncols * width - gap]


def sheet(images, ncols=8, titles=None, rows=None, scale=None, gap=2, captions=None) -> Picture:
    """A grid of images, each pixel drawn as scale × scale whole pixels, so that nothing is blurred.

    images: (n, 3, H, W), row by row. titles: a word above each column; rows: a word left of each
    row; captions: a word above every image. scale: default makes a cell about 96 pixels wide, 1 at
    least. gap: white pixels between images. RoiganError: no images, or another number of words.
    """
    pixels = to_uint8(images)
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    n, height, width = pixels.shape[:3]
    if not n:
        raise RoiganError("There are no images to draw: give at least one.")
    ncols = min(check_whole("ncols", ncols), n)
    scale = check_whole("scale", scale or max(1, round(96 / width)), 1, 64)
    gap = check_whole("gap", gap, 0, 4096)
    for words in (titles, rows, captions):
        if words is not None and (isinstance(words, str) or not hasattr(words, "__iter__")):
            raise RoiganError(f"labels are {shown(words)}; give a list of words, one each.")
    titles, rows, captions = (() if w is None else list(w) for w in (titles, rows, captions))
    labels = (titles, ncols, "columns"), (rows, -(-n // ncols), "rows"), (captions, n, "images")
    for words, count, what in labels:
        if words and len(words) != count:
            raise RoiganError(f"There are {len(words)} labels for {count} {what}: give one each.")
    top, above = (_LINE if words else 0 for words in (titles, captions))
    left = 10 + round(6.4 * max(len(str(word)) for word in rows)) if rows else 0
    across, down = width * scale + gap, height * scale + above + gap
    canvas = _tiled(pixels, ncols, scale, above, gap)
    canvas = np.pad(canvas, ((top, 0), (left, 0), (0, 0)), constant_values=255)
    total_h, total_w = canvas.shape[:2]
    fig = Picture(figsize=(total_w / DPI, total_h / DPI), dpi=DPI)

    def write(x, y, word, ha="center", va="bottom"):
        fig.text(x / total_w, 1 - y / total_h, str(word), fontsize=_FONT, ha=ha, va=va)

    middle = left + width * scale / 2
    for i, word in enumerate(captions):
        write(middle + i % ncols * across, top + i // ncols * down + above - 3, word)
    for i, word in enumerate(titles):
        write(middle + i * across, _LINE - 4, word)
    for i, word in enumerate(rows):
        write(left - 5, top + i * down + above + height * scale / 2, word, "right", "center")
    fig.figimage(canvas, origin="upper")
    return fig


def masked(images, masks, grey=0.6) -> torch.Tensor:
    """The images (n, 3, H, W) with the hole painted a light grey: what a method is given."""
    grey = torch.as_tensor(check_number("grey", grey, -1.001, 1.001), dtype=images.dtype)
    return torch.where(numbers("masks", masks) > 0.5, grey, images)


def comparison_sheet(images, masks, completed, n=8, **options) -> Picture:
    """One row each for the first n images: original, masked, and completed = {method: images}."""
    if not isinstance(completed, dict):
        raise RoiganError(f"completed is {shown(completed)}; give a dictionary {{method: images}}.")
    for name, result in completed.items():
        if result.shape != images.shape:
            raise RoiganError(
                f"Method {name!r} has {tuple(result.shape)} for images {tuple(images.shape)}: "
                f"give one completed image for each."
            )
    columns = {"original": images, "masked": masked(images, masks), **completed}
    stack = torch.stack([column[:n].cpu() for column in columns.values()], 1)
    return sheet(stack.flatten(0, 1), ncols=len(columns), titles=list(columns), **options)


def traversal_sheet(images, names=None, values=None, **options) -> Picture:
    """images (codes, steps, 3, H, W): a row for each code, names[i]; a column for each value."""
    images = numbers("pictures", images)
    if images.ndim != 5:
        raise RoiganError(f"A traversal is (codes, steps, 3, H, W), not {tuple(images.shape)}.")
    titles = None if values is None else [v if isinstance(v, str) else f"{v:+.2g}" for v in values]
    return sheet(images.flatten(0, 1), ncols=images.shape[1], titles=titles, rows=names, **options)


def animation(frames, path, ncols=3, scale=2, seconds=0.1, colours=128):
    """Write frames (t, n, 3, H, W) as a looping GIF of sheets with `ncols` columns; the path.

    seconds: how long a frame stays. colours: of all frames together, 2 to 256. RoiganError: no
    frames, another ending than .gif, or a path that cannot be written.
    """
    stacked = isinstance(frames, (list, tuple)) and all(map(torch.is_tensor, frames))
    alike = stacked and len({frame.shape for frame in frames}) == 1
    frames = numbers("frames", torch.stack(tuple(frames)) if alike else frames)
    ncols, scale = check_whole("ncols", ncols), check_whole("scale", scale, 1, 64)
    seconds = check_number("seconds", seconds, 0, 60)
    if frames.ndim != 5 or not frames.numel():
        raise RoiganError(
            f"An animation is made of frames (t, n, 3, H, W), not of {tuple(frames.shape)}."
        )
    _check_ending(path, ".gif", "Animations are saved as GIF")
    pages = [_tiled(to_uint8(frame), ncols, scale) for frame in frames]
    # One palette for all frames, from about eight of them: what does not move must not flicker.
    some = Image.fromarray(np.concatenate(pages[:: max(1, len(pages) // 8)]))
    palette = some.quantize(check_whole("colours", colours, 2, 256), kmeans=2)
    dither = Image.Dither.NONE
    first, *others = (Image.fromarray(p).quantize(palette=palette, dither=dither) for p in pages)
    buffer, milliseconds = io.BytesIO(), round(1000 * seconds)
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return write_atomically(path, buffer.getvalue())


def _panels(titles, ncols, scale=1.0, below=0.0):
    """A figure with a panel for each title, 3.2 by 2.2 inches times scale, and inches below."""
    ncols = min(ncols, len(titles))
    nrows = -(-len(titles) // ncols)
    size = 3.2 * scale * ncols, 2.2 * scale * nrows + below
    fig = Picture(figsize=size, dpi=DPI, layout="constrained")
    for i, title in enumerate(titles):
        axes = fig.add_subplot(nrows, ncols, i + 1)
        axes.set_title(title, fontsize=_FONT + 1, loc="left")
        axes.tick_params(labelsize=_FONT - 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    return fig


def curves(rows, keys, x="step", smooth=0.9, ncols=3, scale=1.0) -> Picture:
    """Training curves of rows: dictionaries, a DataFrame or the path of a .jsonl log.

    keys: one panel each; an entry that is a tuple puts its keys into one panel. smooth: the share
    of the running mean that each point keeps (0 = none); the raw values stay behind it, pale.
    scale: of a panel's 3.2 by 2.2 inches; the letters keep their size. RoiganError: an unknown key.
    """
    import pandas as pd

    from .metrics import load_rows, records

    smooth = check_number("smooth", smooth, -1e-9, 1)
    rows = records(load_rows(rows) if isinstance(rows, (str, Path)) else rows)
    panels = [(key,) if isinstance(key, str) else tuple(key) for key in keys]
    rows = [{k: v for k, v in row.items() if isinstance(v, (int, float))} for row in rows]
    known = sorted(set().union(*rows))
    for key in (x, *(key for panel in panels for key in panel)):
        if key not in known:
            raise RoiganError(
                f"The log has no numbers under {key!r}: it has {', '.join(known) or 'none at all'}."
            )
    fig = _panels([panel[0] if len(panel) == 1 else "" for panel in panels], ncols, scale)
    for axes, panel in zip(fig.axes, panels):
        for key, colour in zip(panel, PALETTE * 3):
            points = [(row[x], row[key]) for row in rows if x in row and key in row]
            at, values = np.array(points, float).reshape(-1, 2).T
            pale = {"alpha": 0.25} if smooth else {"label": key}
            axes.plot(at, values, color=colour, linewidth=0.8, **pale)
            if smooth:
                finite = pd.Series(np.where(np.isfinite(values), values, np.nan))
                mean = finite.ewm(alpha=1 - smooth, ignore_na=True).mean()  # over NaN, too
                axes.plot(at, mean, color=colour, linewidth=1.4, label=key)
        if len(panel) > 1:
            axes.legend(fontsize=_FONT - 1, frameon=False)
        if axes.get_subplotspec().is_last_row():
            axes.set_xlabel(x, fontsize=_FONT)
    return fig


def bars(table, metrics=None, ncols=3) -> Picture:
    """A panel for each metric of a comparison, a group for each mask family, a bar each method.

    metrics: names, with or without their _n… ending; default all of them but outside_change. KID
    has its sd as whisker. RoiganError: the table has none of these.
    """
    from .metrics import records

    table = records(table, "metric", "method", "mask_law")
    names, methods = (list(dict.fromkeys(r[key] for r in table)) for key in ("metric", "method"))
    wanted = [name for name in names if name != "outside_change"]
    if metrics is not None:
        wanted = [n for n in names if n in metrics or n.rpartition("_n")[0] in metrics]
    if not wanted:
        raise RoiganError(
            f"The table has none of these metrics: it has {', '.join(names) or 'no rows'}."
        )
    fig, step = _panels(wanted, ncols, below=0.3), 0.8 / len(methods)
    for axes, name in zip(fig.axes, wanted):
        rows = {(row["method"], row["mask_law"]): row for row in table if row["metric"] == name}
        laws = list(dict.fromkeys(law for _, law in rows))
        for k, (method, colour) in enumerate(zip(methods, PALETTE * 3)):
            own = [rows.get((method, law), {}) for law in laws]
            height = [np.nan if row.get("value") is None else row["value"] for row in own]
            whisker = [row.get("spread") or 0 for row in own] if name.startswith("kid") else None
            place = np.arange(len(laws)) + (k - (len(methods) - 1) / 2) * step
            look = {"color": colour, "label": method, "error_kw": {"linewidth": 0.8}}
            axes.bar(place, height, 0.95 * step, yerr=whisker, **look)
        if name.startswith("border_ratio"):
            axes.axhline(1, color="#000000", linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(laws)), laws)
    handles, labels = fig.axes[0].get_legend_handles_labels()
    where = {"loc": "outside lower center", "ncols": len(methods)}
    fig.legend(handles, labels, fontsize=_FONT, frameon=False, **where)
    return fig
