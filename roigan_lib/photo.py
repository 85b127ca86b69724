"""Your own photograph: its face placed as the model's training pictures were, redrawn there, pasted back at full size.

    photo = open_photo("me.jpg")
    frame = face_frame(find_eyes(photo), gan.size)
    mask = open_mask("region.png", photo.shape[1], photo.shape[0])
    picture = inpaint_photo(gan, photo, mask, frame)

Photographs are uint8 (H, W, 3). Positions are (x, y) in pixels, (0, 0) the centre of the upper left pixel, as in lists
of landmarks; boxes are (left, top, side) and count from the picture's upper left corner.
"""
import dataclasses
import io
import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError

from .data.folder import _to_rgb
from .errors import RoiganError
from .masks import load_mask
from .models import pyramid_fill

EYES = ((69.4, 111.3), (107.9, 111.2))                              # CelebA's mean landmarks in its 178x218 frame
CROPS = {"thesis": (25, 45, 128, 128), "full": (0, 0, 178, 218)}    # left, top, width, height within that frame
LONGEST = 32_000                                                    # OpenCV's warp counts pixels in 16 bits
BY_HAND = "give the two eyes by hand, as ((x, y), (x, y)) in pixels"


class _Upload(io.BytesIO):
    """Bytes that have a name in an error message."""

    def __repr__(self):
        return "upload"


def open_photo(source):
    """A photograph as uint8 (H, W, 3), upright, on white where transparent, from 16 to 32,000 pixels a side.

    source: a path, the bytes of a file, a PIL image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4). RoiganError: a
    missing or unreadable file, another kind of array, too few or too many pixels.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or not (source.ndim == 2 or source.ndim == 3 and source.shape[2] in (3, 4)):
            raise RoiganError(f"the photograph is an array {source.shape} of {source.dtype} but must be (H, W), "
                              "(H, W, 3) or (H, W, 4) of uint8.")
        _check_sides(source.shape[1], source.shape[0])
        return source if source.shape[2:] == (3,) else np.array(_to_rgb(Image.fromarray(source)))
    if not isinstance(source, (str, Path, bytes, Image.Image)):
        raise RoiganError("a photograph is a path, the bytes of a file, a PIL image or a uint8 array, not "
                          f"{type(source).__name__}.")
    named = "the picture" if isinstance(source, (bytes, Image.Image)) else source
    try:
        if isinstance(source, Image.Image):
            image = _to_rgb(ImageOps.exif_transpose(source))
        else:
            with Image.open(_Upload(source) if isinstance(source, bytes) else Path(source).expanduser()) as opened:
                image = _to_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise RoiganError(f"there is no photograph {named}: check the path.") from None
    except IsADirectoryError:
        raise RoiganError(f"{named} is a folder: give one picture in it.") from None
    except Exception as error:              # decoders raise many types on damaged files
        why = "no known format" if isinstance(error, UnidentifiedImageError) else str(error).split("\n")[0][:80]
        raise RoiganError(f"{named} cannot be read as a photograph ({why}): save it as JPEG or PNG.") from None
    _check_sides(*image.size)
    return np.array(image)


def _check_sides(width, height):
    if min(width, height) < 16 or max(width, height) > LONGEST:
        raise RoiganError(f"the photograph has {width}x{height} pixels: take one of 16 to {LONGEST:,} a side.")


def open_mask(source, width, height):
    """A mask picture of any size (a path or bytes), resized to the photograph: bool (height, width), True = redraw.

    White is the region, as in `masks.load_mask`, whose RoiganErrors it raises.
    """
    mask = load_mask(_Upload(source) if isinstance(source, bytes) else source)[0, 0].numpy() > 0
    rows, columns = (((np.arange(n) + 0.5) * have / n).astype(int) for n, have in zip((height, width), mask.shape))
    mask = mask[rows[:, None], columns]
    if not mask.any():
        raise RoiganError(f"the mask is empty at the photograph's {width}x{height} pixels: paint a larger region.")
    return mask


def astronaut():
    """The portrait of Eileen Collins, uint8 (512, 512, 3): by NASA, in the public domain, shipped with scikit-image."""
    return open_photo(np.array(_skimage("the portrait").data.astronaut()))


def _skimage(what):
    try:
        import skimage
        import skimage.data
        import skimage.feature
    except ImportError:
        raise RoiganError(f"{what} needs scikit-image: pip install scikit-image.") from None
    return skimage


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """Where the model looks: `matrix` (2, 3) takes (x, y, 1) in the photograph to pixels of its (size, size) input."""
    matrix: np.ndarray
    size: int

    def __post_init__(self):
        if not isinstance(self.size, (int, np.integer)) or not 8 <= self.size <= 4096:
            raise RoiganError(f"size={self.size!r} is no model's size: give gan.size.")

    def inverse(self):
        """(2, 3): from pixels of the model to the photograph."""
        return cv2.invertAffineTransform(self.matrix)

    def step(self):
        """Pixels of the photograph to one of the model, along the longer of its sides."""
        return float(np.linalg.norm(self.inverse()[:, :2], axis=0).max())


def face_frame(eyes, size=64, crop="thesis"):
    """The frame that puts two eyes, ((x, y), (x, y)) in any order, where CelebA's aligned faces have them.

    crop: "thesis", the centred 128 of CelebA's 178x218, or "full", all of it, squashed to a square. The frame may
    reach beyond the photograph. RoiganError: eyes that are no two points or less than 4 pixels apart.
    """
    if crop not in CROPS:
        raise RoiganError(f"crop={crop!r} is unknown: choose {' or '.join(map(repr, CROPS))}.")
    try:
        points = np.asarray(eyes, float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.shape != (2, 2) or not np.isfinite(points).all():
        raise RoiganError(f"eyes={eyes!r} are not two points: {BY_HAND}.")
    here = [complex(*p) for p in sorted(points.tolist())]
    if abs(here[1] - here[0]) < 4:
        raise RoiganError(f"the eyes are {abs(here[1] - here[0]):.1f} pixels apart: 4 are the least; {BY_HAND}.")
    there = [complex(*p) for p in EYES]
    turn = (there[1] - there[0]) / (here[1] - here[0])
    shift = there[0] - turn * here[0]
    aligned = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0, 0, 1]])
    return Frame(_to_square(*CROPS[crop], size) @ aligned, size)


def square_frame(width, height, size, box=None):
    """The frame of a square box (left, top, side) in a photograph of width x height pixels, by default the largest
    centred one. RoiganError: a box that is not inside the photograph or has a side below 4 pixels.
    """
    side = min(width, height)
    try:
        left, top, side = map(float, ((width - side) / 2, (height - side) / 2, side) if box is None else box)
    except (TypeError, ValueError):
        raise RoiganError(f"box={box!r} is no (left, top, side): give three numbers of pixels.") from None
    if not (side >= 4 and 0 <= left <= width - side and 0 <= top <= height - side):
        raise RoiganError(f"box={box!r} does not lie in the photograph of {width}x{height} pixels: give (left, top, "
                          "side) with a side of at least 4.")
    return Frame(_to_square(left, top, side, side, size), size)


def _to_square(left, top, width, height, size):
    """The matrix (2, 3) that takes a box to the whole of (size, size): edges to edges, hence the halves."""
    kx, ky = size / width, size / height
    return np.array([[kx, 0, (0.5 - left) * kx - 0.5], [0, ky, (0.5 - top) * ky - 0.5]])


def to_model(photo, frame):
    """What the model sees of a photograph: float32 (1, 3, S, S) in [-1, 1], its border repeated beyond its edges."""
    pixels = _average(open_photo(photo).astype(np.float32), frame)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None].contiguous().clamp_(-1, 1)


def mask_to_model(mask, frame):
    """The region in the model's pixels, float32 (1, 1, S, S) of {0, 1}: every pixel that the region had a part in.

    mask: (H, W) of bool, 0 and 1, or 0 to 255, in the photograph's size. Warns where some of the region lies outside
    the frame. RoiganError: another shape, an empty mask, a region outside the frame, or one over 90 % of it.
    """
    mask = _check_mask(mask)
    left_out = 1 - _within(mask, frame).sum() / mask.sum()
    if left_out == 1:
        raise RoiganError("the region lies outside the frame that the model sees: paint it on the face, or give "
                          "other eyes or another box.")
    small = torch.from_numpy(_average(mask.astype(np.float32), frame) > 0)[None, None].float()
    if small.mean() > 0.9:
        raise RoiganError(f"the region covers {small.mean():.0%} of what the model sees: leave it more to go by.")
    if left_out:
        warnings.warn(f"{100 * left_out:.2g} % of the region lie outside the frame that the model sees, and stay as "
                      "they are.", stacklevel=2)
    return small


def mask_to_photo(mask, frame, width, height):
    """A region in the model's pixels, (S, S), (1, S, S) or (1, 1, S, S), in the photograph's: bool (height, width)."""
    small = np.asarray(mask).reshape(frame.size, frame.size) > 0.5
    y, x = np.mgrid[:height, :width]
    column, row = (np.rint(a * x + b * y + c).astype(int) for a, b, c in frame.matrix)
    inside = (column >= 0) & (column < frame.size) & (row >= 0) & (row < frame.size)
    return inside & small[row.clip(0, frame.size - 1), column.clip(0, frame.size - 1)]


def _check_mask(mask):
    mask = np.asarray(mask)
    if mask.ndim != 2 or not (mask.dtype == bool or np.issubdtype(mask.dtype, np.number)):
        raise RoiganError(f"the mask is an array {mask.shape} of {mask.dtype} but must be (H, W) of numbers.")
    mask = mask > (127 if mask.dtype != bool and mask.max(initial=0) > 1 else 0.5)
    if not mask.any():
        raise RoiganError("the mask is empty: mark the region to redraw with 1.")
    return mask


def _within(mask, frame):
    """The part of the mask whose pixels have their centres inside the frame."""
    y, x = np.nonzero(mask)
    inside = np.ones(len(x), bool)
    for a, b, c in frame.matrix:
        at = a * x + b * y + c
        inside &= (at > -0.5) & (at < frame.size - 0.5)
    within = np.zeros_like(mask)
    within[y[inside], x[inside]] = True
    return within


def _average(pixels, frame):
    """Means of float32 (H, W[, 3]) over the pixels of the frame, (S, S[, 3]), from k x k bilinear samples in each.

    The weights do not depend on the values, so that a mask's mean is 0 just where no masked pixel has entered.
    """
    size, inverse = frame.size, np.vstack([frame.inverse(), [0, 0, 1]])
    k = min(math.ceil(frame.step() - 1e-9), LONGEST // size)
    rows = []
    for row in range(size):
        fine = inverse @ [[1 / k, 0, 0.5 / k - 0.5], [0, 1 / k, row + 0.5 / k - 0.5], [0, 0, 1]]
        strip = cv2.warpAffine(pixels, fine[:2], (k * size, k), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                               borderMode=cv2.BORDER_REPLICATE)
        rows.append(cv2.resize(strip, (size, 1), interpolation=cv2.INTER_AREA))
    return np.concatenate(rows)


def inpaint_photo(gan, photo, mask, frame, codes=None, seed=0):
    """The photograph with its masked region redrawn, uint8 (H, W, 3), every pixel outside the region bit-equal.

    gan: anything with `inpaint(images, masks, codes, seed)` and `size`. photo, mask and frame as above; codes and seed
    as in `RoIGAN.inpaint`. What the model drew is enlarged, and its mismatch with the photograph along the region's
    border is taken off, spread smoothly over the region. RoiganError and the warning as in `mask_to_model`; also a
    mask or a frame of another size.
    """
    photo, mask = open_photo(photo), _check_mask(mask)
    if mask.shape != photo.shape[:2]:
        raise RoiganError(f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels but the photograph "
                          f"{photo.shape[1]}x{photo.shape[0]}: open it with open_mask, which resizes it.")
    if frame.size != gan.size:
        raise RoiganError(f"the frame has size={frame.size} but this model works at {gan.size}: make it with that "
                          "size.")
    drawn = gan.inpaint(to_model(photo, frame), mask_to_model(mask, frame), codes=codes, seed=seed)
    hole = _within(mask, frame)
    spans = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    window = tuple(slice(max(0, at[0] - 1), min(n, at[-1] + 2)) for at, n in zip(spans, mask.shape))
    result, hole = photo.copy(), hole[window]
    content = _enlarge(drawn, frame, *window)
    content += _mismatch(photo[window] - content, hole)
    result[window][hole] = content[hole].round().clip(0, 255).astype(np.uint8)
    return result


def _enlarge(drawn, frame, rows, columns):
    """The model's picture (1, 3, S, S) in a window of the photograph, bicubic: float32 (h, w, 3) of 0 to 255."""
    k = math.ceil(1 / frame.step() - 1e-9)      # samples a side of a pixel, where the photograph is the coarser one
    y, x = (torch.arange(s.start * k, s.stop * k, dtype=torch.float64).add_(0.5).div_(k).sub_(0.5)
            for s in (rows, columns))
    grid = torch.stack([(2 * (a * x + b * y[:, None] + c) + 1) / frame.size - 1 for a, b, c in frame.matrix], -1)
    large = F.grid_sample(drawn.detach().float().cpu(), grid.float()[None], "bicubic", "border", align_corners=False)
    return (F.avg_pool2d(large, k)[0].permute(1, 2, 0).numpy() + 1) * 127.5


def _mismatch(difference, hole):
    """The differences (h, w, 3) of the pixels next to the hole, spread smoothly over all."""
    rim = (cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~hole
    height, width = hole.shape
    side = 1 << (max(height, width) - 1).bit_length()
    known = torch.zeros(1, 1, side, side)
    known[0, 0, :height, :width] = torch.from_numpy(rim)
    values = torch.zeros(1, 3, side, side)
    values[0, :, :height, :width] = torch.from_numpy(difference).permute(2, 0, 1)
    return pyramid_fill(values, 1 - known)[0, :, :height, :width].permute(1, 2, 0).numpy()


def find_eyes(photo):
    """The two eyes of the largest face, ((x, y), (x, y)) in pixels, the left one in the picture first.

    The face by scikit-image's cascade of local binary patterns (OpenCV 5 has no cascades any more), the eyes from their
    usual places in it, moved to the nearest round dark spot. A guess to look at before use. RoiganError: no face found.
    """
    photo = open_photo(photo)
    skimage = _skimage("finding the eyes")
    cascade = skimage.feature.Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    for longest in (112, 160, 240, 320):    # coarse first: on a large picture of a face it also fires at odd sizes
        shrink = max(photo.shape) / longest
        width, height = (max(1, round(n / shrink)) for n in (photo.shape[1], photo.shape[0]))
        small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA if shrink > 1 else cv2.INTER_LINEAR)
        faces = cascade.detect_multi_scale(img=small, scale_factor=1.1, step_ratio=1, min_size=(28, 28),
                                           max_size=(longest, longest), min_neighbor_number=6)
        if faces:
            face = max(faces, key=lambda f: f["width"])
            left, top, side = (face[key] * shrink for key in ("c", "r", "width"))
            return tuple(_dark_spot(photo, left + at * side, top + 0.375 * side, 0.32 * side) for at in (0.31, 0.67))
    raise RoiganError(f"no face was found in the photograph: {BY_HAND}.")


def _dark_spot(photo, x, y, side, n=24):
    """The centre of a round dark spot in a square around (x, y): Timm and Barth, VISAPP 2011, kept near the centre."""
    patch = Frame(_to_square(x - side / 2 + 0.5, y - side / 2 + 0.5, side, side, n), n)
    grey = cv2.GaussianBlur(to_model(photo, patch)[0].mean(0).numpy(), (0, 0), 1)
    slope = np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)], -1)
    steep = np.linalg.norm(slope, axis=-1)
    at = steep > np.quantile(steep, 0.7)
    if not at.any():
        return float(x), float(y)
    centres = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1)                     # (n, n, 2) of (x, y)
    away = np.argwhere(at)[:, ::-1] - centres[:, :, None]                               # (n, n, p, 2)
    along = (away * slope[at] / steep[at][:, None]).sum(-1) / np.linalg.norm(away, axis=-1).clip(1e-6)
    near = np.exp(-((centres - (n - 1) / 2) ** 2).sum(-1) / (2 * (0.18 * n) ** 2))
    row, column = np.unravel_index(((along.clip(0) ** 2).mean(-1) * (grey.max() - grey) * near).argmax(), (n, n))
    column, row = ((i + 0.5) / n * side - side / 2 for i in (column, row))
    return float(x + column), float(y + row)
