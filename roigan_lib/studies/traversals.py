"""Section 4.3 and appendix A on a trained model: figures 4.5 and A.1-A.4, and the sliders of nine pictures in motion.

Pixels are float (n, 3, H, W) in [-1, 1]. The codes shown are the loudest ones, those with the largest visible change on
the pictures at hand, so that a number chooses them and not an eye looking for a nice story.
"""

import torch

from .. import plots
from ..control import code_names, sweep, visible_change_per_code
from ..masks import FACE, HAIR, region

STEPS = 9


def loudest(gan, pixels, mask, seed=0):
    """The names of all continuous codes, the one that changes the hole most (`visible_change`) first."""
    change = visible_change_per_code(gan, pixels, mask, seed=seed)
    return sorted(code_names(gan)[: gan.n_continuous], key=lambda name: -change[name].mean())


def settings(gan, name, values):
    """Rows of codes (v, n_codes): code `name` at each of the values, all others at rest."""
    rows = torch.zeros(len(values), gan.n_continuous + gan.n_discrete)
    rows[:, code_names(gan).index(name)] = torch.as_tensor(values, dtype=rows.dtype)
    return rows


def cumulative(gan, names):
    """Rows of codes (1 + k, n_codes): all at rest, then one more of the k codes at 1 in each row, as in figure 4.5."""
    return torch.cat(
        [
            torch.zeros(1, gan.n_continuous + gan.n_discrete),
            torch.cat([settings(gan, name, [1.0]) for name in names]).cumsum(0),
        ]
    )


def figure_4_5(gan, pixels, names, seed=0):
    """Figures 4.5, A.1 and A.2: a row for each picture, redrawn with one more of the named codes at 1 each time."""
    mask = region(gan.size, *FACE)
    shown = torch.cat(
        [
            pixels[None],
            plots.masked(pixels, mask)[None],
            sweep(gan, pixels, mask, cumulative(gan, names), seed),
        ]
    )
    return plots.sheet(
        shown.transpose(0, 1).flatten(0, 1),
        ncols=len(shown),
        scale=2,
        titles=["original", "masked", "all at 0", *(f"+ {name}" for name in names)],
    )


def figure_a_3(gan, face, names, mask, seed=0):
    """Figures A.3 and A.4: one picture (1, 3, H, W), each named code a row from -1 to 1 with the others at rest."""
    values = torch.linspace(-1, 1, STEPS)
    strips = torch.stack(
        [sweep(gan, face, mask, settings(gan, name, values), seed)[:, 0] for name in names]
    )
    head = torch.stack([face[0], plots.masked(face, mask)[0]]).expand(len(names), -1, -1, -1, -1)
    return plots.traversal_sheet(
        torch.cat([head, strips], 1), names, ["original", "masked", *values.tolist()], scale=2
    )


def in_motion(gan, pixels, names, path, seed=0, frames=16):
    """Write a looping GIF of the pictures in a square, the named codes swinging in turn; returns the path."""
    swing = torch.sin(torch.arange(frames) * 2 * torch.pi / frames)  # 0, 1, 0, -1 and back to 0
    rows = torch.cat([settings(gan, name, swing) for name in names])
    shown = sweep(gan, pixels, region(gan.size, *FACE), rows, seed)
    return plots.animation(shown, path, ncols=round(len(pixels) ** 0.5))


def figures(name, gan, pixels, out, seed=0):
    """Write the thesis' figures of control for "celeba" (4.5, A.3, A.4, sliders.gif), "cats" (A.1) or "cars" (A.2)."""
    face, hair = region(gan.size, *FACE), region(gan.size, *HAIR)
    names = loudest(gan, pixels, face, seed)
    cumulated = {"cats": "fig_a_1.png", "cars": "fig_a_2.png"}.get(name, "fig_4_5.png")
    drawn = {cumulated: figure_4_5(gan, pixels, names[:6], seed)}
    if name == "celeba":
        drawn["fig_a_3.png"] = figure_a_3(gan, pixels[:1], names[:4], face, seed)
        drawn["fig_a_4.png"] = figure_a_3(
            gan, pixels[:1], loudest(gan, pixels, hair, seed)[:4], hair, seed
        )
        in_motion(gan, pixels, names[:3], out / "sliders.gif", seed)
    for file, figure in drawn.items():
        plots.save(figure, out / file, colours=256)
