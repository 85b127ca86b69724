"""Image sets under one interface: `open_dataset("synthfaces")`, `open_dataset("celeba", root=…)`, your own "folder".

A new data set is one module with a loader `(split, size, root, crop, limit) -> ImageSet` and one line in `DATASETS`.
"""

import difflib
import hashlib
import importlib
from functools import cached_property

import numpy as np
import torch

from ..errors import RoiganError

SPLITS = ("train", "valid", "test", "all")


def to_uint8(images):
    """Images in [-1, 1] as bytes, the nearest of 0…255, what a saved file would hold: same shape, uint8."""
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class ImageSet:
    """Images kept as bytes and handed out as floats.

    `uint8` (n, 3, H, W) holds the pixels; indexing converts them to float32 in [-1, 1]: `ds[i]` is (3, H, W), while
    `ds[a:b]` and `ds[list, array or tensor of indices]` are (n, 3, H, W). `factors` (n, F) float32 are the known causes
    of each image, named by `factor_names`, or both None. `attributes` (n, A) bool are labels that came with the images,
    named by `attribute_names`, or both None; `names` their files, or None. `fingerprint` is 12 hex digits of the pixels.
    """

    def __init__(
        self,
        name,
        split,
        size,
        uint8,
        factors=None,
        factor_names=None,
        names=None,
        attributes=None,
        attribute_names=None,
    ):
        uint8 = torch.as_tensor(uint8)
        if uint8.dtype != torch.uint8 or uint8.ndim != 4 or uint8.shape[1] != 3:
            raise RoiganError(
                f"an ImageSet needs uint8 pixels of shape (n, 3, H, W), not {uint8.dtype} "
                f"{tuple(uint8.shape)}: convert the images first."
            )
        if factors is not None and len(factors) != len(uint8):
            raise RoiganError(
                f"{len(factors)} rows of factors cannot describe {len(uint8)} images: "
                "give one row an image."
            )
        self.name, self.split, self.size, self.uint8 = name, split, size, uint8
        self.factors = None if factors is None else torch.as_tensor(factors, dtype=torch.float32)
        self.factor_names = None if factor_names is None else list(factor_names)
        self.names, self.attributes, self.attribute_names = names, attributes, attribute_names

    def __len__(self):
        return len(self.uint8)

    def __getitem__(self, index):
        if isinstance(index, (list, tuple, range, np.ndarray)):
            index = torch.as_tensor(np.asarray(index) if len(index) else np.zeros(0, np.int64))
        return self.uint8[index].float().div_(127.5).sub_(1.0)

    def __repr__(self):
        return f"ImageSet({self.name!r}, {self.split!r}, {len(self)} images of {self.size}x{self.size})"

    @cached_property
    def fingerprint(self):
        digest = hashlib.sha256(repr(tuple(self.uint8.shape)).encode())
        for block in self.uint8.split(4096):
            digest.update(block.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def _synthfaces(split, size, root, crop, limit):
    if root is not None or crop is not None:
        raise RoiganError(
            "synthfaces is rendered, not read from disk: leave out root and crop, or open 'folder'."
        )
    from .synthfaces import load

    return load(split, size, limit=limit)


def _of_files(name):
    """The loader of the module `name`, imported when it is first used."""

    def load(split, size, root, crop, limit):
        return importlib.import_module("." + name, __name__).load(
            split, size, root=root, crop=crop, limit=limit
        )

    return load


DATASETS = {"synthfaces": _synthfaces} | {
    name: _of_files(name) for name in ("celeba", "cats", "cars", "folder")
}


def _known(kind, value, allowed):
    if value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f"did you mean {close[0]!r}" if close else "choose one"
        raise RoiganError(f"unknown {kind} {value!r}: {hint} (there are {', '.join(allowed)}).")


def open_dataset(name, split="train", size=64, root=None, crop=None, limit=None):
    """Open a data set by name as an `ImageSet` of size x size pixels.

    name   "synthfaces" (rendered, with factors), "celeba", "cats" or "cars" (table 4.1, as downloaded) or "folder" (your
           pictures); the modules of these names in `roigan_lib.data` say which files they expect
    split  "train", "valid" or "test"; data sets made of files also take "all"
    root   for data sets made of files: a folder or a .zip archive; $ROIGAN_DATA if left out
    crop   for data sets made of files: None (the data set's own), "square", "thesis", "full", or a number of pixels;
           "eyes" for cats and "box" for cars, which are their own
    limit  at most so many images, from the front

    RoiganError: an unknown name or split, a size outside 8…1024, a missing or empty root, too many unreadable files.
    """
    _known("data set", name, list(DATASETS))
    _known("split", split, SPLITS)
    if not _whole(size) or not 8 <= size <= 1024:
        raise RoiganError(
            f"size={size!r} is not a whole number of pixels from 8 to 1024: the thesis uses 64."
        )
    if limit is not None and (not _whole(limit) or limit < 1):
        raise RoiganError(
            f"limit={limit!r} is not a positive whole number: leave it out to have every image."
        )
    return DATASETS[name](split, int(size), root, crop, limit)


def _whole(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
