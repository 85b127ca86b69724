"""What a user hands in, checked before any work: pairs, seeds, devices, places to write to."""

import operator
import os
import signal
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from .errors import RoiganError, enough_memory, shown, suggest
from .files import path_of, trouble
from .parallel import any_of

try:
    import fcntl
except ImportError:  # Windows: runs are not told apart there
    fcntl = None

PAIR = {  # what images and their masks have to be, and the sentence for those that are not
    "numbers": "{} must be a tensor or an array of numbers, not {}.",
    "floats": "images are {} but must be floats in [-1, 1]: convert bytes with images / 127.5 - 1.",
    "images": "images have the shape {} but must be (n, 3, H, W), one or more, channels second.",
    "finite": "images hold NaN or infinite values: repair or leave out those images.",
    "range": "images range from {:.4g} to {:.4g} but must lie in [-1, 1]: rescale or clamp them.",
    "masks": "masks have the shape {} but must be (n, 1, H, W), (n, H, W) or (H, W).",
    "size": "masks are {} but images are {}: resize one of them (masks with the nearest mode).",
    "number": "{} masks do not pair with {} images: give one mask an image, or one for all.",
    "nan": "masks hold NaN: a mask is 0 where the image stays and 1 where it is filled.",
    "binary": "masks range from {:.4g} to {:.4g} but must be 0 or 1: threshold them, "
    "for bytes with (mask > 127).",
    "hard": "masks are soft, with values between 0 and 1: threshold them with (mask > 0.5).",
    "empty": "mask {} is empty: mark the region to fill with 1.",
    "full": "mask {} is full: leave some of the image at 0 to fill from.",
    "inverted": "mask {} looks inverted, more than 90 % of it is 1: 1 means the region to fill.",
}


@enough_memory("the number of images")
def check_pair(images, masks) -> tuple[torch.Tensor, torch.Tensor]:
    """(images, masks) as float32 (n, 3, H, W) and (n, 1, H, W); a RoiganError if they do not fit.

    Images in [-1, 1], as (n, 3, H, W) or (3, H, W). Masks of 0 and 1 (any dtype), 1 = the region to
    fill, as (n, 1, H, W), (n, H, W) or (H, W); one serves all images. Both come as copies. Refused:
    what `PAIR` lists, where sets whose median mask covers over 90 % of the image are "inverted".
    """
    images, masks = numbers("images", images), numbers("masks", masks)
    images = check_floats(images)
    masks = masks[None] if masks.ndim == 2 else masks
    masks = (masks[:, None] if masks.ndim == 3 else masks).float()
    _need(_has_channels(masks, 1), "masks", tuple(masks.shape))
    sizes = [f"{t.shape[2]}x{t.shape[3]}" for t in (masks, images)]
    _need(sizes[0] == sizes[1], "size", *sizes)
    _need(len(masks) in (1, len(images)), "number", len(masks), len(images))
    low, high = masks.aminmax()
    _need(not low.isnan(), "nan")
    _need(-1e-6 <= low and high <= 1 + 1e-6, "binary", low + 0, high + 0)
    _need(((masks - masks.round()).abs() <= 1e-6).all(), "hard")
    masks = masks.round()
    share = masks.mean((1, 2, 3))
    # The median, since one rectangle in 12,000 by (3.1) covers so much and is in order.
    inverted = (share > 0.9) & (share.median() > 0.9)
    for fault, those in {"empty": share == 0, "full": share == 1, "inverted": inverted}.items():
        _need(not those.any(), fault, int(those.int().argmax()))
    return images, masks.expand(len(images), -1, -1, -1).to(images.device).contiguous()


def check_floats(images) -> torch.Tensor:
    """A copy of images, a tensor, as float32 (n, 3, H, W); RoiganError for what `PAIR` lists."""
    _need(images.is_floating_point(), "floats", str(images.dtype).split(".")[-1])
    images = (images[None] if images.ndim == 3 else images).to(torch.float32, copy=True)
    _need(_has_channels(images, 3), "images", tuple(images.shape))
    low, high = images.aminmax()
    _need(low.isfinite() and high.isfinite(), "finite")
    _need(-1 - 1e-4 <= low and high <= 1 + 1e-4, "range", low, high)
    return images


def _need(fits, what, *given):
    if not fits:
        raise RoiganError(PAIR[what].format(*given))


def numbers(name, value) -> torch.Tensor:
    """A tensor, an array or nested lists of real numbers as a dense tensor; else a RoiganError."""
    try:
        found = value
        if not isinstance(value, torch.Tensor):
            found = np.asarray(value)
            native = found.dtype.newbyteorder("=")
            found = torch.from_numpy(np.array(found, native, order="C"))  # no view of the caller's
        dense = found.layout == torch.strided and not (found.is_meta or found.is_nested)
        if found.is_complex() or not dense:
            raise TypeError
        return found.detach()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise RoiganError(PAIR["numbers"].format(name, type(value).__name__)) from None


def _has_channels(tensor, channels):
    return tensor.ndim == 4 and tensor.shape[1] == channels and tensor.numel() > 0


def whole(value):
    """A whole number of Python, numpy or torch as an int; None for all else, True and False too."""
    if isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == torch.bool:
        return None
    try:
        return None if getattr(value, "ndim", 0) else operator.index(value)  # [3] is no number
    except (TypeError, RuntimeError, ValueError):  # RuntimeError: a tensor of fractions
        return None


def check_whole(name, value, least=1, most=2**31 - 1) -> int:
    """The whole number from least to most as an int; else a RoiganError that names it."""
    number = whole(value)
    if number is None or not least <= number <= most:
        top = f"2**{most.bit_length()} - 1" if most > 2**30 else most
        such = ", such as 0" if least == 0 else ""
        raise RoiganError(
            f"{name} is {shown(value)}; give a whole number from {least} to {top}{such}."
        )
    return number


def check_number(name, value, low, high) -> float:
    """The number between low and high, themselves left out; else a RoiganError that names it."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not low < value < high:
        raise RoiganError(f"{name} is {shown(value)}; give a number between {low:g} and {high:g}.")
    return float(value)


def check_name(what, value, known, more=""):
    """The value, one of the known words; else a RoiganError that suggests the nearest one."""
    if not isinstance(value, str) or value not in known:
        raise RoiganError(
            f"unknown {what} {shown(value)}: {suggest(value, known)}choose one of "
            f"{', '.join(known)}{more}."
        )
    return value


def pixel_size(width, height) -> tuple[int, int]:
    """(width, height) of a photograph, whole numbers from 1 to 65536; else a RoiganError."""
    return check_whole("width", width, 1, 2**16), check_whole("height", height, 1, 2**16)


def height_width(size) -> tuple[int, int]:
    """(H, W) of masks from one whole number or a pair, each from 8 to 4096; else a RoiganError."""
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    sides = [s for s in map(whole, pair) if s is not None and 8 <= s <= 4096]
    if len(pair) != 2 or len(sides) != 2:
        raise RoiganError(
            f"size={shown(size)} is no mask size: give a whole number of pixels from 8 to 4096, "
            "or a pair (H, W)."
        )
    return sides[0], sides[1]


def check_seed(seed, below=2**63) -> int:
    """The seed as an int: a whole number, numpy's too, from 0 to below - 1; else a RoiganError."""
    return check_whole("The seed", seed, 0, below - 1)


def check_device(device=None) -> torch.device:
    """The device of that name; None or auto: the GPU, if there is one. RoiganError: not here, or
    torch puts what names no device on another one than the processor.
    """
    if (usual := torch.empty(0).device.type) != "cpu":
        raise RoiganError(
            f"torch's default device is {usual}, and the kit places its tensors itself: call "
            "torch.set_default_device('cpu') and give device=…."
        )
    there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    there += ["mps"] * torch.backends.mps.is_available()
    try:
        named = device is None or isinstance(device, str) and device == "auto"
        found = torch.device(there[1] if torch.cuda.is_available() else "cpu") if named else device
        found = torch.device(found) if isinstance(found, (str, torch.device)) else torch.device("")
        if found.type not in {name.partition(":")[0] for name in there}:
            raise RuntimeError  # meta and others, where no pictures can be drawn
        torch.empty(0, device=found)
    except (RuntimeError, ValueError, AssertionError):  # AssertionError: torch without CUDA
        raise RoiganError(
            f"There is no device {shown(device)} on this machine; choose {' or '.join(there)}."
        ) from None
    return found


def check_model(gan, *needs):
    """RoiganError where `gan` lacks what a model such as load_model returns has, and is asked."""
    lacks = [name for name in needs if not hasattr(gan, name)]
    if lacks:
        raise RoiganError(
            f"{shown(gan)} is no model such as load_model() returns; it lacks {', '.join(lacks)}."
        )


def check_calls(**given):
    """RoiganError where what is to be called, such as progress, is neither a function nor None."""
    for name, value in given.items():
        if value is not None and not callable(value):
            raise RoiganError(f"{name} is {shown(value)}; give a function, or leave it out.")


def check_images(data, size):
    """An image set of size x size pixels, as it came. RoiganError for anything else."""
    pixels = getattr(data, "uint8", None)
    if pixels is None:
        raise RoiganError(
            f"A training takes its images as an ImageSet, not as a {type(data).__name__}; "
            "`open_dataset` opens one, and ImageSet(name, split, size, uint8) makes one of pixels."
        )
    if tuple(pixels.shape[2:]) != (size, size):
        raise RoiganError(
            f"The images have {pixels.shape[3]}×{pixels.shape[2]} pixels and the configuration has "
            f"size={size}; open the data set at that size, or change size."
        )
    return data


def check_folder(folder) -> Path:
    """The folder, made where it is missing. RoiganError where files cannot be written into it."""
    path = path_of(folder, "folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        in_the_way = isinstance(error, (FileExistsError, NotADirectoryError))
        why = "a file is in the way" if in_the_way else getattr(error, "strerror", None) or error
        raise RoiganError(
            f"The folder {path} could not be written to ({why}); "
            "choose another place for the output."
        ) from None
    return path


def check_output(path, formats=None) -> Path:
    """The path of a file to write, its folder made. RoiganError where it cannot be written.

    formats: the endings that will do, such as (".png", ".jpg"); None: any.
    """
    path, why = path_of(path), None
    if formats and path.suffix.lower() not in formats:
        why = f"its name has to end in {' or '.join(formats)}"
    elif path.exists() and not path.is_file() or not path.name:
        why = f"it {trouble(path)}; give the path of a file"
    elif check_folder(path.parent) and path.exists() and not os.access(path, os.W_OK):
        why = "it is there and write-protected; choose another name"
    if why:
        raise RoiganError(f"{path} could not be written: {why}.")
    return path


@contextmanager
def only_run(folder):
    """Hold the folder for one run; RoiganError, with the other's number, where one is at work.

    The system drops the lock of a process that ends, however it ends; the file .lock stays.
    """
    with open(check_output(Path(folder) / ".lock"), "a+") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().strip() or "of another user"
            raise RoiganError(
                f"Process {other} is at work in {folder}; wait for its end, "
                "or choose another folder."
            ) from None
        except OSError:  # a file system without locks: nobody can be told apart
            pass
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        except OSError as error:  # a full disk takes names of files, and no byte
            raise RoiganError(
                f"The folder {folder} takes no more ({error.strerror}); free some space, or choose "
                "another folder."
            ) from None
        yield


@contextmanager
def on_signals(handler, *signals):
    """Within it the handler gets these signals; only the main thread can ask for that."""
    main = threading.current_thread() is threading.main_thread()
    heard = [s for s in signals if main and signal.getsignal(s) != signal.SIG_IGN]  # as by nohup
    previous = {s: signal.signal(s, handler) for s in heard}
    try:
        yield
    finally:
        for s, before in previous.items():
            signal.signal(s, before or signal.SIG_DFL)


@contextmanager
def whole_step():
    """Ctrl-C and SIGTERM wait for the end of a step: half of one would not continue exactly."""
    pressed = []
    with on_signals(lambda *_: pressed.append(True), signal.SIGINT, signal.SIGTERM):
        yield
    if any_of(pressed):
        raise KeyboardInterrupt


def check_codes(codes, n, cfg, reach=1.0):
    """Codes as float32 (n, n_codes), one row for all or one each; RoiganError for others.

    cfg: the ModelConfig, with the numbers of continuous codes, drop-downs and categories. reach:
    how far the continuous ones may lie from 0.
    """
    codes, reach = _rows("codes", codes), check_number("reach", reach, 0, 1000)
    if codes.ndim != 2 or codes.shape[1] != cfg.n_codes or len(codes) not in (1, n):
        raise RoiganError(
            f"codes have shape {tuple(codes.shape)}; this model takes ({n}, {cfg.n_codes}): "
            f"{cfg.n_continuous} values in [-1, 1], then {cfg.n_discrete} category indices."
        )
    if not codes.isfinite().all():
        raise RoiganError("codes hold NaN or infinite values; give numbers from -1 to 1.")
    sliders = codes[:, : cfg.n_continuous]
    if (sliders.abs() > reach + 1e-4).any():
        raise RoiganError(
            f"codes hold {sliders.flatten()[sliders.abs().argmax()]:.4g}, and a slider ends at -1 "
            f"and 1; clamp them, or give reach={sliders.abs().max():.2g} to go beyond."
        )
    categories = torch.arange(cfg.n_categories, device=codes.device)
    if not (codes[:, cfg.n_continuous :, None] == categories).any(-1).all():
        raise RoiganError(
            f"a category index of codes is outside 0 … {cfg.n_categories - 1} or not whole; the "
            f"last {cfg.n_discrete} columns of codes name categories."
        )
    return codes.expand(n, -1)


def check_noise(noise, n, width):
    """Noise as float32 (n, width), one row for all or one each; RoiganError for others."""
    noise = _rows("noise", noise)
    fits = noise.ndim == 2 and noise.shape[1] == width and len(noise) in (1, n)
    if not fits or not (noise.abs() <= 1000).all():  # beyond, a network's sums overflow
        raise RoiganError(
            f"noise has shape {tuple(noise.shape)}; this model takes ({n}, {width}) numbers from "
            f"-1000 to 1000, as `sample_noise` draws them."
        )
    return noise.expand(n, -1)


def _rows(name, value):
    rows = numbers(name, value).float()
    return rows[None] if rows.ndim == 1 else rows
