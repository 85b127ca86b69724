"""Image sets under one interface: `open_dataset("synthfaces")`, `open_dataset("celeba", root=…)`.

A new data set is one module and one line here: a subclass of `folder.FileSet` in `FILES`, or any
other `load(split, size, root, crop, limit) -> ImageSet` in `DATASETS`.
"""

from ..checks import check_name, check_whole
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
    check_name("data set", name, DATASETS)
    check_name("split", split, SPLITS)
    size = check_whole("size", size, 8, 1024)
    limit = None if limit is None else check_whole("limit", limit)
    return DATASETS[name](split, size, root, crop, limit)
