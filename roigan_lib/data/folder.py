"""Your own pictures as an `ImageSet`: a folder or a .zip archive of JPEG, PNG, WebP, BMP or TIFF files.

Splits. If the root (or the single folder inside it) has folders named train, valid (or val) and test, they are the
splits. A root that is itself called train, valid or test is that split. Otherwise all files below the root are split
80 : 10 : 10 by a hash of their path within the root, so that a picture stays in its split when others are added.
`split="all"` takes every file.

Crops, before the antialiased resize to `size`: "square" (default) the largest centred square; "full" the whole frame,
squashed; "thesis" the centred 128 of CelebA's aligned 178x218 frame, in proportion for scaled copies (64 of 89x109);
a whole number k the centred k x k pixels.

Pixels are decoded once and kept as bytes in $ROIGAN_CACHE (or ~/.cache/roigan), under a key made of the files' names,
sizes, times, the crop and the size.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import sys
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps

from ..errors import RoiganError
from . import ImageSet

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
CROPS = ("square", "thesis", "full")
SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
BAD_FRACTION = 0.05  # more unreadable files than this is a wrong folder, not a few accidents
VERSION = 1  # part of the cache key: raise it when the pixels of the same file change


def load(split="train", size=64, root=None, crop=None, limit=None):
    """The pictures under `root` (folder or .zip; default $ROIGAN_DATA) as an ImageSet; see the module for the rules.

    Files that cannot be read are skipped with one warning that names them. RoiganError: no root, nothing in it, more
    than 5 % of the files unreadable, a crop that does not fit.
    """
    crop = check_crop(crop)
    with Files(root, "folder") as files:
        if not files.pictures:
            raise RoiganError(
                f"{files.root} holds no pictures ({', '.join(SUFFIXES)}): check root= or ROIGAN_DATA."
            )
        chosen = choose(files.root, files.pictures, split)[:limit]
        return files.decoded(
            f"folder:{files.root.stem}", split, chosen, lambda name: crop, size, key=crop
        )


class Files:
    """What lies under a root: a folder, a .zip archive, or, for `several`, a folder of archives that are read as one.

    stamps {name: what changes with the content}, pictures (the part of stamps that are pictures), read(name) -> bytes. A
    name is the path within the root; in one of several archives it begins with the archive's name and "!/". Use it in a
    `with` statement. RoiganError, saying what to do: no root, a missing one, a damaged archive.
    """

    def __init__(self, root, kind, several=False):
        root = root if root is not None else os.environ.get("ROIGAN_DATA")
        if not root:
            raise RoiganError(
                f"the {kind} data set needs a place to read: pass root='path/to/pictures' or set "
                "ROIGAN_DATA."
            )
        self.root = Path(root).expanduser()
        if not self.root.exists():
            raise RoiganError(
                f"there is no folder or archive {self.root}: check root= or ROIGAN_DATA."
            )
        self._stack, self._archives = contextlib.ExitStack(), {}
        try:
            self.stamps = self._list(several)
        except BaseException:
            self._stack.close()
            raise
        self.pictures = {
            name: stamp for name, stamp in self.stamps.items() if name.lower().endswith(SUFFIXES)
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _list(self, several):
        if not self.root.is_dir():
            return self._open(self.root, "")
        found = {}
        for folder, _, names in os.walk(self.root, followlinks=True):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self.root).as_posix()
                if _hidden(relative):
                    continue
                try:
                    stat = path.stat()
                    found[relative] = (stat.st_size, stat.st_mtime_ns)
                except OSError:  # a dangling link: reading it will count it as unreadable
                    found[relative] = (0, 0)
        archives = sorted(name for name in found if name.lower().endswith(".zip"))
        if any(name.lower().endswith(SUFFIXES) for name in found) or not archives:
            return found
        if not several:
            raise RoiganError(
                f"{self.root} holds no pictures but archives: pass one, such as "
                f"root='{self.root / archives[0]}'."
            )
        for name in archives:
            found |= self._open(self.root / name, name + "!/")
        return found

    def _open(self, path, prefix):
        trouble = diagnose(path)
        if trouble:
            raise RoiganError(trouble)
        try:
            archive = self._archives[prefix] = self._stack.enter_context(zipfile.ZipFile(path))
        except (zipfile.BadZipFile, OSError):
            raise RoiganError(
                f"{path} is neither a folder nor a readable .zip archive: "
                "pass one that holds pictures."
            ) from None
        return {
            prefix + i.filename: (i.file_size, i.CRC)
            for i in archive.infolist()
            if not i.is_dir() and not _hidden(i.filename)
        }

    def read(self, name):
        """The bytes of a file."""
        start, mark, rest = name.rpartition("!/")
        if start + mark in self._archives:
            return self._archives[start + mark].read(rest)
        return (self.root / name).read_bytes()

    def find(self, end):
        """The shortest path that ends with `end` in lower case, or None."""
        return min(
            (name for name in self.stamps if name.lower().endswith(end)), key=len, default=None
        )

    def text(self, *ends):
        """The text of the first file whose path ends with one of `ends`, beside the root too; None where there is none."""
        for end in ends:
            name = self.find(end)
            if name is not None:
                return self.read(name).decode("utf-8", "replace")
            beside = self.root.parent / end
            if beside.is_file():
                return beside.read_text(errors="replace")
        return None

    def decoded(self, name, split, chosen, cut, size, key="", **more):
        """An ImageSet of the pictures `chosen`, (name, stamp) pairs, each cropped as `cut(name)` says: see `decode`.

        key: what `cut` depends on, beside the stamps. more: other fields of ImageSet, tensors with one row a picture.
        """
        pixels, left_out = _cached(self.root, chosen, self.read, cut, size, key)
        kept = [i for i, (file, _) in enumerate(chosen) if file not in left_out]
        rows = {k: v[kept] if isinstance(v, torch.Tensor) else v for k, v in more.items()}
        return ImageSet(
            name, split, size, torch.from_numpy(pixels), names=[chosen[i][0] for i in kept], **rows
        )


def diagnose(path):
    """One sentence on what is wrong with an archive, or None: a web page in its place, cut short, or unfinished."""
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")) or b"<html" in start:
        return (
            f"{path} is a web page, not an archive: the site answered with a page, often about a quota or a login; "
            "open it in a browser, download the file by hand and put it in this place."
        )
    if start.startswith(b"pk\x03\x04") and not zipfile.is_zipfile(path):
        return f"{path} is cut short, its table of contents is missing: the download broke off; download it again."
    return None


def check_crop(crop):
    if crop is None:
        return "square"
    if crop in CROPS or (
        isinstance(crop, (int, np.integer)) and not isinstance(crop, bool) and crop >= 8
    ):
        return crop
    raise RoiganError(
        f"crop={crop!r} is unknown: choose {', '.join(map(repr, CROPS))} "
        "or a whole number of pixels from 8."
    )


def _hidden(name):
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def choose(root, files, split):
    """The sorted (path, stamp) pairs of one split of the pictures {path: stamp} under a root, by the module's rules."""
    names = sorted(files)
    if split != "all":
        parts = split_of(root, files)
        names = [name for name in names if parts[name] == split]
    if not names:
        present = sorted({v for v in parts.values() if v})
        if root.is_dir() and SPLIT_NAMES.get(root.resolve().name.lower()) in present:
            raise RoiganError(
                f"{root} is a {root.resolve().name} folder and you asked for {split}: "
                "pass its parent folder."
            )
        if _by_hash(root, files):
            raise RoiganError(
                f"none of the {len(files)} pictures of {root} falls into the {split} split: "
                "add pictures or use split='all'."
            )
        raise RoiganError(
            f"{root} has no {split} pictures, only {', '.join(present)}: choose one or 'all'."
        )
    return [(name, files[name]) for name in names]


def _labels(files):
    """{path: split or None} by the folders train, valid and test below the root."""
    parts = {name: PurePosixPath(name).parts[:-1] for name in files}
    tops = {p[:1] for p in parts.values()}
    depth = (
        1
        if len(tops) == 1 and tops != {()} and next(iter(tops))[0].lower() not in SPLIT_NAMES
        else 0
    )
    return {
        name: SPLIT_NAMES.get(p[depth].lower()) if len(p) > depth else None
        for name, p in parts.items()
    }


def _by_hash(root, files):
    return not any(_labels(files).values()) and not (
        root.is_dir() and root.resolve().name.lower() in SPLIT_NAMES
    )


def split_of(root, files):
    """{path: its split, or None} for the pictures under a root. RoiganError: several data sets in one folder."""
    if not _by_hash(root, files):
        labels, own = _labels(files), SPLIT_NAMES.get(root.resolve().name.lower())
        return labels if any(labels.values()) else dict.fromkeys(files, own)
    nested = sorted(
        {
            p[0]
            for p in (PurePosixPath(name).parts[:-1] for name in files)
            if len(p) > 1 and p[1].lower() in SPLIT_NAMES
        }
    )
    if nested:
        raise RoiganError(
            f"{root} holds several data sets ({', '.join(nested[:5])}): pass one, "
            f"such as root='{root / nested[0]}'."
        )
    return {name: _hash_split(name) for name in files}


def _hash_split(name):
    tenth = int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8], 16) % 10
    return "train" if tenth < 8 else "valid" if tenth == 8 else "test"


def _cached(root, chosen, read, cut, size, key):
    """(n, 3, size, size) uint8 and what was left out, {name: why}; decoded once, then mapped from the cache."""
    recipe = repr((VERSION, str(root.resolve()), chosen, str(key), size)).encode(
        "utf-8", "surrogateescape"
    )
    cache = Path(os.environ.get("ROIGAN_CACHE") or Path.home() / ".cache" / "roigan")
    place = cache / f"folder-{hashlib.sha256(recipe).hexdigest()[:20]}.npy"
    try:
        pixels = np.load(
            place, mmap_mode="c"
        )  # copy on write: paged in as needed, never written back
        bad = (
            json.loads(place.with_suffix(".json").read_text()) if len(pixels) < len(chosen) else {}
        )
        if (
            pixels.dtype == np.uint8
            and pixels.shape == (len(chosen) - len(bad), 3, size, size)
            and len(pixels)
        ):
            _tell_left_out(root, bad, len(chosen))
            return pixels, bad
    except (OSError, ValueError, EOFError):  # none yet, or a damaged one: decode again
        pass
    with _new_array(place, (len(chosen), 3, size, size)) as (pixels, keep):
        bad = _decode_all([name for name, _ in chosen], read, cut, size, pixels)
        n = len(chosen) - len(bad)
        if not n or len(bad) > BAD_FRACTION * len(chosen):
            raise RoiganError(
                f"{len(bad)} of {len(chosen)} pictures of {root} cannot be read, such as {_few(bad)}: "
                "replace or remove them."
            )
        _tell_left_out(root, bad, len(chosen))
        return keep(n, bad), bad


@contextlib.contextmanager
def _new_array(place, shape):
    """(array, keep): an array to fill, on disk where there is room; keep(n, bad) leaves its first n rows at `place`."""
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # asked beforehand, because writing to a mapped file on a full disk ends the process
        if shutil.disk_usage(place.parent).free < 1.01 * np.prod(shape) + 2**20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
    except OSError as error:
        temporary.unlink(missing_ok=True) if place.parent.is_dir() else None
        _warn(
            f"the decoded pictures stay in memory, because {place.parent} cannot take them "
            f"({error.strerror or error})."
        )
        array = np.empty(shape, np.uint8)
        yield array, lambda n, bad: array[:n]
        return

    def keep(n, bad):
        array.flush()
        if bad:
            with temporary.with_suffix(".part").open("wb") as file:
                np.save(file, array[:n])
            os.replace(temporary.with_suffix(".part"), temporary)
            place.with_suffix(".json").write_text(json.dumps(bad))
        os.replace(temporary, place)
        return np.load(place, mmap_mode="c")

    try:
        yield array, keep
    finally:
        temporary.unlink(missing_ok=True)


def _few(bad):
    named = [f"{name} ({why})" for name, why in list(bad.items())[:3]]
    return "; ".join(named) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")


def _tell_left_out(root, bad, n):
    if bad:
        _warn(f"left out {len(bad)} of {n} pictures of {root} that cannot be read: {_few(bad)}.")


def _decode_all(names, read, cut, size, pixels):
    """Decode into the first rows of `pixels`, in order; returns {name: why} of those that cannot be read."""

    def one(name):
        try:
            return decode(read(name), cut(name), size).transpose(2, 0, 1)
        except RoiganError:
            raise
        except (
            Exception
        ) as error:  # decoders raise many types on damaged files; each means the same here
            return str(error).split("\n")[0][:80] or type(error).__name__

    bad, row, start = {}, 0, time.monotonic()
    told = start
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for first in range(
            0, len(names), 1024
        ):  # in blocks, so that what waits to be stored stays small
            block = names[first : first + 1024]
            for name, result in zip(block, pool.map(one, block)):
                if isinstance(result, str):
                    bad[name] = result
                else:
                    pixels[row], row = result, row + 1
                if time.monotonic() - told > 5:
                    told = time.monotonic()
                    done = row + len(bad)
                    rate = done / (told - start)
                    print(
                        f"decoded {done:,} of {len(names):,} pictures, {rate:.0f} a second, "
                        f"{(len(names) - done) / rate:.0f} s left",
                        file=sys.stderr,
                    )
    finally:
        pool.shutdown(cancel_futures=True)
    return bad


def decode(data, crop="square", size=64):
    """One picture's bytes -> (size, size, 3) uint8, upright, on white where transparent, cropped and resized.

    crop: "square", "thesis", "full", a number of pixels, a box (left, top, right, bottom) in pixels, or a function from
    the upright RGB image to the part of it that is wanted.
    """
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        image = _to_rgb(ImageOps.exif_transpose(opened))
    width, height = image.size
    if min(width, height) < 8:
        raise ValueError(f"{width}x{height} pixels are too few")
    image = crop(image) if callable(crop) else image.crop(crop_box(width, height, crop))
    return np.asarray(resize(image, size))


def resize(image, size):
    """A PIL image as the model's size x size pixels, antialiased."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)  # its filter widens as it shrinks


def _to_rgb(image):
    if image.mode.startswith("I"):  # 16-bit grey; PIL's own conversion would clip it at 255
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray((grey.clip(0, 65535) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("pictures of floating-point values are not supported")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def crop_box(width, height, crop):
    """(left, top, right, bottom) of a crop in width x height pixels. RoiganError: no room."""
    if isinstance(crop, tuple):
        return crop
    if crop == "full":
        return 0, 0, width, height
    if crop == "square":
        side = min(width, height)
    elif crop == "thesis":
        if abs(width / height - 178 / 218) > 0.01:
            raise RoiganError(
                "crop='thesis' is for CelebA's aligned frames of 178x218 pixels or copies in that "
                f"proportion, and a picture of {width}x{height} was found: use crop='square'."
            )
        side = round(width * 128 / 178)
    else:
        side = int(crop)
        if side > min(width, height):
            raise RoiganError(
                f"crop={side} does not fit a picture of {width}x{height} pixels: use a smaller number "
                "or crop='square'."
            )
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def _warn(sentence):
    warnings.warn(sentence, stacklevel=2)
