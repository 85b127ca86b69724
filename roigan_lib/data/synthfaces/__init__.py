"""synthfaces: portraits painted from named factors, so that sliders can be checked against truth.

`factors` names what a portrait is made of and draws people, `painter` paints them, and `reader` is
the network that reads the factors back from the pixels.
"""

import torch

from ...errors import RoiganError
from ..cache import cached, stored
from ..images import ImageSet, to_uint8
from .factors import FACTORS, MIRRORED, NAMES, PLACES, Factor, index, sample_factors, traversal
from .painter import VERSION, render

SPLITS = {"train": (10_000, 1_000_003), "valid": (1_000, 2_000_003), "test": (1_000, 3_000_017)}


def load(split="train", size=64, root=None, crop=None, limit=None):
    """The portraits of a split as an ImageSet: train 10,000, valid and test 1,000, disjoint seeds.

    Rendered once and kept in the cache. RoiganError: an unknown split, a root or a crop.
    """
    if root is not None or crop is not None:
        raise RoiganError(
            "synthfaces is rendered, not read from disk: leave out root and crop, or open 'folder'."
        )
    if split not in SPLITS:
        raise RoiganError(f"synthfaces has no split {split!r}; choose one of {', '.join(SPLITS)}.")
    full, seed = SPLITS[split]
    n = full if limit is None else min(limit, full)
    factors = sample_factors(n, seed)

    def paint(pixels):
        for rows, place in zip(factors.split(256), torch.from_numpy(pixels).split(256)):
            place.copy_(to_uint8(render(rows, size)))
        return {}

    file = f"synthfaces-{split}-{size}-{{}}-v{VERSION}.npy".format
    whole = stored(file(full), (full, 3, size, size))
    pixels, _ = whole or cached(file(n), (n, 3, size, size), paint)
    images = torch.from_numpy(pixels[:n])
    return ImageSet("synthfaces", split, size, images, factors=factors, factor_names=NAMES)
