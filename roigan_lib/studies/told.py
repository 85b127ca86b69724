"""What told sliders do to real faces, read by a network that taught no model: rows and a sheet."""

import torch

from .. import plots
from ..control import code_names, ends, sweep
from ..control.attributes import attribute_reading, load_attribute_reader, told_effects
from ..masks import FACE, region
from ..metrics import about, frame

METRICS = ("low", "high", "same_sign", "spill", "visible")


def effects(gan, data, seed=0, reader=None):
    """A frame of rows: for each told slider of a model the `told_effects` in figure 4.5's region.

    data: an ImageSet of faces. The method of a row is the slider's name.
    """
    read = attribute_reading(reader or load_attribute_reader(), gan)
    shared = about(gan, data, len(data), seed)
    return frame(
        {"metric": f"told_{name}", "value": row[name], "method": row["slider"]}
        | ({"of": row["spill_of"]} if name == "spill" else {})
        | shared
        for row in told_effects(gan, data[:], region(gan.size, *FACE), read, seed)
        for name in METRICS
    )


def sheet(gan, pixels, seed=0, keys=None):
    """A row a slider, two columns a face (n, 3, S, S): its ends; above, original and all at 0.

    keys: of the sliders, such as "c11"; default those that have names.
    """
    mask, keys = region(gan.size, *FACE), list(keys or gan.slider_names)
    rest = torch.zeros(1, gan.n_continuous + gan.n_discrete)
    at = [code_names(gan).index(key) for key in keys]
    settings = torch.cat([rest, *(ends(gan, k) for k in at)])
    shown = torch.cat([pixels[None], sweep(gan, pixels, mask, settings, seed)])  # (2 + 2k, n, …)
    stack = shown.unflatten(0, (-1, 2)).transpose(1, 2).flatten(0, 2)
    rows = ["original, all at 0", *(gan.slider_names.get(key, key) for key in keys)]
    return plots.sheet(stack, ncols=2 * len(pixels), titles=["−", "+"] * len(pixels), rows=rows)
