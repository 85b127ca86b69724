"""Cats (Zhang, Sun & Tang 2008), table 4.1's second row: the original photographs, or ready faces.

root is either the Kaggle or archive.org download (`CAT_00` … `CAT_06`, each photograph with its
landmarks in a file `.jpg.cat`; the archives may stay packed), or a folder or .zip of faces that are
already cut out, such as the 64x64 ones the thesis counts. Files with the same content are taken
once. A ready folder with folders `train` and `test` keeps them; otherwise files are split
80 : 10 : 10 by their names, since no official split exists.

crop: "eyes" (default with landmarks) turns and scales a photograph so that the eyes lie at EYES.
"""

import hashlib
import json
import math
from functools import cached_property, partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from ..errors import RoiganError
from .folder import FileSet

EYES = ((0.28, 0.44), (0.72, 0.44))  # of the frame's side; where the ready 64x64 faces have them
ARCHIVE = "https://archive.org/{}/CAT_DATASET"


class Cats(FileSet):
    """Each photograph with landmarks once, or each ready face."""

    name, title, crops = "cats", "pictures of cats", ("eyes",)
    by_hand = (
        "by hand: kaggle.com/datasets/crawford/cat-dataset, or the archives of "
        "https://archive.org/details/CAT_DATASET"
    )
    thesis = (15_748, None)

    def members(self):
        if self._marked:
            return sorted(self.eyes)
        return _once(self.pictures, self._content)  # ready folders have copies by other names

    @property
    def _marked(self):
        return [name for name in self.pictures if name + ".cat" in self.stamps]

    @cached_property
    def eyes(self):
        """{photograph: ((x, y), (x, y))} in pixels, left and right; none where they are spoiled."""
        # Kaggle packs every photograph twice, in CAT_00 and in cats/CAT_00
        names = _once(self._marked, lambda name: PurePosixPath(name).parts[-2:])
        eyes = {name: _landmarks(self._content(name + ".cat", whole=True)) for name in names}
        return {name: pair for name, pair in eyes.items() if pair}

    @property
    def own_crop(self):
        return "eyes" if self.eyes else "square"

    def cuts(self, members, crop, size):
        if crop != "eyes":
            return {}
        if not self.eyes:
            raise RoiganError(
                f"{self.root} has no landmark files (.jpg.cat) and crop='eyes' needs them: "
                "use crop='square'."
            )
        eyes = {name: self.eyes[name] for name in members}
        return {name: (pair, partial(align, eyes=pair, size=size)) for name, pair in eyes.items()}

    def lacks(self):
        without = "no landmarks (.jpg.cat): taken as faces that are already cut out."
        return [] if self.find(".cat") else [without]

    @staticmethod
    def downloads(ask):
        with ask(ARCHIVE.format("metadata")) as answer:
            files = [f for f in json.load(answer)["files"] if f["name"].endswith(".zip")]
        return [(f"{ARCHIVE.format('download')}/{f['name']}", f["md5"], f["name"]) for f in files]

    def _content(self, name, whole=False):
        try:
            data = self.read(name)
        except Exception:  # as many types as for pictures; decoding will name it
            return b"" if whole else name
        return data if whole else hashlib.sha1(data).digest()


def _once(names, key):
    """The sorted names, of those with one key only the shortest."""
    names = sorted(names, key=lambda name: (len(name), name), reverse=True)
    return sorted({key(name): name for name in names}.values())


def _landmarks(data):
    """The eyes of a .cat file, "9 x1 y1 x2 y2 …": left and right eye first. None: it is spoiled."""
    try:
        x1, y1, x2, y2 = [float(word) for word in data.split()][1:5]
    except ValueError:
        return None
    left, right = sorted([(x1, y1), (x2, y2)])
    inside = all(abs(v) < 10**5 for v in (x1, y1, x2, y2))  # of any photograph; no NaN
    return (left, right) if inside and right[0] - left[0] >= 1 else None


def align(image, eyes, size):
    """The size x size part of an RGB image in which `eyes`, now in its pixels, come to EYES."""
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
    matrix = (a, -b, c + margin, b, a, f + margin)
    return Image.fromarray(padded).transform(
        (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
