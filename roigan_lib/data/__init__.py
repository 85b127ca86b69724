"""Image sets under one interface: `open_dataset("synthfaces")`, `open_dataset("celeba", root=…)`.

A new data set is one module and one line here: a subclass of `folder.FileSet` in `FILES`, or any
other `load(split, size, root, crop, limit) -> ImageSet` in `DATASETS`.
"""

from ..checks import is_whole
from ..errors import RoiganError, suggest
from . import synthfaces
from .cars import Cars
from .cats import Cats
from .celeba import CelebA
from .folder import Folder
from .images import ImageSet, to_uint8

__all__ = ["DATASETS", "FILES", "SPLITS", "ImageSet", "open_dataset", "to_uint8"]

SPLITS = ("train", "valid", "test", "all")
FILES = {kind.name: kind for kind in (CelebA, Cats, Cars, Folder)}
DATASETS = {"synthfaces": synthfaces.load} | {name: kind.load for name, kind in FILES.items()}


def open_dataset(name, split="train", size=64, root=None, crop=None, limit=None):
    """Open a data set by name as an `ImageSet` of size x size pixels.

    name   "synthfaces" (rendered, with factors), "celeba", "cats" or "cars" (table 4.1, as
           downloaded; their modules say which files they expect) or "folder" (your pictures)
    split  "train", "valid" or "test"; data sets made of files also take "all"
    root   for data sets made of files: a folder or a .zip archive; $ROIGAN_DATA if left out
    crop   for data sets made of files: None (the data set's own), "square", "thesis", "full", or a
           number of pixels (see `decode.crop_box`); "eyes" for cats and "box" for cars, their own
    limit  at most so many images, from the front

    RoiganError: an unknown name or split, a size outside 8…1024, a missing or empty root, too many
    unreadable files.
    """
    for kind, value, known in (("data set", name, DATASETS), ("split", split, SPLITS)):
        if value not in known:
            hint = f"{suggest(value, known)}choose one of {', '.join(known)}"
            raise RoiganError(f"unknown {kind} {value!r}: {hint}.")
    if not is_whole(size) or not 8 <= size <= 1024:
        raise RoiganError(
            f"size={size!r} is not a whole number of pixels from 8 to 1024: the thesis uses 64."
        )
    if limit is not None and (not is_whole(limit) or limit < 1):
        raise RoiganError(
            f"limit={limit!r} is not a positive whole number: leave it out to have every image."
        )
    return DATASETS[name](split, int(size), root, crop, limit)
