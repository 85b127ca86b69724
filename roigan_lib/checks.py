"""What a user hands in, checked before any work is done: seeds, devices, places to write to, one run a folder."""

from __future__ import annotations

import operator
import os
import signal
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from .errors import RoiganError

try:
    import fcntl
except ImportError:  # Windows: runs are not told apart there
    fcntl = None


def check_seed(seed, below=2**63) -> int:
    """The seed as an int: a whole number, numpy's too, from 0 to below - 1. RoiganError for anything else."""
    try:
        value = -1 if isinstance(seed, bool) else operator.index(seed)
    except (TypeError, RuntimeError):  # RuntimeError: a tensor of many values
        value = -1
    if not 0 <= value < below:
        given = " ".join(repr(seed).split())[:60]
        raise RoiganError(
            f"The seed is {given}; give a whole number from 0 to "
            f"2**{below.bit_length() - 1} - 1, such as 0."
        )
    return value


def check_device(device=None):
    """The torch.device of that name, which this machine has; None: the GPU where there is one. RoiganError otherwise."""
    import torch

    try:
        device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
        )
        if device.type != "cpu":
            torch.empty(0, device=device)
    except (
        RuntimeError,
        TypeError,
        AssertionError,
    ):  # AssertionError: torch was built without CUDA
        there = (
            ["cpu"]
            + [f"cuda:{k}" for k in range(torch.cuda.device_count())]
            + ["mps"] * torch.backends.mps.is_available()
        )
        raise RoiganError(
            f"There is no device {str(device)!r} on this machine; choose {' or '.join(there)}."
        ) from None
    return device


def check_images(data, size):
    """An ImageSet of size x size pixels, as it came. RoiganError for anything else."""
    from .data import ImageSet

    if not isinstance(data, ImageSet):
        raise RoiganError(
            f"A training takes its images as an ImageSet, not as a {type(data).__name__}; `open_dataset` opens "
            f"one, and ImageSet(name, split, size, uint8) makes one of pixels."
        )
    if tuple(data.uint8.shape[2:]) != (size, size):
        height, width = data.uint8.shape[2:]
        raise RoiganError(
            f"The images have {width}×{height} pixels and the configuration has size={size}; open the data "
            f"set at that size, or change size."
        )
    return data


def check_folder(folder) -> Path:
    """The folder, made where it is not there yet, into which files can be written. RoiganError where they cannot."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        why = (
            "a file is in the way"
            if isinstance(error, (FileExistsError, NotADirectoryError))
            else getattr(error, "strerror", None) or error
        )
        raise RoiganError(
            f"The folder {path} could not be written to ({why}); choose another place for the "
            f"output."
        ) from None
    return path


def check_output(path, formats=None) -> Path:
    """The path of a file that is going to be written, its folder made. RoiganError where it cannot be written.

    formats: the endings that will do, such as (".png", ".jpg"); None: any.
    """
    path = Path(path)
    if formats and path.suffix.lower() not in formats:
        raise RoiganError(
            f"{path} could not be written: its name has to end in {' or '.join(formats)}."
        )
    if path.is_dir() or not path.name:
        raise RoiganError(f"{path} could not be written: it is a folder; give the path of a file.")
    check_folder(path.parent)
    if path.exists() and not os.access(path, os.W_OK):
        raise RoiganError(
            f"{path} could not be written: it is there and write-protected; choose another name."
        )
    return path


def check_rows(path) -> Path:
    """The path of a .jsonl file that rows are going to be merged into. RoiganError where old lines cannot be read."""
    from .metrics.table import load_rows

    if check_output(path).exists():
        load_rows(path)
    return Path(path)


@contextmanager
def only_run(folder):
    """Hold the folder for one run at a time; RoiganError, with the number of the other process, where one is at work.

    The system drops the lock of a process that ends, however it ends; the file .lock stays and means nothing.
    """
    path = check_folder(folder) / ".lock"
    try:
        file = open(path, "a+")
    except OSError as error:
        raise RoiganError(
            f"The lock {path} cannot be opened ({error.strerror}); choose another folder."
        ) from None
    with file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RoiganError(
                f"Process {file.read().strip() or 'of another user'} is at work in {folder}; wait for its "
                f"end, or choose another folder."
            ) from None
        except OSError:  # a file system without locks: nobody can be told apart
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def on_signals(handler, *signals):
    """Within it the handler gets these signals; only the main thread of a process can ask for that."""
    main = threading.current_thread() is threading.main_thread()
    previous = {s: signal.signal(s, handler) for s in signals} if main else {}
    try:
        yield
    finally:
        for s, before in previous.items():
            signal.signal(s, before or signal.SIG_DFL)


def check_pair(images, masks):
    """(images, masks) as float32 tensors (n, 3, H, W) and (n, 1, H, W), or a RoiganError that says what does not fit.

    Images in [-1, 1], as (n, 3, H, W) or (3, H, W). Masks of 0 and 1 (any dtype), 1 = the region to fill, as
    (n, 1, H, W), (n, H, W) or (H, W); one mask serves all images. Refused: other shapes and sizes, bytes or values
    outside [-1, 1] in images, NaN, soft masks, masks of 0…255, empty and full ones, and sets whose median mask is 1
    on more than 90 % of its pixels, which are nearly always inverted.
    """
    images, masks = _tensor("images", images), _tensor("masks", masks)
    if not images.is_floating_point():
        raise RoiganError(
            f"images are {str(images.dtype).split('.')[-1]} but must be floats in [-1, 1]: "
            "convert bytes with images / 127.5 - 1."
        )
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise RoiganError(
            f"images have the shape {tuple(images.shape)} but must be (n, 3, H, W): "
            "colour channels come second."
        )
    images = images.float()
    low, high = images.aminmax()
    if not (low.isfinite() and high.isfinite()):
        raise RoiganError("images hold NaN or infinite values: repair or leave out those images.")
    if low < -1 - 1e-4 or high > 1 + 1e-4:
        raise RoiganError(
            f"images range from {low:.4g} to {high:.4g} but must lie in [-1, 1]: rescale or clamp them."
        )

    if masks.ndim in (2, 3):
        masks = masks[(None,) * (masks.ndim == 2)][:, None]
    if masks.ndim != 4 or masks.shape[1] != 1 or not masks.numel():
        raise RoiganError(
            f"masks have the shape {tuple(masks.shape)} but must be (n, 1, H, W), (n, H, W) or (H, W)."
        )
    if masks.shape[2:] != images.shape[2:]:
        raise RoiganError(
            f"masks are {_size(masks)} but images are {_size(images)}: resize one of them "
            "(masks with the nearest mode)."
        )
    if len(masks) not in (1, len(images)):
        raise RoiganError(
            f"{len(masks)} masks do not pair with {len(images)} images: "
            "give one mask an image, or one for all."
        )
    masks = masks.float()
    if masks.isnan().any():
        raise RoiganError(
            "masks hold NaN: a mask is 0 where the image stays and 1 where it is filled."
        )
    if masks.max() > 1 + 1e-6 or masks.min() < -1e-6:
        raise RoiganError(
            f"masks range from {masks.min() + 0:.4g} to {masks.max() + 0:.4g} but must be 0 or 1: "
            "threshold them, for bytes with (mask > 127)."
        )
    if ((masks - masks.round()).abs() > 1e-6).any():
        raise RoiganError(
            "masks are soft, with values between 0 and 1: threshold them with (mask > 0.5)."
        )
    masks = masks.round()
    _check_filled(masks)
    return images, masks.expand(len(images), -1, -1, -1).to(images.device)


def _check_filled(masks):
    # the median, since one rectangle in 12,000 by (3.1) covers so much and is in order
    share = masks.mean((1, 2, 3))
    for wrong, what in (
        (share == 0, "is empty: mark the region to fill with 1"),
        (share == 1, "is full: leave some of the image at 0 to fill from"),
        (
            share > 0.9 if share.median() > 0.9 else share > 1,
            "looks inverted, more than 90 % of it is 1: 1 means the region to fill",
        ),
    ):
        if wrong.any():
            raise RoiganError(f"mask {int(wrong.nonzero()[0])} {what}.")


def _tensor(name, value):
    try:
        return value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError):
        raise RoiganError(
            f"{name} must be a tensor or an array of numbers, not {type(value).__name__}."
        ) from None


def is_whole(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def height_width(size):
    pair = (
        (size, size)
        if is_whole(size)
        else tuple(size)
        if isinstance(size, (tuple, list, torch.Size))
        else ()
    )
    if len(pair) != 2 or not all(is_whole(s) and 8 <= s <= 4096 for s in pair):
        raise RoiganError(
            f"size={size!r} is no mask size: give a whole number of pixels from 8 to 4096, "
            "or a pair (H, W)."
        )
    return int(pair[0]), int(pair[1])


def _size(tensor):
    return f"{tensor.shape[-2]}x{tensor.shape[-1]}"
