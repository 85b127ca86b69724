"""Stanford Cars (Krause et al. 2013), table 4.1's third row: `cars_train`, `cars_test` and the devkit with the boxes.

root is the folder that has them, or one .zip of it; Kaggle's cars_train/cars_train is found too. Boxes are read from
`cars_train_annos.mat` and `cars_test_annos.mat` (or `cars_test_annos_withlabels.mat`), in a folder `devkit` or anywhere
below.

crop: "box" (default) takes the car's box, extended to a square as far as the picture allows; the others as for a folder.
Splits are the official "train" and "test"; "all" is both.
"""

import io
from pathlib import PurePosixPath

from ..errors import RoiganError
from .folder import Files, check_crop

COUNTS = {"train": 8_144, "test": 8_041}


def load(split="train", size=64, root=None, crop=None, limit=None):
    """The cars of a split as an ImageSet.

    RoiganError: no root, no cars below it, crop="box" without the devkit, a damaged devkit, more than 5 % of the files
    unreadable.
    """
    if split == "valid":
        raise RoiganError("Stanford Cars has no valid split: choose train, test or all.")
    with Files(root, "cars", several=True) as files:
        found = images(files)
        names = [n for part in COUNTS if split in (part, "all") for n in found[part]][:limit]
        if not names:
            raise RoiganError(
                f"{files.root} holds no {split} pictures of Stanford Cars (cars_train, cars_test): pass the "
                "folder or .zip that has them; `python -m roigan_lib data check cars` says more."
            )
        boxes = boxes_of(files) if crop in (None, "box") else {}
        missing = [n for n in names if _key(n) not in boxes]
        if crop in (None, "box") and missing:
            raise RoiganError(
                f"the devkit under {files.root} has no box for {len(missing)} of {len(names)} pictures, such "
                f"as {missing[0]}: put cars_train_annos.mat and cars_test_annos.mat there, or use "
                "crop='square'."
            )
        if boxes:
            cut = lambda name: lambda image: image.crop(square(boxes[_key(name)], *image.size))
            chosen = [(n, (files.stamps[n], boxes[_key(n)])) for n in names]
            return files.decoded("cars", split, chosen, cut, size, key="cars box")
        crop = check_crop(crop)
        chosen = [(n, files.stamps[n]) for n in names]
        return files.decoded("cars", split, chosen, lambda name: crop, size, key=("cars", crop))


def images(files):
    """{"train": names, "test": names} of some Files, sorted; of two copies of a picture the one with the shorter path."""
    found = {part: {} for part in COUNTS}
    for name in sorted(files.pictures, key=len, reverse=True):
        part, _ = _key(name)
        if part:
            found[part][_key(name)] = name
    return {part: [names[k] for k in sorted(names)] for part, names in found.items()}


def _key(name):
    """(split, file name) of a picture; the split is None outside of cars_train and cars_test."""
    *folders, file = PurePosixPath(name.lower()).parts
    part = next((p for p in COUNTS if f"cars_{p}" in folders or f"cars_{p}.zip!" in folders), None)
    return part, file


def boxes_of(files):
    """{(split, file name): (left, top, right, bottom)} in pixels, the last two exclusive, from the devkit's .mat files."""
    from scipy.io import loadmat

    boxes = {}
    for part in COUNTS:
        name = files.find(f"cars_{part}_annos.mat") or files.find(
            f"cars_{part}_annos_withlabels.mat"
        )
        if name is None:
            continue
        try:
            rows = loadmat(io.BytesIO(files.read(name)), squeeze_me=True)["annotations"]
            for row in rows.reshape(-1):
                left, top, right, bottom = (
                    int(row[f"bbox_{side}"]) for side in ("x1", "y1", "x2", "y2")
                )
                boxes[part, str(row["fname"]).lower()] = (
                    left - 1,
                    top - 1,
                    right,
                    bottom,
                )  # Matlab counts from 1
        except Exception:  # loadmat raises whatever a spoiled file leads it to
            raise RoiganError(
                f"{name} under {files.root} is no annotation file of Stanford Cars, or is damaged: "
                "put the devkit's own in its place."
            ) from None
    return boxes


def square(box, width, height):
    """The square around a box within a width x height picture; where it does not fit, as much of it as the picture has."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top)

    def along(low, high, end):
        n = min(side, end)
        start = min(max(0, round((low + high - n) / 2)), end - n)
        return start, start + n

    (x1, x2), (y1, y2) = along(left, right, width), along(top, bottom, height)
    return x1, y1, x2, y2
