"""Stanford Cars (Krause et al. 2013), table 4.1's third row: `cars_train`, `cars_test`, the devkit.

root is the folder that has them, or one .zip of it; Kaggle's cars_train/cars_train is found too.
Boxes are read from `cars_train_annos.mat` and `cars_test_annos.mat` (or
`cars_test_annos_withlabels.mat`), in a folder `devkit` or anywhere below. The splits are the
official "train" and "test". crop: "box" (default) takes the car's box, extended to a square as far
as the picture allows. Crops that are ready may lie in folders `train` and `test` (crop "square").
"""

import io
from functools import cached_property
from pathlib import PurePosixPath

from ..errors import RoiganError
from .folder import FileSet


class Cars(FileSet):
    """Cars by split and file name; of two copies of a picture the one with the shorter path."""

    name, title, crops = "cars", "pictures of Stanford Cars", ("box",)
    by_hand = (
        "by hand: kaggle.com/datasets/jessicali9530/stanford-cars-dataset for cars_train and "
        "cars_test, and car_devkit.tgz, unpacked, from "
        "https://github.com/pytorch/vision/issues/7545 for the boxes; its own site is gone"
    )
    official = {"train": 8_144, "test": 8_041}
    thesis = (8_145, 8_042)

    def members(self):
        names = sorted(self.pictures, key=len, reverse=True)
        found = {_key(name): name for name in names}
        return [found[k] for part in self.official for k in sorted(found) if k[0] == part]

    def splits(self, members):
        return {name: _key(name)[0] for name in members}

    @property
    def own_crop(self):
        ready = [bool(_ready(name)) for name in self.members()]
        return "square" if ready and all(ready) else "box"

    @cached_property
    def boxes(self):
        """{(split, file): (left, top, right, bottom)} of the devkit, in pixels, from 0."""
        from scipy.io import loadmat

        boxes = {}
        for part in self.official:
            name = self.find((f"cars_{part}_annos.mat", f"cars_{part}_annos_withlabels.mat"))
            if name is None:
                continue
            try:
                rows = loadmat(io.BytesIO(self._part(name)), squeeze_me=True)["annotations"]
                for row in rows.reshape(-1):
                    x1, y1, x2, y2 = (int(row[f"bbox_{end}"]) for end in ("x1", "y1", "x2", "y2"))
                    boxes[part, str(row["fname"]).lower()] = (x1 - 1, y1 - 1, x2, y2)
            except Exception:  # loadmat raises whatever a spoiled file leads it to
                raise RoiganError(
                    f"{name} under {self.root} is no annotation file of Stanford Cars, or is "
                    "damaged: put the devkit's own in its place."
                ) from None
        return boxes

    def cuts(self, members, crop, size):
        if crop != "box":
            return {}
        boxes = {name: self.boxes.get(_key(name)) for name in members}
        missing = [name for name, box in boxes.items() if box is None]
        if missing:
            raise RoiganError(
                f"the devkit under {self.root} has no box for {len(missing)} of {len(members)} "
                f"pictures, such as {missing[0]}: put cars_train_annos.mat and cars_test_annos.mat "
                "there, or use crop='square'."
            )
        return {
            name: (box, lambda image, box=box: image.crop(square(box, *image.size)))
            for name, box in boxes.items()
        }

    def lacks(self):
        if self.own_crop == "square":
            return []
        without = "only crop='square' or 'full' will work"
        return [] if self.boxes else [f"the devkit's cars_train_annos.mat is not there: {without}."]


def _key(name):
    """(split, file name) of a picture; the split is "" outside of cars_train and cars_test."""
    *folders, file = PurePosixPath(name.lower()).parts
    inside = (p for p in Cars.official if {f"cars_{p}", f"cars_{p}.zip!"} & {*folders})
    return next(inside, _ready(name)), file


def _ready(name):
    """The split of a ready crop, which is the folder it lies in; "" outside of such a folder."""
    folder = PurePosixPath(name.lower()).parent.name
    return folder if folder in Cars.official else ""


def square(box, *size):
    """The square around a box in a picture of width, height; where it does not fit, what fits."""
    side = max(box[2] - box[0], box[3] - box[1])
    w, h = (min(side, end) for end in size)
    along = zip(box[:2], box[2:], (w, h), size)
    x, y = (min(max(0, round((low + high - n) / 2)), end - n) for low, high, n, end in along)
    return x, y, x + w, y + h
