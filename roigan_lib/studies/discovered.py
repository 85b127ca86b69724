"""What sliders found without labels show, and what they cost: rows for figures/found.jsonl."""

import torch

from ..control import visible_change_per_code
from ..masks import FACE, region
from ..metrics import about, compare, frame


def effects(gan, data, few=200, seed=0):
    """A frame of rows: `visible_change` of each slider, end to end, in figure 4.5's region.

    data: an ImageSet, of which the first `few` images count. The method of a row is the slider's
    name, or its key where it has none.
    """
    pixels, mask = data[:few], region(gan.size, *FACE)
    names = getattr(gan, "slider_names", {})
    shared = about(gan, data, len(pixels), seed)
    change = visible_change_per_code(gan, pixels, mask, seed=seed)
    return frame(
        {"metric": "visible_change", "value": value.mean().item(), "method": names.get(key, key)}
        | shared
        for key, value in change.items()
    )


def cost(directed, data, dims=768, seed=0):
    """A frame of rows: `compare` of a model alone and with its directions drawn from U(-1, 1)."""
    k, first = len(directed.directions.share), directed.gan.n_continuous

    def drawn(images, masks, seed):
        codes = directed.sample_codes(len(images), seed)
        uniform = torch.rand(len(images), k, generator=torch.Generator().manual_seed(seed))
        codes[:, first : first + k] = 2 * uniform - 1
        return directed.inpaint(images, masks, codes, seed)

    methods = {"without directions": directed.gan, "directions drawn": drawn}
    rows = compare(methods, data, ["elliptic"], dims=dims, seed=seed)
    return rows.assign(checkpoint=directed.checkpoint_hash)
