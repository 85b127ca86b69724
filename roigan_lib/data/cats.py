"""Cats (Zhang, Sun & Tang 2008), table 4.1's second row: the original photographs, or a ready folder of cut-out faces.

root is either the Kaggle or archive.org download (`CAT_00` … `CAT_06`, each photograph with its landmarks in a file
`.jpg.cat`; the archives may stay packed), or a folder or .zip of faces that are already cut out, such as the 64x64 ones
the thesis counts. Files with the same content are taken once. A ready folder with folders `train` and `test` keeps them;
otherwise files are split 80 : 10 : 10 by their names, since no official split exists.

crop: "eyes" (default with landmarks) turns and scales a photograph so that the eyes lie at EYES; the others as for a folder.
"""

import hashlib
import math
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from ..errors import RoiganError
from .folder import Files, check_crop, choose

EYES = ((0.28, 0.44), (0.72, 0.44))  # of the frame's side; where the ready 64x64 faces have them


def load(split="train", size=64, root=None, crop=None, limit=None):
    """The cats of a split ("train", "valid", "test" or "all") as an ImageSet.

    RoiganError: no root, no pictures below it, crop="eyes" without landmarks, more than 5 % of the files unreadable.
    """
    with Files(root, "cats", several=True) as files:
        found, eyes = images(files)
        if not found:
            raise RoiganError(
                f"{files.root} holds no pictures of cats: pass the folder with CAT_00 … CAT_06 or their "
                "archives, or one of cut-out faces; `python -m roigan_lib data check cats` says more."
            )
        crop = ("eyes" if eyes else "square") if crop is None else crop
        if crop == "eyes" and not eyes:
            raise RoiganError(
                f"{files.root} has no landmark files (.jpg.cat) and crop='eyes' needs them: "
                "use crop='square'."
            )
        if crop != "eyes":
            crop, cut = check_crop(crop), lambda name: crop
        else:
            cut = lambda name: lambda image: align(image, eyes[name], size)
        chosen = [
            (name, (stamp, eyes.get(name)))
            for name, stamp in choose(files.root, found, split)[:limit]
        ]
        return files.decoded("cats", split, chosen, cut, size, key=("cats", crop))


def images(files):
    """({name: stamp}, {name: eyes}) of some Files: each picture once; eyes ((x, y), (x, y)) in pixels, of landmarks."""
    marks = {n: n + ".cat" for n in files.pictures if n + ".cat" in files.stamps}
    found, eyes, seen = {}, {}, set()
    for name in sorted(marks or files.pictures, key=lambda n: (len(n), n)):
        # Kaggle packs every photograph twice, in CAT_00 and in cats/CAT_00; ready folders have copies by other names
        key = PurePosixPath(name).parts[-2:] if marks else _content(files, name)
        if key in seen:
            continue
        seen.add(key)
        if marks:
            eyes[name] = _landmarks(files.read(marks[name]))
            if eyes[name] is None:
                continue
        found[name] = files.pictures[name]
    return found, eyes


def _content(files, name):
    try:
        return hashlib.sha1(files.read(name)).digest()
    except OSError:  # decoding will name it
        return name


def _landmarks(data):
    """The eyes of a .cat file: "9 x1 y1 x2 y2 …", left and right eye first. None where it is spoiled."""
    try:
        values = [float(word) for word in data.split()][1:5]
        a, b = sorted([tuple(values[:2]), tuple(values[2:])])
        return (a, b) if b[0] - a[0] >= 1 else None
    except (ValueError, IndexError):
        return None


def align(image, eyes, size):
    """The size x size part of an RGB image, turned and scaled so that `eyes` ((x, y), (x, y)) in pixels come to EYES."""
    (ax, ay), (bx, by) = EYES
    scale = math.dist(*eyes) / (size * (bx - ax))  # photograph pixels per pixel of the result
    if scale > 2:  # an affine map does not average: shrink first
        small = [max(1, round(side / scale)) for side in image.size]
        eyes = [tuple(v * s / side for v, s, side in zip(eye, small, image.size)) for eye in eyes]
        image = image.resize(small, Image.Resampling.BILINEAR)
    (x1, y1), (x2, y2) = eyes
    a, b = (x2 - x1) / (size * (bx - ax)), (y2 - y1) / (size * (bx - ax))
    c, f = x1 - (a * ax - b * ay) * size, y1 - (b * ax + a * ay) * size
    margin = 2 * size  # beyond the picture its border goes on
    padded = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    return Image.fromarray(padded).transform(
        (size, size),
        Image.Transform.AFFINE,
        (a, -b, c + margin, b, a, f + margin),
        Image.Resampling.BICUBIC,
    )
