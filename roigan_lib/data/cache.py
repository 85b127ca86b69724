"""The one cache of pictures: made once, then mapped from $ROIGAN_CACHE or ~/.cache/roigan."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np


def cached(name, shape, make):
    """((m, …) uint8, {what was left out: why}) of the cache's file `name`, made if it is not there.

    make: fills an array of the given shape (n, …) from the front and returns what it left out, so
    that m = n - len(left out). The array is mapped copy-on-write: paged in as needed, never written
    back. Where the disk is full or not writable a warning says so, and the pictures stay in memory.
    """
    if found := stored(name, shape):
        return found
    place = _place(name)
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # asked beforehand, because writing to a mapped file on a full disk ends the process
        if shutil.disk_usage(place.parent).free < 1.01 * np.prod(shape) + 2**20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        warnings.warn(
            f"the pictures stay in memory, because {place.parent} cannot take them "
            f"({error.strerror or error}): free {np.prod(shape) / 2**20:.0f} MiB there or set "
            "ROIGAN_CACHE to a writable folder.",
            stacklevel=2,
        )
        array = np.empty(shape, np.uint8)
        left_out = make(array)
        return array[: len(array) - len(left_out)], left_out
    try:
        left_out = make(array)
        array.flush()
        if left_out:
            with temporary.with_suffix(".part").open("wb") as file:
                np.save(file, array[: len(array) - len(left_out)])
            os.replace(temporary.with_suffix(".part"), temporary)
            place.with_suffix(".json").write_text(json.dumps(left_out))
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
    return np.load(place, mmap_mode="c"), left_out


def stored(name, shape):
    """What `cached` returns, or None where it is not stored yet, or damaged."""
    place = _place(name)
    try:
        pixels, left_out = np.load(place, mmap_mode="c"), {}
        if len(pixels) < shape[0]:
            left_out = json.loads(place.with_suffix(".json").read_text())
    except (OSError, ValueError, EOFError):
        return None
    fits = pixels.dtype == np.uint8 and pixels.shape == (shape[0] - len(left_out), *shape[1:])
    return (pixels, left_out) if fits and len(pixels) else None


def _place(name):
    return Path(os.environ.get("ROIGAN_CACHE") or Path.home() / ".cache" / "roigan") / name
