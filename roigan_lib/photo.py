"""Your own photograph: its face placed as the model's training pictures were, redrawn there, pasted back at full size.

    photo = open_photo("me.jpg")
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
import io
import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError

from .checks import check_output, height_width
from .data.folder import _to_rgb, crop_box, resize
from .errors import RoiganError
from .files import write_atomically
from .models import pyramid_fill

EYES = ((69.4, 111.3), (107.9, 111.2))  # CelebA's mean landmarks in its 178x218 frame
CROPS = {
    "thesis": (25, 45, 128, 128),
    "full": (0, 0, 178, 218),
}  # left, top, width, height within that frame
LONGEST = 32_000  # OpenCV's warp counts pixels in 16 bits
JPEG = "JPEG", {"quality": 98, "subsampling": 0}  # 0: every pixel keeps a colour of its own
WEBP = "WEBP", {"lossless": True, "exact": True}  # exact: colours where transparent, too
WRITERS = {
    ".png": ("PNG", {}),
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": WEBP,
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".bmp": ("BMP", {}),
}
BY_HAND = "give the two eyes by hand, as ((x, y), (x, y)) in pixels"
SLIVER = 1e-6  # pixels that meet by less than this share of a side only touch


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
        if source.dtype != np.uint8 or not (
            source.ndim == 2 or source.ndim == 3 and source.shape[2] in (3, 4)
        ):
            raise RoiganError(
                f"the photograph is an array {source.shape} of {source.dtype} but must be (H, W), "
                "(H, W, 3) or (H, W, 4) of uint8."
            )
        _check_sides(source.shape[1], source.shape[0])
        return source if source.shape[2:] == (3,) else np.array(_to_rgb(Image.fromarray(source)))
    image, _ = _upright(source)
    _check_sides(*image.size)
    return np.array(_named(source, _to_rgb, image))


def _upright(source):
    """A photograph as a PIL image, turned by its EXIF note, and the notes (None: damaged)."""
    if not isinstance(source, (str, Path, bytes, Image.Image)):
        raise RoiganError(
            "a photograph is a path, the bytes of a file, a PIL image or a uint8 array, not "
            f"{type(source).__name__}."
        )

    def read(source):
        if isinstance(source, Image.Image):
            return ImageOps.exif_transpose(source), _notes(source)
        file = _Upload(source) if isinstance(source, bytes) else Path(source).expanduser()
        with Image.open(file) as opened:
            return ImageOps.exif_transpose(opened), _notes(opened)

    return _named(source, read, source)


def _named(source, work, image):
    """work(image), whose errors name the photograph."""
    named = "the picture" if isinstance(source, (bytes, Image.Image)) else source
    try:
        return work(image)
    except FileNotFoundError:
        raise RoiganError(f"there is no photograph {named}: check the path.") from None
    except IsADirectoryError:
        raise RoiganError(f"{named} is a folder: give one picture in it.") from None
    except Exception as error:  # decoders raise many types on damaged files
        why = (
            "no known format"
            if isinstance(error, UnidentifiedImageError)
            else str(error).split("\n")[0][:80]
        )
        raise RoiganError(
            f"{named} cannot be read as a photograph ({why}): save it as JPEG or PNG."
        ) from None


def _check_sides(width, height):
    if min(width, height) < 16 or max(width, height) > LONGEST:
        raise RoiganError(
            f"the photograph has {width}x{height} pixels: take one of 16 to {LONGEST:,} a side."
        )


def open_mask(source, width, height, size=None):
    """The region to redraw: a mask picture (path, bytes) of a photograph of width x height pixels.

    White is the region, upright, as in `load_mask`. A mask in the photograph's proportions is
    brought to its size by `place_mask`: bool (height, width). One of size x size pixels, for
    a photograph of other proportions, is a region in the model's own pixels: float32 (1, 1, size,
    size). RoiganError: those of `load_mask`, and other proportions, which would put the region
    elsewhere.
    """
    mask = load_mask(_Upload(source) if isinstance(source, bytes) else source)
    have = tuple(mask.shape[2:])
    if same_proportions(have, (height, width)):
        return place_mask(mask[0, 0].numpy() > 0, scaling(have, (height, width)), height, width)
    if have == (size, size):
        return mask
    model = f", or the model's {size}x{size} pixels" if size else ""
    raise RoiganError(
        f"the mask has {have[1]}x{have[0]} pixels and the photograph, upright, "
        f"{width}x{height}: give a mask in the photograph's proportions{model}."
    )


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
        raise RoiganError(
            f"the eyes are {abs(here[1] - here[0]):.1f} pixels apart: 4 are the least; {BY_HAND}."
        )
    there = [complex(*p) for p in EYES]
    turn = (there[1] - there[0]) / (here[1] - here[0])
    shift = there[0] - turn * here[0]
    aligned = np.array(
        [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0, 0, 1]]
    )
    return Frame(_to_square(*CROPS[crop], size) @ aligned, size)


def square_frame(width, height, size, box=None):
    """The frame of a square box (left, top, side) in a photograph of width x height pixels, by default the largest
    centred one. RoiganError: a box that is not inside the photograph or has a side below 4 pixels.
    """
    side = min(width, height)
    try:
        left, top, side = map(
            float, ((width - side) / 2, (height - side) / 2, side) if box is None else box
        )
    except (TypeError, ValueError):
        raise RoiganError(
            f"box={box!r} is no (left, top, side): give three numbers of pixels."
        ) from None
    if not (side >= 4 and 0 <= left <= width - side and 0 <= top <= height - side):
        raise RoiganError(
            f"box={box!r} does not lie in the photograph of {width}x{height} pixels: give (left, top, "
            "side) with a side of at least 4."
        )
    return Frame(_to_square(left, top, side, side, size), size)


def crop_frame(width, height, size, crop="square"):
    """The frame of a crop of `data.folder`: "square", "thesis", "full" or a number of pixels."""
    left, top, right, bottom = crop_box(width, height, crop)
    return Frame(_to_square(left, top, right - left, bottom - top, size), size)


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

    These are the pixels of `place_mask`, and those whose value in `to_model` depends on the
    region. mask: (H, W) of bool, 0 and 1, or 0 to 255, in the photograph's size. Warns where some
    of the region lies outside the frame. RoiganError: another shape, an empty mask, a region
    outside the frame, or one over 90 % of it.
    """
    mask = _check_mask(mask)
    left_out = 1 - _within(mask, frame).sum() / mask.sum()
    if left_out == 1:
        raise RoiganError(
            "the region lies outside the frame that the model sees: paint it on the face, or give "
            "other eyes or another box."
        )
    touched = place_mask(mask, frame.matrix, frame.size, frame.size)
    entered = _average(mask.astype(np.float32), frame) > 0
    small = torch.from_numpy(touched | entered)[None, None].float()
    if small.mean() > 0.9:
        raise RoiganError(
            f"the region covers {small.mean():.0%} of what the model sees: leave it "
            "more to go by, or swap black and white if the mask is inverted."
        )
    if left_out:
        warnings.warn(
            f"{100 * left_out:.2g} % of the region lie outside the frame that the model sees, and stay as "
            "they are.",
            stacklevel=2,
        )
    return small


def mask_to_photo(mask, frame, width, height):
    """A region of the model's, (1, 1, S, S) or (S, S), in the photograph: bool (height, width).

    A pixel of the photograph belongs to it when its centre lies in the region. A pixel of the
    region that holds no such centre, where the photograph is the coarser of the two, takes the one
    that its own centre lies in. RoiganError: another shape, an empty region.
    """
    small = _model_mask(mask, frame)
    y, x = np.mgrid[:height, :width]
    column, row = (np.rint(a * x + b * y + c).astype(int) for a, b, c in frame.matrix)
    inside = (column >= 0) & (column < frame.size) & (row >= 0) & (row < frame.size)
    large = inside & small[row.clip(0, frame.size - 1), column.clip(0, frame.size - 1)]
    small[row[large], column[large]] = False
    row, column = np.nonzero(small)
    x, y = np.rint(frame.inverse() @ [column, row, np.ones(len(row))]).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    large[y[inside], x[inside]] = True
    return large


def _model_mask(mask, frame):
    mask = np.asarray(mask)
    if mask.shape[-2:] != (frame.size, frame.size) or mask.size != frame.size**2:
        raise RoiganError(
            f"the region has the shape {mask.shape} but the frame has "
            f"{frame.size}x{frame.size} pixels: give one of that size."
        )
    return _check_mask(mask.reshape(frame.size, frame.size))  # a copy


def _check_mask(mask):
    mask = np.asarray(mask)
    if mask.ndim != 2 or not (mask.dtype == bool or np.issubdtype(mask.dtype, np.number)):
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
    inside = np.ones(len(x), bool)
    for a, b, c in frame.matrix:
        at = a * x + b * y + c
        inside &= (at > -0.5) & (at < frame.size - 0.5)
    within = np.zeros_like(mask)
    within[y[inside], x[inside]] = True
    return within


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
    k = min(math.ceil(frame.step() - 1e-9), LONGEST // size)
    rows = []
    for row in range(size):
        fine = inverse @ [[1 / k, 0, 0.5 / k - 0.5], [0, 1 / k, row + 0.5 / k - 0.5], [0, 0, 1]]
        strip = cv2.warpAffine(
            pixels,
            fine[:2],
            (k * size, k),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        rows.append(cv2.resize(strip, (size, 1), interpolation=cv2.INTER_AREA))
    return np.concatenate(rows)


def _shares(scale, shift, have, size):
    """The share of each of `size` pixels that each of `have` takes, (size, have)."""
    edges = ((np.arange(size + 1) - 0.5 - shift) / scale + 0.5)[:, None]
    bounds = np.array([-np.inf, *range(1, have), np.inf])
    shared = np.minimum(edges[1:], bounds[1:]) - np.maximum(edges[:-1], bounds[:-1])
    return (np.where(shared > SLIVER, shared, 0) * scale).astype(np.float32)


def inpaint_photo(gan, photo, mask, frame, codes=None, seed=0):
    """The photograph with its masked region redrawn, uint8 (H, W, 3), every pixel outside the region bit-equal.

    gan: anything with `inpaint(images, masks, codes, seed)` and `size`. photo and frame as above;
    codes and seed as in `RoIGAN.inpaint`. mask: a region in the photograph's pixels, (H, W), which
    reaches the model by `mask_to_model`, or in the model's, (1, 1, S, S), which it gets as it is.
    RoiganError and the warning as in `mask_to_model`; also a mask or a frame of another size.
    """
    photo = open_photo(photo)
    if frame.size != gan.size:
        raise RoiganError(
            f"the frame has size={frame.size} but this model works at {gan.size}: make it with that "
            "size."
        )
    hole = _hole(mask, frame, photo)
    if np.ndim(mask) > 2:
        small = torch.from_numpy(_model_mask(mask, frame))[None, None].float()
    else:
        small = mask_to_model(mask, frame)
    drawn = gan.inpaint(to_model(photo, frame), small, codes=codes, seed=seed)
    return _paste(photo, drawn, hole, frame)


def paste(photo, drawn, mask, frame):
    """The photograph with a region of what a model drew, uint8 (H, W, 3), all else bit-equal.

    drawn: the completed image, (1, 3, S, S) in [-1, 1], of the frame. mask: as in `inpaint_photo`.
    The drawing is enlarged, and its mismatch with the photograph along the region's border is taken
    off, spread smoothly over the region. RoiganError: a drawing, mask or frame of another size, an
    empty region, one outside the frame.
    """
    photo, drawn = open_photo(photo), torch.as_tensor(drawn)
    if tuple(drawn.shape) != (1, 3, frame.size, frame.size):
        raise RoiganError(
            f"the drawing has the shape {tuple(drawn.shape)} but must be one image "
            f"of the frame, (1, 3, {frame.size}, {frame.size})."
        )
    return _paste(photo, drawn, _hole(mask, frame, photo), frame)


def _hole(mask, frame, photo):
    """The pixels of the photograph that are drawn anew, bool (H, W)."""
    height, width = photo.shape[:2]
    if np.ndim(mask) > 2:
        hole = mask_to_photo(mask, frame, width, height)
    else:
        mask = _check_mask(mask)
        if mask.shape != photo.shape[:2]:
            raise RoiganError(
                f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels but the "
                f"photograph {width}x{height}: open it with open_mask, which resizes "
                "it."
            )
        hole = _within(mask, frame)
    if not hole.any():
        raise RoiganError(
            "the region lies outside the frame that the model sees, or outside the "
            "photograph: paint it on the face, or give other eyes or another box."
        )
    return hole


def _paste(photo, drawn, hole, frame):
    spans = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    window = tuple(slice(max(0, at[0] - 1), min(n, at[-1] + 2)) for at, n in zip(spans, hole.shape))
    result, hole = photo.copy(), hole[window]
    content = _enlarge(drawn, frame, *window)
    content += _mismatch(photo[window] - content, hole)
    result[window][hole] = content[hole].round().clip(0, 255).astype(np.uint8)
    return result


def _enlarge(drawn, frame, rows, columns):
    """The model's picture (1, 3, S, S) in a window of the photograph, bicubic: float32 (h, w, 3) of 0 to 255."""
    k = math.ceil(
        1 / frame.step() - 1e-9
    )  # samples a side of a pixel, where the photograph is the coarser one
    y, x = (
        torch.arange(s.start * k, s.stop * k, dtype=torch.float64).add_(0.5).div_(k).sub_(0.5)
        for s in (rows, columns)
    )
    grid = torch.stack(
        [(2 * (a * x + b * y[:, None] + c) + 1) / frame.size - 1 for a, b, c in frame.matrix], -1
    )
    large = F.grid_sample(
        drawn.detach().float().cpu(), grid.float()[None], "bicubic", "border", align_corners=False
    )
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


def save_photo(path, picture, source=None, crop=None):
    """Write a picture made of a photograph, uint8 (H, W, 3); returns sentences to tell of it.

    source: the photograph, as for `open_photo`. Its colour profile, EXIF notes (less the turn,
    which is done) and transparency are kept, and pixels that have not changed keep their colour
    under the transparency. crop: the crop of `data.folder` that the picture shows of it. JPEG is
    written at quality 98 with all of its colours (4:4:4), WebP without loss, as PNG, TIFF and BMP
    are. The sentences name what the format could not hold, and how far the pixels of a JPEG are
    from the picture. RoiganError: a path that cannot be written, an unreadable photograph.
    """
    path = check_output(path, WRITERS)
    form, options = WRITERS[path.suffix.lower()]
    image, keep, alpha, lost = Image.fromarray(picture), {}, None, []
    if source is not None:
        array = isinstance(source, np.ndarray)
        original, exif = (Image.fromarray(source), {}) if array else _upright(source)
        profile = original.info.get("icc_profile")
        if profile and profile[16:20] == b"RGB ":
            keep["icc_profile"] = profile
        elif profile:
            space = profile[16:20].decode("latin1").strip()
            lost.append(f"the {space} colour profile, as the result is RGB")
        if original.mode.startswith("I"):
            lost.append("the finer half of its 16 bits a pixel")
        if exif:
            _say_size(exif, *image.size)
            keep["exif"] = exif.tobytes()
        elif exif is None:
            lost.append("EXIF notes, which are damaged")
        if "A" in original.mode or "transparency" in original.info:
            image, alpha = _transparent(picture, original, crop)
    if form in ("JPEG", "BMP"):  # without transparency: the picture on white
        image = Image.fromarray(picture)
    try:
        data = _encoded(image, form, options, keep)
    except Exception as error:  # encoders raise many types, such as on too many pixels
        raise RoiganError(
            f"{path} could not be written ({error}): give a path such as done.png."
        ) from None
    with Image.open(io.BytesIO(data)) as back:
        there = {
            "the colour profile": back.info.get("icc_profile") == keep.get("icc_profile"),
            "EXIF notes": "exif" not in keep or set(exif) <= set(back.getexif()),
            "the transparency": alpha is None
            or np.array_equal(back.convert("RGBA").getchannel("A"), alpha),
        }
        error = np.abs(np.asarray(back.convert(image.mode)).astype(int) - np.asarray(image))
    missing = " and ".join(name for name, kept in there.items() if not kept)
    lost += [f"{missing}, which {form} did not take"] * bool(missing)
    write_atomically(path, data)
    told = [f"dropped: {'; '.join(lost)}."] * bool(lost)
    if error.any():
        told.append(
            f"{form} is lossy, outside the region too: {(error > 0).any(-1).mean():.0%} of "
            f"the pixels differ from the picture, by {error.mean():.2g} of 255 levels on "
            f"average and {error.max()} at most."
        )
    return told


def _notes(image):
    """The EXIF notes of a file, less its turn and what describes the layout of a TIFF."""
    exif = Image.Exif()
    try:
        exif.load(image.getexif().tobytes())
    except Exception:  # notes of any age and make
        return None
    for tag in (
        *range(254, 267),
        *range(273, 282),
        284,
        317,
        320,
        *range(322, 326),
        330,
        338,
        339,
        347,
        700,
        33723,
        34675,
    ):
        if tag in exif:
            del exif[tag]
    return exif


def _say_size(exif, width, height):
    details = exif.get_ifd(34665)
    details.update({tag: n for tag, n in ((40962, width), (40963, height)) if tag in details})


def _transparent(picture, original, crop):
    """The RGBA image that looks on white as `picture` does, and its opacity, the photograph's."""
    layers = original.convert("RGBA")
    before = np.asarray(_to_rgb(original))
    if crop is not None:
        layers = resize(layers.crop(crop_box(*layers.size, crop)), len(picture))
    colours, alpha = np.asarray(layers)[..., :3], np.asarray(layers)[..., 3]
    white = 255 - (255.0 - picture) * 255 / np.maximum(alpha, 1)[..., None]
    same = (picture == before).all(-1, keepdims=True) if picture.shape == before.shape else False
    result = np.where(same, colours, white.round().clip(0, 255).astype(np.uint8))
    return Image.fromarray(np.dstack([result, alpha])), alpha


def _encoded(image, form, options, keep):
    """The bytes of a file, without the EXIF notes where they are damaged or too long for it."""
    out = io.BytesIO()
    try:
        image.save(out, form, **options, **keep)
    except Exception:
        if "exif" not in keep:
            raise
        return _encoded(image, form, options, {k: v for k, v in keep.items() if k != "exif"})
    return out.getvalue()


def find_eyes(photo):
    """The two eyes of the largest face, ((x, y), (x, y)) in pixels, the left one in the picture first.

    The face by scikit-image's cascade of local binary patterns (OpenCV 5 has no cascades any more), the eyes from their
    usual places in it, moved to the nearest round dark spot. A guess to look at before use. RoiganError: no face found.
    """
    photo = open_photo(photo)
    skimage = _skimage("finding the eyes")
    cascade = skimage.feature.Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    for longest in (
        112,
        160,
        240,
        320,
    ):  # coarse first: on a large picture of a face it also fires at odd sizes
        shrink = max(photo.shape) / longest
        width, height = (max(1, round(n / shrink)) for n in (photo.shape[1], photo.shape[0]))
        small = cv2.resize(
            photo, (width, height), interpolation=cv2.INTER_AREA if shrink > 1 else cv2.INTER_LINEAR
        )
        faces = cascade.detect_multi_scale(
            img=small,
            scale_factor=1.1,
            step_ratio=1,
            min_size=(28, 28),
            max_size=(longest, longest),
            min_neighbor_number=6,
        )
        if faces:
            face = max(faces, key=lambda f: f["width"])
            left, top, side = (face[key] * shrink for key in ("c", "r", "width"))
            return tuple(
                _dark_spot(photo, left + at * side, top + 0.375 * side, 0.32 * side)
                for at in (0.31, 0.67)
            )
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
    centres = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1)  # (n, n, 2) of (x, y)
    away = np.argwhere(at)[:, ::-1] - centres[:, :, None]  # (n, n, p, 2)
    along = (away * slope[at] / steep[at][:, None]).sum(-1) / np.linalg.norm(away, axis=-1).clip(
        1e-6
    )
    near = np.exp(-((centres - (n - 1) / 2) ** 2).sum(-1) / (2 * (0.18 * n) ** 2))
    row, column = np.unravel_index(
        ((along.clip(0) ** 2).mean(-1) * (grey.max() - grey) * near).argmax(), (n, n)
    )
    column, row = ((i + 0.5) / n * side - side / 2 for i in (column, row))
    return float(x + column), float(y + row)


def load_mask(path, size=None):
    """A mask picture as (1, 1, H, W) float32 of {0, 1}: light is 1, the region to fill; dark or transparent is 0.

    The picture is upright, turned by its EXIF note. Strokes on a transparent layer count by their
    opacity when they are black. `size` (an int or (H, W)) brings the mask to that size by
    `place_mask`, so thin strokes stay. RoiganError: a file that cannot be read, an empty or full
    mask, a size of other proportions than the picture.
    """
    mask = _read_mask(path)
    if size is not None:
        have, want = mask.shape, height_width(size)
        if not same_proportions(have, want):
            raise RoiganError(
                f"the mask {path} has {have[1]}x{have[0]} pixels and would be "
                f"stretched to {want[1]}x{want[0]}: give one in these proportions."
            )
        mask = place_mask(mask, scaling(have, want), *want)
        if mask.all():
            raise RoiganError(
                f"the mask {path} is full at {want[1]}x{want[0]} pixels: leave more of it black."
            )
    return torch.from_numpy(mask.astype(np.float32))[None, None]


def _read_mask(path):
    """The region that a picture marks, bool (H, W), with the errors of `load_mask`."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except FileNotFoundError:
        raise RoiganError(f"there is no mask file {path}: check the path.") from None
    except Exception as error:  # decoders raise many types on damaged files
        raise RoiganError(
            f"{path} cannot be read as a picture ({str(error)[:80]}): save the mask as PNG."
        ) from None
    opacity = None
    if (
        image.mode.startswith("I") or image.mode == "F"
    ):  # 16-bit grey and floats, which PIL would clip
        grey = np.asarray(image).astype(np.float32)
        grey /= 65535 if grey.max() > 255 else 255
        mask = grey > 0.5
    else:
        if "A" in image.mode or "transparency" in image.info:
            image = image.convert("RGBA")
            opacity = np.asarray(image.getchannel("A"))
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
        grey = np.asarray(image.convert("RGB").convert("L"))
        mask = grey > 127
    if not mask.any() and opacity is not None and opacity.min() <= 127:
        mask = opacity > 127
    if mask.all() or not mask.any():
        lightest = grey.max() / (255 if grey.dtype == np.uint8 else 1)
        faint = f"empty, its lightest grey is {lightest:.0%}" if lightest > 0 else "empty"
        raise RoiganError(
            f"the mask {path} is {'full' if mask.all() else faint}: paint the "
            "region to fill white and the rest black."
        )
    return mask


def place_mask(mask, matrix, height, width):
    """A mask in another frame: each pixel that a mask's pixel has a part in, bool (height, width).

    mask: bool (h, w). matrix (2, 3) takes (x, y, 1) in the mask to (x, y) in the frame, the centre
    of the upper left pixel being (0, 0) in both. All masks go by this rule when they follow their
    picture through a crop, a turn or a change of size. A stroke is never lost, however thin, only
    what lies outside the frame.
    """
    matrix = np.asarray(matrix, float)
    if matrix[0, 1] == matrix[1, 0] == 0 < min(matrix[0, 0], matrix[1, 1]):
        for scale, shift, n in ((*matrix[1, 1:], height), (*matrix[0, ::2], width)):
            edges = (np.arange(n + 1) - 0.5 - shift) / scale + 0.5
            first, stop = np.floor(edges[:-1] + SLIVER), np.ceil(edges[1:] - SLIVER)
            spans = zip(*(at.clip(0, len(mask)).astype(int) for at in (first, stop)))
            mask = np.stack([mask[a:b].any(0) for a, b in spans], 1)  # transposed: columns next
        return mask
    return _place_turned(mask, matrix, height, width)


def _place_turned(mask, matrix, height, width):
    """`place_mask` for any matrix: parallelograms meet unless an edge of one of them parts them."""
    forth = np.vstack([matrix, [0, 0, 1]])
    back = np.linalg.inv(forth)
    ours, theirs = (0.5 + np.abs(m[:2, :2]).sum(1) / 2 - SLIVER for m in (forth, back))  # reach
    across, down = (np.arange(-r, r + 1) for r in np.ceil(theirs + 0.5).astype(int))
    padded = np.pad(mask, ((len(down),), (len(across),)))
    placed = np.zeros((height, width), bool)
    column = np.arange(width)
    for row in range(height):
        x, y = back[:2] @ [column, np.full(width, row), np.ones(width)]
        near = (np.abs(x - (mask.shape[1] - 1) / 2) < mask.shape[1] / 2 + theirs[0]) & (
            np.abs(y - (mask.shape[0] - 1) / 2) < mask.shape[0] / 2 + theirs[1]
        )
        x, y, j = x[near], y[near], column[near]
        x, y, at = (v[:, None, None] for v in (x, y, j))
        px, py = np.rint(x) + across, np.rint(y) + down[:, None]
        (a, b, c), (d, e, f) = matrix
        meet = (
            (np.abs(px - x) < theirs[0])
            & (np.abs(py - y) < theirs[1])
            & (np.abs(a * px + b * py + c - at) < ours[0])
            & (np.abs(d * px + e * py + f - row) < ours[1])
        )
        inside = padded[
            (py + len(down)).astype(int).clip(0, len(padded) - 1),
            (px + len(across)).astype(int).clip(0, padded.shape[1] - 1),
        ]
        placed[row, j] = (meet & inside).any((1, 2))
    return placed


def scaling(have, want):
    """The matrix (2, 3) that takes a picture of `have` (height, width) pixels to `want`."""
    ky, kx = (w / h for h, w in zip(have, want))
    return np.array([[kx, 0, (kx - 1) / 2], [0, ky, (ky - 1) / 2]])


def same_proportions(have, want):
    """Whether (height, width) pairs differ by a scale and the smaller one's rounding to pixels."""
    (h, w), (height, width) = have, want
    tall = h * width / w
    off = abs(tall - height)  # in pixels of the second
    return min(off, off * w / width) < 1 and off < 0.02 * height
