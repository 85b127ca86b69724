"""What told sliders do to real faces, read by a network that taught no model: rows and a sheet."""

import torch

from .. import plots
from ..config_checks import flat
from ..control import code_names, ends, sweep
from ..control.attributes import attribute_reading, load_attribute_reader, told_effects
from ..data.labels import label_names
from ..masks import FACE, region
from ..metrics import about, frame

METRICS = ("low", "high", "same_sign", "spill", "visible")
REAL = ("without", "with")


def effects(gan, data, seed=0, reader=None):
    """A frame of rows: for each told slider of a model the `told_effects` in figure 4.5's region,
    and the mean reading of the real faces without and with its label, where the data know it.

    data: an ImageSet of faces. The method of a row is the slider's name.
    """
    pixels, read = data[:], attribute_reading(reader or load_attribute_reader(), gan)
    rows = told_effects(gan, pixels, region(gan.size, *FACE), read, seed)
    real = [{}] * len(rows) if data.attributes is None else real_faces(gan, data, read(pixels))
    shared = about(gan, data, len(data), seed)
    return frame(
        {"metric": f"told_{name}", "value": row[name], "method": row["slider"]}
        | ({"of": row["spill_of"]} if name == "spill" else {})
        | shared
        for row in (shown | seen for shown, seen in zip(rows, real))
        for name in (*METRICS, *REAL)
        if name in row
    )


def real_faces(gan, data, readings):
    """For each told slider of a model the mean readings (n, k) of real images without and with its
    label, a dictionary without what no image shows; empty where the data lack one of the labels.
    """
    labels, known = label_names(flat(gan.card["training"])["labels"]), data.attribute_names
    names = [label.removeprefix("-") for label in labels]
    if not set(names) <= set(known):
        return [{} for _ in labels]
    columns = [known.index(name) for name in names]
    shows = data.attributes[:, columns] ^ torch.tensor([label[0] == "-" for label in labels])
    return [
        {name: p[at].mean().item() for name, at in zip(REAL, (~on, on)) if at.any()}
        for p, on in zip(readings.T, shows.T)
    ]


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
