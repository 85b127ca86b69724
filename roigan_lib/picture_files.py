"""Photographs and masks as files: opened upright, and saved with all that came with them.

Photographs are uint8 (H, W, 3); a mask picture is white where the region to fill is.
"""

import io
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from .checks import check_output, check_whole, height_width, pixel_size
from .data.decode import BYTES, crop_box, levels, opened, resize, to_rgb
from .errors import RoiganError, shown
from .files import plain_file, write_atomically

LONGEST = 32_000  # OpenCV's warp counts pixels in 16 bits
JPEG = "JPEG", {"quality": 98, "subsampling": 0}  # 0: every pixel keeps a colour of its own
WEBP = "WEBP", {"lossless": True, "exact": True}  # exact: colours where transparent, too
TIFF = "TIFF", {}
WRITERS = {".png": ("PNG", {}), ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP}
WRITERS |= {".tif": TIFF, ".tiff": TIFF, ".bmp": ("BMP", {})}
LAYOUT = {*range(254, 267), *range(273, 282), 284, 317, 320, *range(322, 326), 330, 338, 339, 347}
LAYOUT |= {700, 33723, 34675}  # EXIF tags of how a TIFF is stored, with XMP, IPTC and the profile
DETAILS, WIDTH, HEIGHT = 34665, 40962, 40963  # EXIF tags
SLIVER = 1e-6  # pixels that meet by less than this share of a side only touch


# ---- photographs


def open_photo(source) -> np.ndarray:
    """A photograph as uint8 (H, W, 3), upright, on white where transparent.

    source: a path, the bytes of a file, a PIL image, or a uint8 array (H, W), (H, W, 3) or
    (H, W, 4), of 16 to 32,000 pixels a side. RoiganError: a missing or unreadable file, another
    kind of array, too few or too many pixels.
    """
    if isinstance(source, np.ndarray):
        channels = source.shape[2:]
        if source.dtype != np.uint8 or source.ndim < 2 or channels not in ((), (3,), (4,)):
            raise RoiganError(
                f"the photograph is an array {source.shape} of {source.dtype} but must be (H, W), "
                "(H, W, 3) or (H, W, 4) of uint8."
            )
        _check_sides(source.shape[1], source.shape[0])
        return source.copy() if channels == (3,) else np.array(to_rgb(Image.fromarray(source)))
    image, _ = _upright(source)
    _check_sides(*image.size)
    with _reading(source):
        return np.array(to_rgb(image))


def _check_sides(width, height):
    if min(width, height) < 16 or max(width, height) > LONGEST:
        raise RoiganError(
            f"the photograph has {width}x{height} pixels: take one of 16 to {LONGEST:,} a side."
        )


def _upright(source):
    """A photograph as a PIL image, turned by its EXIF note, and the notes (None: damaged)."""
    if not isinstance(source, (str, Path, bytes, Image.Image)):
        raise RoiganError(
            "a photograph is a path, the bytes of a file, a PIL image or a uint8 array, not "
            f"{type(source).__name__}."
        )
    with _reading(source):
        if isinstance(source, Image.Image):
            return ImageOps.exif_transpose(source), _notes(source)
        with opened(_file(source, "photograph")) as image:
            notes = _notes(image)
            pages = getattr(image, "n_frames", 1)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            image.info["pages"] = pages
            return image, notes


@contextmanager
def _reading(source, kind="photograph", form="it as JPEG or PNG"):
    """Within it an error names the file."""
    named = "the picture" if isinstance(source, (bytes, Image.Image)) else source
    try:
        yield
    except RoiganError:
        raise
    except Exception as error:  # decoders raise many types on damaged files
        unknown = isinstance(error, UnidentifiedImageError)
        why = "no known format" if unknown else str(error).split("\n")[0][:80]
        raise RoiganError(f"{named} cannot be read as a {kind} ({why}): save {form}.") from None


def _file(source, what):
    """What PIL opens: the bytes, or the path of a plain file of no more than BYTES."""
    return io.BytesIO(source) if isinstance(source, bytes) else plain_file(source, what, most=BYTES)


def _notes(image):
    """The EXIF notes of a file, less its turn and what describes the layout of a TIFF."""
    exif = Image.Exif()
    try:
        exif.load(image.getexif().tobytes())
    except Exception:  # notes of any age and make
        return None
    for tag in LAYOUT & set(exif):
        del exif[tag]
    return exif


# ---- masks


def load_mask(path, size=None) -> torch.Tensor:
    """A mask picture as (1, 1, H, W) float32 of {0, 1}: light is 1, the region to fill.

    Dark or transparent is 0; strokes on a transparent layer count by their opacity when they are
    black. The picture is turned by its EXIF note. `size` (an int or (H, W)) brings the mask to that
    size by `place_mask`, so thin strokes stay. RoiganError: a file that cannot be read, an empty or
    full mask, a size of other proportions than the picture.
    """
    mask = _read_mask(path, path)
    if size is not None:
        (h, w), (height, width) = mask.shape, height_width(size)
        if not same_proportions((h, w), (height, width)):
            raise RoiganError(
                f"the mask {path} has {w}x{h} pixels and would be stretched to {width}x{height}: "
                "give one in these proportions."
            )
        mask = place_mask(mask, scaling((h, w), (height, width)), height, width)
        if mask.all():
            raise RoiganError(
                f"the mask {path} is full at {width}x{height} pixels: leave more of it black."
            )
    return torch.from_numpy(mask).float()[None, None]


def open_mask(source, width, height, size=None):
    """The region to redraw: a mask picture (path, bytes) of a photograph of width x height pixels.

    A mask as in `load_mask`, in the photograph's proportions, is brought to its size by
    `place_mask`: bool (height, width). One of size x size pixels, for a photograph of other
    proportions, is a region in the model's own pixels: float32 (1, 1, size, size). RoiganError:
    those of `load_mask`, and other proportions, which would put the region elsewhere.
    """
    width, height = pixel_size(width, height)
    size = size if size is None else check_whole("size", size, 8, 4096)
    mask = _read_mask(source, "upload" if isinstance(source, bytes) else source)
    if same_proportions(mask.shape, (height, width)):
        return place_mask(mask, scaling(mask.shape, (height, width)), height, width)
    if mask.shape == (size, size):
        return torch.from_numpy(mask).float()[None, None]
    model = f", or the model's {size}x{size} pixels" if size else ""
    raise RoiganError(
        f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels and the photograph, upright, "
        f"{width}x{height}: give a mask in the photograph's proportions{model}."
    )


def _read_mask(file, name):
    """The region that a picture marks, bool (H, W), with the errors of `load_mask`."""
    how = name, "picture", "the mask as PNG"
    with _reading(*how), opened(_file(file, "mask")) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        opacity = None
        if image.mode.startswith("I") or image.mode == "F":
            grey = levels(image)
        else:
            if "A" in image.mode or "transparency" in image.info:
                image = image.convert("RGBA")
                opacity = np.asarray(image.getchannel("A"))
            elif image.mode not in ("1", "L", "RGB"):
                image = image.convert("RGB")
            grey = np.asarray(image.convert("L"))
    light = grey if opacity is None else grey.astype(np.uint16) * opacity // 255  # on black
    mask = light > 127
    if not mask.any() and opacity is not None and opacity.min() <= 127:
        mask = opacity > 127
    if mask.all() or not mask.any():
        faint = f", its lightest grey is {light.max() / 255:.0%}" if light.max() > 0 else ""
        raise RoiganError(
            f"the mask {name} is {'full' if mask.all() else 'empty' + faint}: paint the region to "
            "fill white and the rest black."
        )
    return mask


def place_mask(mask, matrix, height, width) -> np.ndarray:
    """A mask in another frame: each pixel that a mask's pixel has a part in, bool (height, width).

    mask: bool (h, w). matrix (2, 3) takes (x, y, 1) in the mask to (x, y) in the frame, the centre
    of the upper left pixel being (0, 0) in both. All masks go by this rule when they follow their
    picture through a crop, a turn or a change of size. A stroke is never lost, however thin, only
    what lies outside the frame.
    """
    matrix = np.asarray(matrix, float)
    (kx, skew, left), (turn, ky, top) = matrix
    if skew != 0 or turn != 0 or min(kx, ky) <= 0:
        return _place_turned(mask, matrix, height, width)
    for scale, shift, n in ((ky, top, height), (kx, left, width)):
        edges = (np.arange(n + 1) - 0.5 - shift) / scale + 0.5
        spans = np.floor(edges[:-1] + SLIVER), np.ceil(edges[1:] - SLIVER)
        first, stop = (at.clip(0, len(mask)).astype(int) for at in spans)
        count = np.pad(mask.cumsum(0), ((1, 0), (0, 0)))
        mask = (count[stop] > count[first]).T  # transposed: columns next
    return mask


def _place_turned(mask, matrix, height, width):
    """`place_mask` for any matrix: parallelograms meet unless an edge of one of them parts them."""
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    ours, theirs = (0.5 + np.abs(m[:, :2]).sum(1) / 2 - SLIVER for m in (matrix, back))  # reach
    across, down = (np.arange(-r, r + 1) for r in np.ceil(theirs + 0.5).astype(int))
    padded, column = np.pad(mask, 1), np.arange(width)[:, None, None]
    placed = np.zeros((height, width), bool)
    for row in range(height):
        x, y = (a * column + b * row + c for a, b, c in back)
        i, j = np.rint(y) + down[:, None], np.rint(x) + across  # the mask's pixels around there
        u, v = (a * j + b * i + c for a, b, c in matrix)
        meet = (np.abs(j - x) < theirs[0]) & (np.abs(i - y) < theirs[1])
        meet = meet & (np.abs(u - column) < ours[0]) & (np.abs(v - row) < ours[1])
        i, j = (at.astype(int).clip(-1, n) + 1 for at, n in zip((i, j), mask.shape))
        placed[row] = (meet & padded[i, j]).any((1, 2))
    return placed


def scaling(have, want):
    """The matrix (2, 3) that takes a picture of `have` (height, width) pixels to `want`."""
    ky, kx = (w / h for h, w in zip(have, want))
    return np.array([[kx, 0, (kx - 1) / 2], [0, ky, (ky - 1) / 2]])


def same_proportions(have, want):
    """Whether (height, width) pairs differ by a scale and the smaller one's rounding to pixels."""
    (h, w), (height, width) = have, want
    off = abs(h * width / w - height)  # in pixels of the second
    return min(off, off * w / width) < 1 and off < 0.02 * height


# ---- saving


def save_photo(path, picture, source=None, crop=None) -> list[str]:
    """Write a picture made of a photograph, uint8 (H, W, 3); returns sentences to tell of it.

    source: the photograph, as for `open_photo`. Its colour profile, EXIF notes (less the turn,
    which is done) and transparency are kept, and pixels that have not changed keep their colour
    under the transparency. crop: the crop of `data.decode` that the picture shows of it. JPEG is
    written at quality 98 with all of its colours (4:4:4), the other formats without loss. The
    sentences name what the format could not hold, and how far the pixels of a JPEG are from the
    picture. RoiganError: a path that cannot be written, an unreadable photograph.
    """
    path = check_output(path, WRITERS)
    rgb = isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[2] == 3
    if not rgb or picture.dtype != np.uint8 or not picture.size:
        raise RoiganError(f"the picture to save is {shown(picture)} but has to be uint8 (H, W, 3).")
    form, options = WRITERS[path.suffix.lower()]
    image, keep, alpha, lost = Image.fromarray(picture), {}, None, []
    if source is not None:
        array = isinstance(source, np.ndarray)
        if array:
            open_photo(source)  # refuses other kinds of arrays
        original, exif = (Image.fromarray(source), {}) if array else _upright(source)
        _check_sides(*original.size)
        profile = original.info.get("icc_profile")
        if profile and profile[16:20] == b"RGB ":
            keep["icc_profile"] = profile
        elif profile:
            space = profile[16:20].decode("latin1").strip()
            lost.append(f"the {space} colour profile, as the result is RGB")
        if original.mode.startswith("I") or original.mode == "F":
            lost.append("all but 8 bits of each pixel")
        if original.info.get("pages", 1) > 1:
            lost.append("its further pages or frames")
        if exif:
            details, size = exif.get_ifd(DETAILS), {WIDTH: image.width, HEIGHT: image.height}
            details.update({tag: n for tag, n in size.items() if tag in details})
            keep["exif"] = exif.tobytes()
        elif exif is None:
            lost.append("EXIF notes, which are damaged")
        if "A" in original.mode or "transparency" in original.info:
            layers, alpha = _transparent(picture, original, crop)
            image = image if form in ("JPEG", "BMP") else layers
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
    write_atomically(path, data)
    missing = " and ".join(name for name, kept in there.items() if not kept)
    lost += [f"{missing}, which {form} did not take"] * bool(missing)
    told = [f"dropped: {'; '.join(lost)}."] * bool(lost)
    if error.any():
        told.append(
            f"{form} is lossy, outside the region too: {(error > 0).any(-1).mean():.0%} of "
            f"the pixels differ from the picture, by {error.mean():.2g} of 255 levels on "
            f"average and {error.max()} at most."
        )
    return told


def _transparent(picture, original, crop):
    """The RGBA image that looks on white as `picture` does, and its opacity, the photograph's."""
    layers, before = original.convert("RGBA"), np.asarray(to_rgb(original))
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
