"""Your own photograph: its face placed as in the model's training, redrawn, and pasted back.

    photo = open_photo("me.jpg")  # this, open_mask and save_photo: picture_files.py
    frame = face_frame(find_eyes(photo), gan.size)
    mask = open_mask("region.png", photo.shape[1], photo.shape[0])
    picture = inpaint_photo(gan, photo, mask, frame)
    save_photo("done.png", picture, "me.jpg")

A region is either in the photograph's pixels, bool (H, W), or in the model's, (1, 1, S, S) of {0,
1}; a `Frame` takes the one to the other. Photographs are uint8 (H, W, 3). Positions are (x, y) in
pixels, (0, 0) the centre of the upper left pixel, as in lists of landmarks; boxes are (left, top,
side) and count from the picture's upper left corner.
"""

import dataclasses
import math
import warnings

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .checks import check_model, check_name, check_whole, numbers, pixel_size
from .data.decode import check_crop, crop_box
from .errors import RoiganError, missing_package, shown
from .models import pyramid_fill
from .picture_files import LONGEST, SLIVER, open_photo, place_mask

EYES = ((69.4, 111.3), (107.9, 111.2))  # CelebA's mean landmarks in its 178x218 frame
CROPS = {"thesis": (25, 45, 128, 128), "full": (0, 0, 178, 218)}  # left, top, width, height there
BY_HAND = "give the two eyes by hand, as ((x, y), (x, y)) in pixels"
BLEND = 2  # pixels of the model
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
LEFT, LOST = 0.7935, 0.161  # of white noise: its variance, and its neighbours' correlation without
# what `_outside` makes of it
OUTSIDE = (
    "the region lies outside the frame that the model sees, or outside the photograph: paint it "
    "on the face, or give other eyes or another box."
)


# ---- where the model looks


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """What the model sees: `matrix` (2, 3) takes (x, y, 1) in the photograph to its own pixels."""

    matrix: np.ndarray
    size: int

    def __post_init__(self):
        check_whole("size of a frame, that of its model,", self.size, 8, 4096)
        matrix = np.asarray(numbers("matrix", self.matrix), float)
        plain = matrix.shape == (2, 3) and (abs(matrix) < 1e9).all()
        if not plain or not abs(np.linalg.det(matrix[:, :2])) > 1e-12:
            raise RoiganError("the matrix of a frame is (2, 3) finite numbers: take face_frame's.")
        object.__setattr__(self, "matrix", matrix)

    def at(self, x, y):
        """(x, y) in the model's pixels of places in the photograph."""
        return [a * x + b * y + c for a, b, c in self.matrix]

    def inverse(self):
        """(2, 3): from pixels of the model to the photograph."""
        return cv2.invertAffineTransform(self.matrix)

    def step(self):
        """Pixels of the photograph to one of the model, along the longer of its sides."""
        return float(np.linalg.norm(self.inverse()[:, :2], axis=0).max())


def face_frame(eyes, size=64, crop="thesis") -> Frame:
    """The frame that puts two eyes, ((x, y), (x, y)), where CelebA's aligned faces have them.

    crop: "thesis", the centred 128 of CelebA's 178x218, or "full", all of it, squashed to a square.
    The frame may reach beyond the photograph. RoiganError: eyes that are no two points or less than
    4 pixels apart.
    """
    check_name("crop", crop, CROPS)
    try:
        points = np.asarray(eyes, float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.shape != (2, 2) or not np.isfinite(points).all():
        raise RoiganError(f"eyes={shown(eyes)} are not two points: {BY_HAND}.")
    here, there = ([complex(*p) for p in sorted(map(tuple, eyes))] for eyes in (points, EYES))
    apart = abs(here[1] - here[0])
    if apart < 4:
        raise RoiganError(f"the eyes are {apart:.1f} pixels apart: 4 are the least; {BY_HAND}.")
    if not np.abs(points).max() < 1e6:
        raise RoiganError(f"eyes={shown(eyes)} lie outside of any photograph: {BY_HAND}.")
    turn = (there[1] - there[0]) / (here[1] - here[0])
    shift = there[0] - turn * here[0]
    aligned = [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0, 0, 1]]
    return Frame(_to_square(*CROPS[crop], size) @ np.array(aligned), size)


def crop_frame(width, height, size, crop="square") -> Frame:
    """The frame of a crop of a photograph of width x height pixels.

    crop: as in `data.decode`, "square", "thesis", "full" or a number of pixels, or a box (left,
    top, right, bottom) in pixels.
    """
    width, height = pixel_size(width, height)
    box = crop if isinstance(crop, tuple) else crop_box(width, height, check_crop(crop))
    try:
        left, top, right, bottom = map(float, box)
    except (TypeError, ValueError):
        left = right = 0
    if not (left < right and top < bottom):
        raise RoiganError(f"crop={shown(crop)} is no box (left, top, right, bottom) in pixels.")
    return Frame(_to_square(left, top, right - left, bottom - top, size), size)


def _to_square(left, top, width, height, size):
    """The matrix (2, 3) that takes a box to the whole of (size, size): edges to edges."""
    size = check_whole("size", size, 8, 4096)
    kx, ky = size / width, size / height  # and centres of pixels lie half a pixel inside
    return np.array([[kx, 0, (0.5 - left) * kx - 0.5], [0, ky, (0.5 - top) * ky - 0.5]])


# ---- from the photograph to the model and back


def to_model(photo, frame) -> torch.Tensor:
    """What the model sees of a photograph: float32 (1, 3, S, S) in [-1, 1], borders repeated."""
    frame = _check_frame(frame)
    pixels = _average(open_photo(photo).astype(np.float32), frame)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None].contiguous().clamp_(-1, 1)


def _check_frame(frame):
    if not isinstance(frame, Frame):
        raise RoiganError(f"the frame is {shown(frame)}; make one by face_frame or crop_frame.")
    return frame


def _average(pixels, frame):
    """Means of float32 (H, W[, 3]) over the pixels of the frame, (S, S[, 3]).

    They are exact where the frame is upright and the coarser of the two, else of k x k bilinear
    samples. The weights do not depend on the values, so that a mask's mean is 0 just where no
    masked pixel has entered.
    """
    (across, skew, left), (turn, down, top) = frame.matrix
    if skew == turn == 0 < min(across, down) <= max(across, down) <= 1:
        rows = _shares(down, top, pixels.shape[0], frame.size)
        columns = _shares(across, left, pixels.shape[1], frame.size)
        strips = (rows @ pixels.reshape(len(pixels), -1)).reshape(frame.size, *pixels.shape[1:])
        return np.moveaxis(np.tensordot(columns, strips, (1, 1)), 0, 1)
    size, inverse = frame.size, np.vstack([frame.inverse(), [0, 0, 1]])
    k = max(1, min(math.ceil(frame.step() - 1e-9), LONGEST // size))
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    rows = []
    for row in range(size):
        fine = inverse @ [[1 / k, 0, 0.5 / k - 0.5], [0, 1 / k, row + 0.5 / k - 0.5], [0, 0, 1]]
        strip = cv2.warpAffine(pixels, fine[:2], (k * size, k), **how)
        rows.append(cv2.resize(strip, (size, 1), interpolation=cv2.INTER_AREA))
    return np.concatenate(rows)


def _shares(scale, shift, have, size):
    """The share of each of `size` pixels that each of `have` takes, (size, have)."""
    edges = ((np.arange(size + 1) - 0.5 - shift) / scale + 0.5)[:, None]
    bounds = np.array([-np.inf, *range(1, have), np.inf])
    shared = np.minimum(edges[1:], bounds[1:]) - np.maximum(edges[:-1], bounds[:-1])
    return (np.where(shared > SLIVER, shared, 0) * scale).astype(np.float32)


def mask_to_model(mask, frame) -> torch.Tensor:
    """The region in the model's pixels, float32 (1, 1, S, S): each that the region had a part in.

    These are the pixels of `place_mask`, and those whose value in `to_model` depends on the
    region. mask: (H, W) of bool, 0 and 1, or 0 to 255, in the photograph's size. Warns where some
    of the region lies outside the frame. RoiganError: another shape, an empty mask, a region
    outside the frame, or one over 90 % of it.
    """
    mask = _check_mask(mask)
    left_out = 1 - _within(mask, frame).sum() / mask.sum()
    if left_out == 1:
        raise RoiganError(OUTSIDE)
    touched = place_mask(mask, frame.matrix, frame.size, frame.size)
    entered = _average(mask.astype(np.float32), frame) > 0
    small = torch.from_numpy(touched | entered)[None, None].float()
    if small.mean() > 0.9:
        raise RoiganError(
            f"the region covers {small.mean():.0%} of what the model sees: leave it more to go by, "
            "or swap black and white if the mask is inverted."
        )
    if left_out:
        warnings.warn(
            f"{100 * left_out:.2g} % of the region lie outside the frame that the model sees, and "
            "stay as they are.",
            stacklevel=2,
        )
    return small


def mask_to_photo(mask, frame, width, height) -> np.ndarray:
    """A region of the model's, (1, 1, S, S) or (S, S), in the photograph: bool (height, width).

    A pixel of the photograph belongs to it when its centre lies in the region. A pixel of the
    region that holds no such centre, where the photograph is the coarser of the two, takes the one
    that its own centre lies in. RoiganError: another shape, an empty region.
    """
    width, height = pixel_size(width, height)
    small, large = _model_mask(mask, _check_frame(frame)), np.zeros((height, width), bool)
    y, x = np.indices(large.shape).reshape(2, -1)
    column, row = (np.rint(at).astype(int) for at in frame.at(x, y))
    inside = _inside(column, row, small)
    inside[inside] = small[row[inside], column[inside]]
    large[y[inside], x[inside]] = True
    small[row[inside], column[inside]] = False
    row, column = np.nonzero(small)
    x, y = np.rint(frame.inverse() @ [column, row, np.ones(len(row))]).astype(int)
    inside = _inside(x, y, large)
    large[y[inside], x[inside]] = True
    return large


def _inside(x, y, picture):
    return (x >= 0) & (x < picture.shape[1]) & (y >= 0) & (y < picture.shape[0])


def _model_mask(mask, frame):
    mask = np.asarray(numbers("masks", mask))
    if mask.shape[-2:] != (frame.size, frame.size) or mask.size != frame.size**2:
        raise RoiganError(
            f"the region has the shape {mask.shape} but the frame has {frame.size}x{frame.size} "
            "pixels: give one of that size."
        )
    return _check_mask(mask.reshape(frame.size, frame.size))  # a copy


def _check_mask(mask):
    mask = np.asarray(numbers("masks", mask))
    if mask.ndim != 2:
        raise RoiganError(
            f"the mask is an array {mask.shape} of {mask.dtype} but must be (H, W) of numbers."
        )
    mask = mask > (127 if mask.dtype != bool and mask.max(initial=0) > 1 else 0.5)
    if not mask.any():
        raise RoiganError("the mask is empty: mark the region to redraw with 1.")
    return mask


def _within(mask, frame):
    """The part of the mask whose pixels have their centres inside the frame."""
    y, x = np.nonzero(mask)
    inside = np.all([(at > -0.5) & (at < frame.size - 0.5) for at in frame.at(x, y)], 0)
    within = np.zeros_like(mask)
    within[y[inside], x[inside]] = True
    return within


# ---- the region redrawn


def inpaint_photo(gan, photo, mask, frame, codes=None, seed=0) -> np.ndarray:
    """The photograph with its region redrawn, uint8 (H, W, 3), every other pixel bit-equal.

    gan: anything with `inpaint(images, masks, codes, seed)` and `size`. photo and frame as above;
    codes and seed as in `RoIGAN.inpaint`. mask: a region in the photograph's pixels, (H, W), which
    reaches the model by `mask_to_model`, or in the model's, (1, 1, S, S), which it gets as it is.
    RoiganError and the warning as in `mask_to_model`; also a mask or a frame of another size.
    """
    photo = open_photo(photo)
    check_model(gan, "inpaint", "size")
    if _check_frame(frame).size != gan.size:
        raise RoiganError(
            f"the frame has size={frame.size} but this model works at {gan.size}: make it with "
            "that size."
        )
    hole = _hole(mask, frame, photo)
    if np.ndim(mask) > 2:
        small = torch.from_numpy(_model_mask(mask, frame))[None, None].float()
    else:
        small = mask_to_model(mask, frame)
    drawn = gan.inpaint(to_model(photo, frame), small, codes=codes, seed=seed)
    return _paste(photo, drawn, hole, frame)


def paste(photo, drawn, mask, frame) -> np.ndarray:
    """The photograph with a region of what a model drew, uint8 (H, W, 3), all else bit-equal.

    drawn: the completed image, (1, 3, S, S) in [-1, 1], of the frame. mask: as in `inpaint_photo`.
    The drawing is enlarged, its mismatch with the photograph along the region's border is taken
    off, spread smoothly over the region, and it gets grain like that of the surroundings.
    RoiganError: a drawing, mask or frame of another size, an empty region, one outside the frame.
    """
    photo, drawn = open_photo(photo), numbers("drawn, the drawing,", drawn)
    size = _check_frame(frame).size
    fits = tuple(drawn.shape) == (1, 3, size, size) and drawn.is_floating_point()
    if not fits or not (drawn.abs() <= 1.5).all():
        raise RoiganError(
            f"the drawing has the shape {tuple(drawn.shape)} but must be one image of the frame, "
            f"(1, 3, {size}, {size}) of floats in [-1, 1]."
        )
    return _paste(photo, drawn, _hole(mask, frame, photo), frame)


def _hole(mask, frame, photo):
    """The pixels of the photograph that are drawn anew, bool (H, W)."""
    height, width = photo.shape[:2]
    if np.ndim(mask) > 2:
        hole = mask_to_photo(mask, frame, width, height)
    else:
        mask = _check_mask(mask)
        if mask.shape != (height, width):
            raise RoiganError(
                f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels but the photograph "
                f"{width}x{height}: open it with open_mask, which resizes it."
            )
        hole = _within(mask, frame)
    if not hole.any():
        raise RoiganError(OUTSIDE)
    return hole


def _paste(photo, drawn, hole, frame):
    spans = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    rim = math.ceil(frame.step()) + 3
    window = tuple(
        slice(max(0, at[0] - rim), min(n, at[-1] + rim + 1)) for at, n in zip(spans, hole.shape)
    )
    result, hole = photo.copy(), hole[window]
    content, seen = _enlarge(drawn, frame, *window), photo[window]
    grainy = frame.step() > 1  # else the drawing is the finer of the two
    smooth = _outside(seen, hole) if grainy else seen
    content += _mismatch(smooth - content, hole, BLEND * max(1.0, frame.step()))
    if grainy:
        content += _grain(seen - smooth, hole, rim, window)
    result[window][hole] = content[hole].round().clip(0, 255).astype(np.uint8)
    return result


def _outside(picture, hole):
    """Means of the pixels outside the hole around each pixel, weighed by a 5 x 5 binomial."""
    known = (~hole[..., None]).astype(np.float32)
    how = {"ddepth": -1, "kernel": np.outer(BINOMIAL, BINOMIAL), "borderType": cv2.BORDER_CONSTANT}
    weight = cv2.filter2D(known, **how)[..., None]
    return cv2.filter2D(picture * known, **how) / np.maximum(weight, 1e-6)


def _grain(rough, hole, rim, window):
    """Noise (h, w, 3) like that of the photograph around the hole: its colours, and its fineness.

    rough: the photograph less `_outside`; the quieter half of it, since hair and edges are none.
    """
    near = cv2.dilate(hole.astype(np.uint8), np.ones((2 * rim - 1, 2 * rim - 1), np.uint8)) > 0
    near &= cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    if not near.any():
        return 0
    power = [(rough**2).sum(-1) * near, near.astype(np.float32)]
    how = {"ddepth": -1, "ksize": (7, 7), "normalize": False, "borderType": cv2.BORDER_CONSTANT}
    total, count = (cv2.boxFilter(part.astype(np.float32), **how) for part in power)
    loud = total / np.maximum(count, 1)
    near &= loud <= np.sort(loud[near])[(near.sum() - 1) // 2]
    found = rough[near].astype(np.float64)  # few pixels leave float32 no positive matrix
    colours = found.T @ found / (max(1, near.sum()) * LEFT)
    pairs = near[:, 1:] & near[:, :-1]
    along = (rough[:, 1:] * rough[:, :-1])[pairs].sum() / ((rough[:, 1:] ** 2)[pairs].sum() + 1e-9)
    along = min(0.6, max(0.0, along + LOST))  # the correlation of neighbours
    a = (1 - math.sqrt(1 - 2 * along**2)) / (2 * along) if along > 1e-3 else 0.0
    rows, columns = (np.arange(at.start - 1, at.stop + 1).astype(np.uint32) for at in window)
    noise = _normal(rows[:, None, None], columns[:, None], np.arange(3, dtype=np.uint32))
    for _ in range(2):  # [a, 1, a] along either side
        noise = (noise[1:-1] + a * (noise[2:] + noise[:-2])) / math.sqrt(1 + 2 * a * a)
        noise = noise.swapaxes(0, 1)
    return noise @ np.linalg.cholesky(colours + 1e-6 * np.eye(3)).T.astype(np.float32)


def _normal(y, x, c):
    """Numbers that look drawn from N(0, 1), the same ones for a place each time: four hashes' sum.

    The hash is C. Wellons' lowbias32; photo.js has the same.
    """
    total = 0.0
    for k in range(4):
        n = ((y * np.uint32(65536) + x) * np.uint32(3) + c) * np.uint32(4) + np.uint32(k)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
            n = (n ^ (n >> np.uint32(shift))) * np.uint32(factor)
        total = total + n.astype(np.float32) / np.float32(2**32)
    return (total - 2) * np.float32(math.sqrt(3))


def _enlarge(drawn, frame, rows, columns):
    """The drawing (1, 3, S, S) in a window of the photograph, bicubic: (h, w, 3) of 0 to 255."""
    k = math.ceil(1 / frame.step() - 1e-9)  # samples a side, where the photograph is the coarser
    fine = (torch.arange(s.start * k, s.stop * k, dtype=torch.float64) for s in (rows, columns))
    y, x = (at.add_(0.5).div_(k).sub_(0.5) for at in fine)
    grid = torch.stack([(2 * at + 1) / frame.size - 1 for at in frame.at(x, y[:, None])], -1)
    drawn, how = drawn.detach().float().cpu(), {"mode": "bicubic", "padding_mode": "border"}
    large = F.grid_sample(drawn, grid.float()[None], align_corners=False, **how)
    return (F.avg_pool2d(large, k)[0].permute(1, 2, 0).numpy() + 1) * 127.5


def _mismatch(difference, hole, blend):
    """The differences (h, w, 3) of the pixels next to the hole, spread smoothly over all.

    From the border inwards each pixel first takes the nearest one's, so that an edge that runs into
    the hole does not end at the border, and over `blend` pixels goes to a smooth filling.
    """
    rim = (cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~hole
    height, width = hole.shape
    side = 1 << (max(height, width) - 1).bit_length()
    values, unknown = torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side)
    values[0, :, :height, :width] = torch.from_numpy(difference).permute(2, 0, 1)
    unknown[0, 0, :height, :width] = torch.from_numpy(~rim)
    filled = pyramid_fill(values, unknown)[0, :, :height, :width].permute(1, 2, 0).numpy()
    inside, kind = hole.astype(np.uint8), cv2.DIST_LABEL_PIXEL
    far, label = cv2.distanceTransformWithLabels(inside, cv2.DIST_L2, 5, labelType=kind)
    place = np.zeros(label.max() + 1, int)
    place[label[~hole]] = np.flatnonzero(~hole)
    near, share = difference.reshape(-1, 3)[place[label]], np.minimum(far / blend, 1)[..., None]
    return share * filled + (1 - share) * near


# ---- a portrait, and the eyes in a photograph


def astronaut() -> np.ndarray:
    """Eileen Collins, uint8 (512, 512, 3): by NASA, in the public domain, from scikit-image."""
    return open_photo(np.array(_skimage().data.astronaut()))


def _skimage():
    try:
        import skimage.data
        import skimage.feature
    except ModuleNotFoundError as error:
        raise RoiganError(missing_package(error)) from None
    return skimage


def find_eyes(photo):
    """The two eyes of the largest face, ((x, y), (x, y)) in pixels, the left in the picture first.

    The face by scikit-image's cascade of local binary patterns (OpenCV 5 has no cascades any more),
    the eyes from their usual places in it, moved to the nearest round dark spot. A guess to look at
    before use. RoiganError: no face found.
    """
    photo = open_photo(photo)
    skimage = _skimage()
    cascade = skimage.feature.Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    search = {"scale_factor": 1.1, "step_ratio": 1, "min_size": (28, 28), "min_neighbor_number": 6}
    for longest in (112, 160, 240, 320):  # coarse first: on large pictures it fires at odd sizes
        shrink = max(photo.shape) / longest
        shape = tuple(max(1, round(n / shrink)) for n in photo.shape[1::-1])
        how = cv2.INTER_AREA if shrink > 1 else cv2.INTER_LINEAR
        small = cv2.resize(photo, shape, interpolation=how)
        faces = cascade.detect_multi_scale(img=small, max_size=(longest, longest), **search)
        if faces:
            face = max(faces, key=lambda f: f["width"])
            left, top, side = (face[key] * shrink for key in ("c", "r", "width"))
            places = ((left + at * side, top + 0.375 * side) for at in (0.31, 0.67))
            return tuple(_dark_spot(photo, x, y, 0.32 * side) for x, y in places)
    raise RoiganError(f"no face was found in the photograph: {BY_HAND}.")


def _dark_spot(photo, x, y, side, n=24):
    """The round dark spot nearest to the centre of a square around (x, y).

    Timm and Barth, "Accurate eye centre localisation by means of gradients", VISAPP 2011.
    """
    patch = Frame(_to_square(x - side / 2 + 0.5, y - side / 2 + 0.5, side, side, n), n)
    grey = cv2.GaussianBlur(to_model(photo, patch)[0].mean(0).numpy(), (0, 0), 1)
    slope = np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)], -1)
    steep = np.linalg.norm(slope, axis=-1)
    at = steep > np.quantile(steep, 0.7)
    if not at.any():
        return float(x), float(y)
    centres = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1)  # (n, n, 2) of (x, y)
    away = np.argwhere(at)[:, ::-1] - centres[:, :, None]  # (n, n, p, 2)
    along = (away * slope[at] / steep[at][:, None]).sum(-1)
    along = along / np.linalg.norm(away, axis=-1).clip(1e-6)
    near = np.exp(-((centres - (n - 1) / 2) ** 2).sum(-1) / (2 * (0.18 * n) ** 2))
    score = (along.clip(0) ** 2).mean(-1) * (grey.max() - grey) * near
    row, column = np.unravel_index(score.argmax(), (n, n))
    column, row = ((i + 0.5) / n * side - side / 2 for i in (column, row))
    return float(x + column), float(y + row)
