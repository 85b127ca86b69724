"""One picture's bytes to pixels: upright, on white, cropped, resized."""

from __future__ import annotations

import io
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from ..checks import whole
from ..errors import RoiganError, shown

CROPS = ("square", "thesis", "full")


PIXELS, BYTES = 50 * 10**6, 2**28  # of one picture, asked before any of it is decoded
FORMATS = "JPEG MPO PNG WEBP BMP DIB TIFF GIF AVIF HEIF JPEG2000 PPM"  # no EPS: that runs programs


@contextmanager
def opened(file):
    """A picture file as a PIL image, its first page or frame, nothing decoded yet.

    file: a path or a binary file. ValueError for more pixels than PIXELS, UnidentifiedImageError
    for other formats than FORMATS, and whatever a decoder raises on damage.
    """
    Image.init()
    known = [name for name in FORMATS.split() if name in Image.OPEN]
    try:
        image = Image.open(file, formats=known)
    except Image.DecompressionBombError:
        raise ValueError(f"more than {PIXELS / 1e6:.0f} million pixels") from None
    with image:
        width, height = image.size
        if width * height > PIXELS:
            raise ValueError(f"{width}x{height} pixels, more than {PIXELS / 1e6:.0f} million")
        yield image


def decode(data, crop="square", size=64):
    """One picture's bytes -> (size, size, 3) uint8: upright, on white where transparent, cropped.

    crop: as for `crop_box`, or a function from the upright RGB image to the part that is wanted.
    """
    with opened(io.BytesIO(data)) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        image = to_rgb(image)
    if min(image.size) < 8:
        raise ValueError("{}x{} pixels are too few".format(*image.size))
    image = crop(image) if callable(crop) else image.crop(crop_box(*image.size, crop))
    return np.asarray(resize(image, size))


def levels(image):
    """A PIL image of whole numbers (mode I) or floats (F) as uint8 (H, W), black 0, white 255.

    Whole numbers count as 8, 12 or 16 bits, the fewest that hold them (cameras and microscopes put
    12 in 16), floats as [0, 1] or as 8 bits. Any other range is stretched: its least value is black
    and its largest white. ValueError: NaN or infinite values.
    """
    grey = np.asarray(image).astype(np.float32 if image.mode == "F" else np.int64)
    low, high = grey.min(initial=0), grey.max(initial=0)
    if not np.isfinite(grey.sum(dtype=float)):
        raise ValueError("it holds NaN or infinite values")
    steps = (1.0, 255) if image.mode == "F" else (255, 4095, 65535)
    top = next((step for step in steps if high <= step), None)
    if low < 0 or top is None:
        low, top = grey.min(), grey.max()
    return ((grey - low) * (255 / max(top - low, 1e-30))).round().astype(np.uint8)


def to_rgb(image):
    """A PIL image of any mode as RGB, on white where it is transparent."""
    if image.mode.startswith("I") or image.mode == "F":  # PIL's own conversion clips these at 255
        image = Image.fromarray(levels(image))
    if "A" in image.mode.upper() and image.mode != "LAB" or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def resize(image, size):
    """A PIL image as the model's size x size pixels, antialiased."""
    return image.resize((size, size), Image.Resampling.BILINEAR)  # its filter widens as it shrinks


def check_crop(crop, own=()):
    """The crop, "square" for None. RoiganError: no name of CROPS or `own`, nor pixels from 8."""
    crop, names = "square" if crop is None else crop, (*own, *CROPS)
    if isinstance(crop, str) and crop in names or (whole(crop) or 0) >= 8:
        return crop if isinstance(crop, str) else whole(crop)
    raise RoiganError(
        f"crop={shown(crop)} is unknown: choose {', '.join(map(repr, names))} "
        "or a whole number of pixels from 8."
    )


def crop_box(width, height, crop):
    """(left, top, right, bottom) of a crop in width x height pixels. RoiganError: no room.

    crop: "square", the largest centred square; "full", the whole frame, to be squashed; "thesis",
    the centred 128 of CelebA's aligned 178x218 frame, in proportion for scaled copies (64 of
    89x109); a whole number k, the centred k x k pixels.
    """
    if crop == "full":
        return 0, 0, width, height
    if crop == "thesis" and abs(width / height - 178 / 218) > 0.01:
        raise RoiganError(
            "crop='thesis' is for CelebA's aligned frames of 178x218 pixels or copies in that "
            f"proportion, and a picture of {width}x{height} was found: use crop='square'."
        )
    named = {"square": min(width, height), "thesis": round(width * 128 / 178)}
    side = named[crop] if crop in named else int(crop)
    if side > min(width, height):
        raise RoiganError(
            f"crop={side} does not fit a picture of {width}x{height} pixels: use a smaller "
            "number or crop='square'."
        )
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side
