"""The one cache of pictures: made once, then mapped from $ROIGAN_CACHE or ~/.cache/roigan."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import warnings

import numpy as np

from ..files import cache_folder


def cached(name, shape, make):
    """((m, …) uint8, {what was left out: why}) of the cache's file `name`, made if it is not there.

    make: fills an array of the given shape (n, …) from the front and returns what it left out, so
    that m = n - len(left out). The array is mapped copy-on-write: paged in as needed, never written
    back. Where the disk is full or not writable a warning says so, and the pictures stay in memory.
    """
    if found := stored(name, shape):
        return found
    place = _place(name)
    scratch = place.with_suffix(f".{secrets.token_hex(6)}.tmp")  # two threads have one number
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # asked beforehand, because writing to a mapped file on a full disk ends the process
        if shutil.disk_usage(place.parent).free < 1.01 * np.prod(shape) + 2**20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        array, kept = np.lib.format.open_memmap(scratch, "w+", np.uint8, shape), True
    except OSError as error:
        warnings.warn(
            f"the pictures stay in memory, because {place.parent} cannot take them "
            f"({error.strerror or error}): free {np.prod(shape) / 2**20:.0f} MiB there or set "
            "ROIGAN_CACHE to a writable folder.",
            stacklevel=4,
        )
        array, kept = np.empty(shape, np.uint8), False
    try:
        left_out = make(array)
        pixels = array[: len(array) - len(left_out)]
        if kept and left_out:  # once more, because a mapped file cannot become shorter
            with scratch.with_suffix(".part").open("wb") as file:
                np.save(file, pixels)
            os.replace(scratch.with_suffix(".part"), scratch)
            place.with_suffix(".json").write_text(json.dumps(left_out), "utf-8")
        if kept:
            array.flush()
            os.replace(scratch, place)
            pixels = np.load(place, mmap_mode="c")
        return pixels, left_out
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def stored(name, shape):
    """What `cached` returns, or None where it is not stored yet, or damaged."""
    try:
        pixels, left_out = np.load(_place(name), mmap_mode="c"), {}
        if len(pixels) < shape[0]:
            left_out = json.loads(_place(name).with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError, EOFError):
        return None
    fits = pixels.dtype == np.uint8 and pixels.shape == (shape[0] - len(left_out), *shape[1:])
    return (pixels, left_out) if fits and len(pixels) else None


def _place(name):
    return cache_folder() / name
