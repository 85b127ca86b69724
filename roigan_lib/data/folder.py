"""Your own pictures as an `ImageSet`, and what every data set made of files has in common.

Splits. If the root (or the single folder inside it) has folders named train, valid (or val) and
test, they are the splits. A root that is itself called train, valid or test is that split.
Otherwise all files below the root are split 80 : 10 : 10 by a hash of their path within the root,
so that a picture stays in its split when others are added. `split="all"` takes every file.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import torch

from ..errors import RoiganError
from .archives import SUFFIXES, Files
from .cache import cached
from .decode import check_crop, decode
from .images import ImageSet

SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
BAD_FRACTION = 0.05  # more unreadable files than this is a wrong folder, not a few accidents
VERSION = 1  # part of the cache key: raise it when the pixels of the same file change


class FileSet(Files):
    """A data set made of files. A new one is a subclass that overrides what differs."""

    title = "pictures"
    by_hand = f"any folder or .zip of pictures ({', '.join(SUFFIXES)})"  # where they come from
    crops = ()  # further than `decode.CROPS`
    own_crop = "square"  # what crop=None means
    official = {}  # {split: pictures}, where there are official splits
    thesis = None  # (train, test) of table 4.1

    def members(self):
        """The paths of the pictures that belong to the set, in their order."""
        return sorted(self.pictures)

    def splits(self, members):
        """{path: "train", "valid", "test" or None}."""
        return split_of(self.root, members)

    def cuts(self, members, crop, size):
        """{path: (what the cut depends on, cut)} where a crop differs from picture to picture.

        cut: from the upright RGB image to the part that becomes the size x size pixels.
        """
        return {}

    def known(self, members):
        """Further fields of the ImageSet, such as attributes; tensors have one row a picture."""
        return {}

    def lacks(self):
        """A sentence for each missing file that the set can do without."""
        return []

    @staticmethod
    def downloads(ask):
        """[(url, MD5, file name)] of the archives, none: only by hand. ask(url) opens a page."""
        return []

    @classmethod
    def load(cls, split="train", size=64, root=None, crop=None, limit=None):
        """The pictures of a split under `root` (folder or .zip; default $ROIGAN_DATA), an ImageSet.

        Files that cannot be read are skipped with one warning that names them. RoiganError: no
        root, no such pictures in it, a crop that does not fit, more than 5 % of files unreadable.
        """
        if cls.official and split not in (*cls.official, "all"):
            known = ", ".join(cls.official)
            raise RoiganError(f"{cls.name} has no {split} split: choose {known} or all.")
        with cls(root) as files:
            return files._images(files._chosen(split)[:limit], split, size, crop)

    def counts(self):
        """{"train": n, "valid": n, "test": n} of the pictures; splits without any are missing."""
        parts = list(self.splits(self.members()).values())
        return {part: parts.count(part) for part in ("train", "valid", "test") if part in parts}

    def _chosen(self, split):
        members = self.members()
        if not members:
            raise RoiganError(
                f"{self.root} holds no {self.title}: check root= or ROIGAN_DATA; "
                f"`python -m roigan_lib data check {self.name}` says more."
            )
        if split == "all":
            return members
        parts = self.splits(members)
        if split not in parts.values():
            present = sorted({part for part in parts.values() if part})
            hint = "choose one or split='all'"
            if self.root.is_dir() and _own_split(self.root) in present:
                hint = f"you asked for {split}, so pass its parent folder"
            raise RoiganError(
                f"{self.root} has no {split} {self.title}, only {', '.join(present)}: {hint}."
            )
        return [name for name in members if parts[name] == split]

    def _images(self, members, split, size, crop):
        crop = check_crop(self.own_crop if crop is None else crop, self.crops)
        cuts, known, stamps = self.cuts(members, crop, size), self.known(members), self.pictures
        stamps = [(n, (stamps[n], cuts[n][0]) if cuts else stamps[n]) for n in members]
        own = self.name == "folder"
        key = str(crop if own else (self.name, crop))
        recipe = repr((VERSION, str(self.root.resolve()), stamps, key, size))
        file = hashlib.sha256(recipe.encode("utf-8", "surrogateescape")).hexdigest()[:20]

        def one(name):
            return decode(self.read(name), cuts[name][1] if cuts else crop, size)

        def fill(pixels):
            bad = _decode_all(members, one, pixels)
            if len(bad) > BAD_FRACTION * len(members):
                raise RoiganError(
                    f"{len(bad)} of {len(members)} pictures of {self.root} cannot be read, such as "
                    f"{_few(bad)}: replace or remove them."
                )
            return bad

        pixels, bad = cached(f"folder-{file}.npy", (len(members), 3, size, size), fill)
        if bad:
            warnings.warn(
                f"left out {len(bad)} of {len(members)} pictures of {self.root} that cannot be "
                f"read: {_few(bad)}.",
                stacklevel=4,
            )
        kept = [i for i, name in enumerate(members) if name not in bad]
        known = {k: v[kept] if isinstance(v, torch.Tensor) else v for k, v in known.items()}
        known["names"] = [members[i] for i in kept]
        name = f"folder:{self.root.stem}" if own else self.name
        return ImageSet(name, split, size, torch.from_numpy(pixels), **known)


class Folder(FileSet):
    """A folder or one .zip archive of JPEG, PNG, WebP, BMP or TIFF files."""

    several = False


def _decode_all(names, one, pixels):
    """Decode into the first rows of pixels, in order; {name: why} of those that cannot be read."""

    def attempt(name):
        try:
            return one(name).transpose(2, 0, 1)
        except RoiganError:
            raise
        except Exception as error:  # decoders raise many types on damaged files, all meaning that
            why = str(error).split("\n")[0].split(" <")[0]  # without the address of an object
            return why[:80] or type(error).__name__

    bad, n = {}, len(names)
    start = told = time.monotonic()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for first in range(0, n, 256):  # so that what waits to be stored stays small
            block = names[first : first + 256]
            for i, (name, result) in enumerate(zip(block, pool.map(attempt, block)), first):
                if isinstance(result, str):
                    bad[name] = result
                else:
                    pixels[i - len(bad)] = result
            done, now = first + len(block), time.monotonic()
            if now - told > 5:
                told, left = now, (n - done) * (now - start) / done
                print(f"decoded {done:,} of {n:,} pictures, {left:.0f} s left", file=sys.stderr)
    return bad


def _few(bad):
    named = "; ".join(f"{name} ({why})" for name, why in list(bad.items())[:3])
    return named + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")


def split_of(root, names):
    """{path: its split, or None} of pictures under a root. RoiganError: several data sets in it."""
    folders = {name: PurePosixPath(name).parts[:-1] for name in names}
    tops = {parts[:1] for parts in folders.values()}
    top = "".join(*tops) if len(tops) == 1 else ""
    depth = 1 if top and top.lower() not in SPLIT_NAMES else 0
    named = {n: SPLIT_NAMES.get("".join(p[depth : depth + 1]).lower()) for n, p in folders.items()}
    if any(named.values()):
        return named
    if root.is_dir() and _own_split(root):
        return dict.fromkeys(names, _own_split(root))
    nested = sorted({p[0] for p in folders.values() if "".join(p[1:2]).lower() in SPLIT_NAMES})
    if nested:
        raise RoiganError(
            f"{root} holds several data sets ({', '.join(nested[:5])}): pass one, "
            f"such as root='{root / nested[0]}'."
        )
    tenths = {n: hashlib.sha256(n.encode("utf-8", "surrogateescape")).hexdigest() for n in names}
    order = ("train",) * 8 + ("valid", "test")
    return {name: order[int(digest[:8], 16) % 10] for name, digest in tenths.items()}


def _own_split(root):
    return SPLIT_NAMES.get(root.resolve().name.lower())
