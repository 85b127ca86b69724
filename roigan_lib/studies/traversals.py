"""Section 4.3 and appendix A on a trained model: figures 4.5 and A.1-A.4.

Pixels are float (n, 3, H, W) in [-1, 1]. The codes shown are the loudest ones, those with the
largest visible change on the pictures at hand: a number chooses, not an eye for a nice story.
"""

import torch

from .. import plots
from ..control import code_names, sweep, visible_change_per_code
from ..masks import FACE, HAIR, region


def loudest(gan, pixels, mask, seed=0):
    """The names of all continuous codes, the one with the largest `visible_change` first."""
    change = visible_change_per_code(gan, pixels, mask, seed=seed)
    return sorted(code_names(gan)[: gan.n_continuous], key=lambda name: -change[name].mean())


def settings(gan, name, values):
    """Rows of codes (v, n_codes): code `name` at each of the values, all others at rest."""
    rows = torch.zeros(len(values), gan.n_continuous + gan.n_discrete)
    rows[:, code_names(gan).index(name)] = torch.as_tensor(values, dtype=rows.dtype)
    return rows


def cumulative(gan, names):
    """Rows of codes (1 + k, n_codes) of figure 4.5: all at rest, then one more at 1 in each."""
    rest = torch.zeros(1, gan.n_continuous + gan.n_discrete)
    return torch.cat([rest, *(settings(gan, name, [1.0]) for name in names)]).cumsum(0)


def figure_4_5(gan, pixels, names, seed=0):
    """Figures 4.5, A.1, A.2: a row a picture, redrawn with one more code at 1 each time."""
    mask = region(gan.size, *FACE)
    drawn = sweep(gan, pixels, mask, cumulative(gan, names), seed)  # (1 + k, n, 3, H, W)
    shown = torch.cat([pixels[None], plots.masked(pixels, mask)[None], drawn])
    given = getattr(gan, "slider_names", {})
    titles = ["original", "masked", "all at 0", *(f"+ {given.get(name, name)}" for name in names)]
    stack = shown.transpose(0, 1).flatten(0, 1)
    return plots.sheet(stack, ncols=len(shown), scale=2, titles=titles)


def figure_a_3(gan, face, names, mask, seed=0):
    """Figures A.3, A.4: one picture (1, 3, H, W), a row a code, from -1 to 1, others at rest."""
    values = torch.linspace(-1, 1, 9)
    head = torch.cat([face, plots.masked(face, mask)])
    rows = [sweep(gan, face, mask, settings(gan, name, values), seed)[:, 0] for name in names]
    strips = torch.stack([torch.cat([head, row]) for row in rows])  # (k, 11, 3, H, W)
    titles = ["original", "masked", *values.tolist()]
    words = [getattr(gan, "slider_names", {}).get(name, name) for name in names]
    return plots.traversal_sheet(strips, words, titles, scale=2)


def figures(name, gan, pixels, out, seed=0, steered=None):
    """Write the figures of "celeba" (4.5, A.3, A.4), "cats" (A.1) or "cars" (A.2).

    steered: the model that moves one slider at a time, in A.3 and A.4; default `gan`.
    """
    face, hair = region(gan.size, *FACE), region(gan.size, *HAIR)
    names, steered = loudest(gan, pixels, face, seed), steered or gan
    cumulated = {"cats": "fig_a_1.png", "cars": "fig_a_2.png"}.get(name, "fig_4_5.png")
    drawn = {cumulated: figure_4_5(gan, pixels, names[:6], seed)}
    if name == "celeba":
        for file, mask in (("fig_a_3.png", face), ("fig_a_4.png", hair)):
            four = loudest(steered, pixels, mask, seed)[:4]
            drawn[file] = figure_a_3(steered, pixels[:1], four, mask, seed)
    for file, figure in drawn.items():
        plots.save(figure, out / file, colours=256)
