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
import hashlib
import io
import os
import sys
import tempfile
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
BAD_FRACTION = 0.05     # more unreadable files than this is a wrong folder, not a few accidents
VERSION = 1             # part of the cache key: raise it when the pixels of the same file change


def load(split="train", size=64, root=None, crop=None, limit=None):
    """The pictures under `root` (folder or .zip; default $ROIGAN_DATA) as an ImageSet; see the module for the rules.

    Files that cannot be read are skipped with one warning that names them. RoiganError: no root, nothing in it, more
    than 5 % of the files unreadable, a crop that does not fit.
    """
    root = root if root is not None else os.environ.get("ROIGAN_DATA")
    if not root:
        raise RoiganError("the folder data set needs a place to read: pass root='path/to/pictures' or set ROIGAN_DATA.")
    root = Path(root).expanduser()
    crop = _check_crop(crop)
    if not root.exists():
        raise RoiganError(f"there is no folder or archive {root}: check root= or ROIGAN_DATA.")
    with contextlib.ExitStack() as stack:
        files, read = _list_folder(root) if root.is_dir() else _list_zip(root, stack)
        chosen = _choose(root, files, split)[:limit]
        pixels = _cached(root, chosen, read, crop, size)
    return ImageSet(f"folder:{root.stem}", split, size, torch.from_numpy(pixels))


def _check_crop(crop):
    if crop is None:
        return "square"
    if crop in CROPS or (isinstance(crop, (int, np.integer)) and not isinstance(crop, bool) and crop >= 8):
        return crop
    raise RoiganError(f"crop={crop!r} is unknown: choose {', '.join(map(repr, CROPS))} "
                      "or a whole number of pixels from 8.")


def _is_picture(name):
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(p.startswith((".", "__MACOSX")) for p in path.parts)


def _list_folder(root):
    """{path within root: stamp} and a reader of one file's bytes."""
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if _is_picture(relative):
                try:
                    stat = path.stat()
                    found[relative] = (stat.st_size, stat.st_mtime_ns)
                except OSError:             # a dangling link: reading it will count it as unreadable
                    found[relative] = (0, 0)
    if not found:
        archives = sorted(p.name for p in root.glob("*.zip"))
        if archives:
            raise RoiganError(f"{root} holds no pictures but archives: pass one, such as root='{root / archives[0]}'.")
        raise RoiganError(f"{root} holds no pictures ({', '.join(SUFFIXES)}): check root= or ROIGAN_DATA.")
    return found, lambda name: (root / name).read_bytes()


def _list_zip(root, stack):
    try:
        archive = stack.enter_context(zipfile.ZipFile(root))
    except (zipfile.BadZipFile, OSError):
        raise RoiganError(f"{root} is neither a folder nor a readable .zip archive: "
                          "pass one that holds pictures.") from None
    found = {i.filename: (i.file_size, i.CRC) for i in archive.infolist() if not i.is_dir() and _is_picture(i.filename)}
    if not found:
        raise RoiganError(f"{root} holds no pictures ({', '.join(SUFFIXES)}): check root= or ROIGAN_DATA.")
    return found, archive.read


def _choose(root, files, split):
    """The sorted (path, stamp) pairs of one split."""
    names = sorted(files)
    parts = {name: PurePosixPath(name).parts[:-1] for name in names}
    tops = {p[:1] for p in parts.values()}
    depth = 1 if len(tops) == 1 and tops != {()} and next(iter(tops))[0].lower() not in SPLIT_NAMES else 0
    label = {name: SPLIT_NAMES.get(p[depth].lower()) if len(p) > depth else None for name, p in parts.items()}
    if split == "all":
        pass
    elif any(label.values()):
        present = sorted({v for v in label.values() if v})
        names = [name for name in names if label[name] == split]
        if not names:
            raise RoiganError(f"{root} has no {split} pictures, only {', '.join(present)}: choose one or 'all'.")
    elif root.is_dir() and root.resolve().name.lower() in SPLIT_NAMES:
        if SPLIT_NAMES[root.resolve().name.lower()] != split:
            raise RoiganError(f"{root} is a {root.resolve().name} folder and you asked for {split}: "
                              "pass its parent folder.")
    else:
        nested = sorted({p[0] for p in parts.values() if len(p) > 1 and p[1].lower() in SPLIT_NAMES})
        if len(nested) > 0:
            raise RoiganError(f"{root} holds several data sets ({', '.join(nested[:5])}): pass one, "
                              f"such as root='{root / nested[0]}'.")
        names = [name for name in names if _hash_split(name) == split]
        if not names:
            raise RoiganError(f"none of the {len(files)} pictures of {root} falls into the {split} split: "
                              "add pictures or use split='all'.")
    return [(name, files[name]) for name in names]


def _hash_split(name):
    tenth = int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8], 16) % 10
    return "train" if tenth < 8 else "valid" if tenth == 8 else "test"


def _cached(root, chosen, read, crop, size):
    recipe = repr((VERSION, str(root.resolve()), chosen, str(crop), size)).encode("utf-8", "surrogateescape")
    cache = Path(os.environ.get("ROIGAN_CACHE") or Path.home() / ".cache" / "roigan")
    place = cache / f"folder-{hashlib.sha256(recipe).hexdigest()[:20]}.npy"
    try:
        pixels = np.load(place, mmap_mode="c")      # copy on write: paged in as needed, never written back
        if pixels.dtype == np.uint8 and pixels.shape[1:] == (3, size, size) and 0 < len(pixels) <= len(chosen):
            if len(pixels) < len(chosen):
                _warn(f"{len(chosen) - len(pixels)} of {len(chosen)} pictures of {root} were unreadable and left out.")
            return pixels
    except (OSError, ValueError, EOFError):         # none yet, or a damaged one: decode again
        pass
    pixels = _decode_all(root, [name for name, _ in chosen], read, crop, size)
    _save(place, pixels)
    return pixels


def _save(place, pixels):
    temporary = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.save(file, pixels)
        os.replace(temporary, place)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        _warn(f"the decoded pictures stay in memory, because {place.parent} cannot take them "
              f"({error.strerror or error}).")


def _decode_all(root, names, read, crop, size):
    pixels = np.empty((len(names), 3, size, size), np.uint8)
    problems = [None] * len(names)

    def one(i):
        try:
            pixels[i] = decode(read(names[i]), crop, size).transpose(2, 0, 1)
        except RoiganError:
            raise
        except Exception as error:          # decoders raise many types on damaged files; each means the same here
            problems[i] = f"{names[i]} ({str(error).split(chr(10))[0][:80]})"

    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    start = told = time.monotonic()
    try:
        for done, _ in enumerate(pool.map(one, range(len(names))), 1):
            if time.monotonic() - told > 5:
                told = time.monotonic()
                rate = done / (told - start)
                print(f"decoded {done:,} of {len(names):,} pictures, {rate:.0f} a second, "
                      f"{(len(names) - done) / rate:.0f} s left", file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)
    bad = [p for p in problems if p]
    if bad:
        named = "; ".join(bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")
        if len(bad) == len(names) or len(bad) > BAD_FRACTION * len(names):
            raise RoiganError(f"{len(bad)} of {len(names)} pictures of {root} cannot be read, such as {named}: "
                              "replace or remove them.")
        _warn(f"left out {len(bad)} of {len(names)} pictures of {root} that cannot be read: {named}.")
        pixels = pixels[[p is None for p in problems]]
    return pixels


def decode(data, crop="square", size=64):
    """One picture's bytes -> (size, size, 3) uint8, upright, on white where transparent, cropped and resized."""
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        image = _to_rgb(ImageOps.exif_transpose(opened))
    width, height = image.size
    if min(width, height) < 8:
        raise ValueError(f"{width}x{height} pixels are too few")
    image = image.crop(_box(width, height, crop))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)      # PIL's filter widens as it shrinks
    return np.asarray(image)


def _to_rgb(image):
    if image.mode.startswith("I"):          # 16-bit grey; PIL's own conversion would clip it at 255
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray((grey.clip(0, 65535) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("pictures of floating-point values are not supported")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _box(width, height, crop):
    if crop == "full":
        return 0, 0, width, height
    if crop == "square":
        side = min(width, height)
    elif crop == "thesis":
        if abs(width / height - 178 / 218) > 0.01:
            raise RoiganError("crop='thesis' is for CelebA's aligned frames of 178x218 pixels or copies in that "
                              f"proportion, and a picture of {width}x{height} was found: use crop='square'.")
        side = round(width * 128 / 178)
    else:
        side = int(crop)
        if side > min(width, height):
            raise RoiganError(f"crop={side} does not fit a picture of {width}x{height} pixels: use a smaller number "
                              "or crop='square'.")
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def _warn(sentence):
    warnings.warn(sentence, stacklevel=2)
