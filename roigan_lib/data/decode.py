"""One picture's bytes to pixels: upright, on white, cropped, resized."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from ..checks import whole
from ..errors import RoiganError, shown

CROPS = ("square", "thesis", "full")


def decode(data, crop="square", size=64):
    """One picture's bytes -> (size, size, 3) uint8: upright, on white where transparent, cropped.

    crop: as for `crop_box`, or a function from the upright RGB image to the part that is wanted.
    """
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        image = to_rgb(ImageOps.exif_transpose(opened))
    if min(image.size) < 8:
        raise ValueError("{}x{} pixels are too few".format(*image.size))
    image = crop(image) if callable(crop) else image.crop(crop_box(*image.size, crop))
    return np.asarray(resize(image, size))


def to_rgb(image):
    """A PIL image of any mode as RGB, on white where it is transparent."""
    if image.mode.startswith("I"):  # 16-bit grey; PIL's own conversion would clip it at 255
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray((grey.clip(0, 65535) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("pictures of floating-point values are not supported")
    if "A" in image.mode or "transparency" in image.info:
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
