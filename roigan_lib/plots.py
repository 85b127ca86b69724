"""Figures for the notebooks: image sheets, training curves, bars. They need no display and no pyplot.

Every function returns a `Picture`, a matplotlib Figure that a notebook cell shows once, as its last value, and that
`save` writes as a small PNG. Images are float (n, 3, H, W) in [-1, 1], masks (n, 1, H, W) in {0, 1}, 1 = the hole.
"""

import base64
import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from .data import to_uint8 as _bytes
from .errors import RoiganError
from .files import place, write_atomically

# Okabe and Ito's colours: told apart by colour-blind readers too
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 100
_FONT = 8  # points; 11 pixels
_LOSSLESS = 60_000  # a picture above so many bytes is shown with 256 colours


def figures_dir():
    """Where the pictures and rows of this run go: $ROIGAN_FIGURES, else figures/ in the repository."""
    folder = place("ROIGAN_FIGURES", "figures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Picture(Figure):
    """A Figure that shows itself in a notebook, without pyplot's second copy, as a PNG small enough to commit."""

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = png(self)
        if len(data) > _LOSSLESS:
            data = png(self, colours=256)
        return {"image/png": base64.b64encode(data).decode(), "text/plain": repr(self)}


def png(fig, colours=None):
    """The figure as PNG bytes at its own size, optimised; colours=256 stores a palette, a third of the size."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=fig.dpi, facecolor="white")
    picture = Image.open(buffer).convert("RGB")
    if colours:
        picture = picture.quantize(colours)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def save(fig, path, colours=None):
    """Write the figure as an optimised PNG in one step, its folder made. Returns the path; RoiganError if it cannot."""
    if Path(path).suffix.lower() != ".png":
        raise RoiganError(
            f"Figures are saved as PNG: name it {Path(path).with_suffix('.png')}, not {path}."
        )
    return write_atomically(path, png(fig, colours))


def to_uint8(images):
    """Images (n, 3, H, W) or (3, H, W) in [-1, 1] as bytes (n, H, W, 3) or (H, W, 3), a numpy array for display."""
    images = torch.as_tensor(images)
    if images.ndim not in (3, 4) or images.shape[-3] not in (1, 3):
        raise RoiganError(
            f"Pictures are drawn from images (n, 3, H, W), not from a tensor {tuple(images.shape)}."
        )
    images = images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    return _bytes(images.float()).movedim(-3, -1).cpu().numpy()


def sheet(images, ncols=8, titles=None, rows=None, scale=None, gap=2, captions=None):
    """A grid of images, each pixel drawn as scale × scale whole pixels, so that nothing is blurred.

    images: (n, 3, H, W), row by row. titles: a word above each column; rows: a word left of each row; captions: a word
    above every image. scale: default makes a cell about 96 pixels wide, 1 at least. gap: white pixels between images.
    """
    pixels = to_uint8(images)
    if pixels.ndim == 3:
        pixels = pixels[None]
    n, height, width = pixels.shape[:3]
    if not n:
        raise RoiganError("There are no images to draw: give at least one.")
    ncols = max(1, min(ncols, n))
    nrows = -(-n // ncols)
    for words, count, what in (
        (titles, ncols, "columns"),
        (rows, nrows, "rows"),
        (captions, n, "images"),
    ):
        if words is not None and len(words) != count:
            raise RoiganError(f"There are {len(words)} labels for {count} {what}: give one each.")
    scale = scale or max(1, round(96 / width))
    pixels = pixels.repeat(scale, 1).repeat(scale, 2)
    cell_w, cell_h = width * scale, height * scale
    line = 15  # pixels for one line of text
    top, above = (line if titles is not None else 0), (line if captions is not None else 0)
    left = 10 + round(6.4 * max(len(str(word)) for word in rows)) if rows is not None else 0
    total_w = left + ncols * (cell_w + gap) - gap
    total_h = top + nrows * (cell_h + above + gap) - gap
    canvas = np.full((total_h, total_w, 3), 255, np.uint8)
    fig = Picture(figsize=(total_w / DPI, total_h / DPI), dpi=DPI)

    def write(x, y, word, **where):
        fig.text(x / total_w, 1 - y / total_h, str(word), fontsize=_FONT, **where)

    for i in range(n):
        y, x = (
            top + (i // ncols) * (cell_h + above + gap) + above,
            left + (i % ncols) * (cell_w + gap),
        )
        canvas[y : y + cell_h, x : x + cell_w] = pixels[i]
        if captions is not None:
            write(x + cell_w / 2, y - 3, captions[i], ha="center", va="bottom")
    for i, word in enumerate(titles if titles is not None else ()):
        write(left + i * (cell_w + gap) + cell_w / 2, line - 4, word, ha="center", va="bottom")
    for i, word in enumerate(rows if rows is not None else ()):
        write(
            left - 5,
            top + i * (cell_h + above + gap) + above + cell_h / 2,
            word,
            ha="right",
            va="center",
        )
    fig.figimage(canvas, origin="upper")
    return fig


def masked(images, masks, grey=0.6):
    """The images (n, 3, H, W) with the hole painted a light grey, to show what a method is given."""
    return torch.where(
        torch.as_tensor(masks) > 0.5, torch.as_tensor(grey, dtype=images.dtype), images
    )


def comparison_sheet(images, masks, completed, n=8, **options):
    """One row an image: original, masked, and each of completed = {method: (m, 3, H, W)}; the first n images."""
    for name, result in completed.items():
        if result.shape != images.shape:
            raise RoiganError(
                f"Method {name!r} has {tuple(result.shape)} for images {tuple(images.shape)}: "
                f"give one completed image for each."
            )
    columns = {"original": images, "masked": masked(images, masks), **completed}
    stack = torch.stack(
        [column[:n].cpu() for column in columns.values()], 1
    )  # (n, columns, 3, H, W)
    return sheet(stack.flatten(0, 1), ncols=len(columns), titles=list(columns), **options)


def traversal_sheet(images, names=None, values=None, **options):
    """images (codes, steps, 3, H, W): a row for each code, called names[i], a column for each of its values."""
    images = torch.as_tensor(images)
    if images.ndim != 5:
        raise RoiganError(f"A traversal is (codes, steps, 3, H, W), not {tuple(images.shape)}.")
    titles = None if values is None else [v if isinstance(v, str) else f"{v:+.2g}" for v in values]
    return sheet(images.flatten(0, 1), ncols=images.shape[1], titles=titles, rows=names, **options)


def animation(frames, path, ncols=3, scale=2, seconds=0.1):
    """Write frames (t, n, 3, H, W) as a looping GIF of sheets with `ncols` columns; returns the path.

    seconds: how long a frame stays. RoiganError: no frames, another ending than .gif, or a path that cannot be written.
    """
    frames = torch.as_tensor(frames)
    if frames.ndim != 5 or not frames.numel():
        raise RoiganError(
            f"An animation is made of frames (t, n, 3, H, W), not of {tuple(frames.shape)}."
        )
    if Path(path).suffix.lower() != ".gif":
        raise RoiganError(
            f"Animations are saved as GIF: name it {Path(path).with_suffix('.gif')}, not {path}."
        )
    pages = []
    for frame in frames:
        pixels = torch.from_numpy(to_uint8(frame)).movedim(-1, 1)  # (n, 3, H, W)
        blank = pixels.new_full((-len(pixels) % ncols, *pixels.shape[1:]), 255)
        page = (
            torch.cat([pixels, blank])
            .unflatten(0, (-1, ncols))
            .permute(0, 3, 1, 4, 2)
            .flatten(0, 1)
            .flatten(1, 2)
        )
        pages.append(
            Image.fromarray(page.repeat_interleave(scale, 0).repeat_interleave(scale, 1).numpy())
        )
    few = np.concatenate([np.asarray(page) for page in pages[:: max(1, len(pages) // 8)]])
    palette = Image.fromarray(few).quantize(
        128
    )  # one for all frames: what does not move must not flicker
    pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    buffer = io.BytesIO()
    pages[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=pages[1:],
        duration=round(1000 * seconds),
        loop=0,
    )
    return write_atomically(path, buffer.getvalue())


def _style(axes, title):
    axes.set_title(title, fontsize=_FONT + 1, loc="left")
    axes.tick_params(labelsize=_FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)


def curves(rows, keys, x="step", smooth=0.9, ncols=3, scale=1.0):
    """Training curves. rows: dictionaries, a DataFrame or the path of a .jsonl log; rows without a key are passed over for it.

    keys: one panel each; an entry that is a tuple puts its keys into one panel. smooth: the share of the running mean
    that each point keeps (0 = none); the raw values stay behind it, pale. scale: of a panel's 3.2 by 2.2 inches; the
    letters keep their size. Raises RoiganError for an unknown key.
    """
    from .metrics import load_rows, records

    rows = records(load_rows(rows) if isinstance(rows, (str, Path)) else rows)
    panels = [(key,) if isinstance(key, str) else tuple(key) for key in keys]
    known = sorted(
        {key for row in rows for key, value in row.items() if isinstance(value, (int, float))}
    )
    for key in [x, *(key for panel in panels for key in panel)]:
        if key not in known:
            raise RoiganError(
                f"The log has no numbers under {key!r}: it has {', '.join(known) or 'none at all'}."
            )
    ncols = min(ncols, len(panels))
    nrows = -(-len(panels) // ncols)
    fig = Picture(figsize=(3.2 * scale * ncols, 2.2 * scale * nrows), dpi=DPI, layout="constrained")
    for i, panel in enumerate(panels):
        axes = fig.add_subplot(nrows, ncols, i + 1)
        for key, colour in zip(panel, PALETTE * 3):
            points = np.array(
                [
                    (row[x], row[key])
                    for row in rows
                    if all(isinstance(row.get(k), (int, float)) for k in (x, key))
                ],
                float,
            ).reshape(-1, 2)
            axes.plot(
                *points.T,
                color=colour,
                alpha=0.25 if smooth else 1,
                linewidth=0.8,
                label=None if smooth else key,
            )
            if smooth:
                axes.plot(
                    points[:, 0],
                    _running_mean(points[:, 1], smooth),
                    color=colour,
                    linewidth=1.4,
                    label=key,
                )
        _style(axes, panel[0] if len(panel) == 1 else "")
        if len(panel) > 1:
            axes.legend(fontsize=_FONT - 1, frameon=False)
        if i // ncols == nrows - 1:
            axes.set_xlabel(x, fontsize=_FONT)
    return fig


def _running_mean(values, keep):
    out, total, weight = [], 0.0, 0.0
    for value in values:
        if np.isfinite(value):  # one NaN must not blank the rest of the curve
            total, weight = keep * total + value, keep * weight + 1
        out.append(total / weight if weight else np.nan)
    return np.array(out)


def bars(table, metrics=None, ncols=3):
    """A panel for each metric of a comparison table, a group for each mask family, a bar for each method.

    metrics: names, with or without their _n… ending; default all of them but outside_change. KID has its sd as whisker.
    """
    from .metrics import records

    table = records(table)
    names = list(dict.fromkeys(row["metric"] for row in table))
    if metrics is None:
        wanted = [name for name in names if name != "outside_change"]
    else:
        wanted = [name for name in names if name in metrics or name.rpartition("_n")[0] in metrics]
    if not wanted:
        raise RoiganError(
            f"The table has none of these metrics: it has {', '.join(names) or 'no rows'}."
        )
    methods = list(dict.fromkeys(row["method"] for row in table))
    ncols = min(ncols, len(wanted))
    nrows = -(-len(wanted) // ncols)
    fig = Picture(figsize=(3.2 * ncols, 2.2 * nrows + 0.3), dpi=DPI, layout="constrained")
    for i, name in enumerate(wanted):
        axes = fig.add_subplot(nrows, ncols, i + 1)
        rows = {(row["method"], row["mask_law"]): row for row in table if row["metric"] == name}
        laws = list(dict.fromkeys(law for _, law in rows))
        for k, (method, colour) in enumerate(zip(methods, PALETTE * 3)):
            own = [rows.get((method, law), {}) for law in laws]
            height = [np.nan if row.get("value") is None else row["value"] for row in own]
            whisker = [row.get("spread") or 0 for row in own] if name.startswith("kid") else None
            step = 0.8 / len(methods)
            axes.bar(
                np.arange(len(laws)) + (k - (len(methods) - 1) / 2) * step,
                height,
                0.95 * step,
                yerr=whisker,
                color=colour,
                label=method,
                error_kw={"linewidth": 0.8},
            )
        if name.startswith("border_ratio"):
            axes.axhline(1, color="#000000", linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(laws)), laws, fontsize=_FONT)
        _style(axes, name)
    handles, labels = fig.axes[0].get_legend_handles_labels()
    fig.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(methods),
        fontsize=_FONT,
        frameon=False,
    )
    return fig
