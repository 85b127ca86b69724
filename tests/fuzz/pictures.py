"""Picture files as the world has them: every kind that Pillow writes, damaged ones, bombs."""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib

import numpy as np
import torch
from PIL import Image, features

import roigan_lib as rg
from roigan_lib.picture_files import open_mask, save_photo

from .driver import Case

SIDE = 48
LEFT_DARK = np.repeat([[40, 200]], SIDE // 2, 1).reshape(1, SIDE).repeat(SIDE, 0).astype(np.uint8)
WORDS = ("picture", "pixels", "photograph", "mask", "cannot be read")


def kinds():
    """{name: (ending, what the file holds, a PIL image or arguments of its writer)}."""
    grey = Image.fromarray(LEFT_DARK)
    rgb = grey.convert("RGB")
    clear = rgb.convert("RGBA")
    clear.putalpha(255)
    deep = lambda top, kind=np.uint16: Image.fromarray((LEFT_DARK / 255.0 * top).astype(kind))
    palette = rgb.quantize(8)
    upside = Image.Exif()
    upside[274] = 3
    turned = rgb.rotate(180)
    return {
        "JPEG": (".jpg", rgb, {}),
        "JPEG, CMYK": (".jpg", rgb.convert("CMYK"), {}),
        "JPEG, grey": (".jpg", grey, {}),
        "JPEG, progressive": (".jpg", rgb, {"progressive": True}),
        "JPEG as .jfif": (".jfif", rgb, {"format": "JPEG"}),
        "JPEG as .png": (".png", rgb, {"format": "JPEG"}),
        "JPEG, upside down by EXIF": (".jpg", turned, {"exif": upside.tobytes()}),
        "JPEG, damaged EXIF": (".jpg", rgb, {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}),
        "MPO": (".mpo", rgb, {"save_all": True, "append_images": [turned]}),
        "PNG": (".png", rgb, {}),
        "PNG, grey": (".png", grey, {}),
        "PNG, 1 bit": (".png", grey.point(lambda v: 255 * (v > 127)).convert("1"), {}),
        "PNG, grey with alpha": (".png", grey.convert("LA"), {}),
        "PNG, RGBA": (".png", clear, {}),
        "PNG, palette": (".png", palette, {}),
        "PNG, palette with a clear colour": (".png", palette, {"transparency": 7}),
        "PNG, 16 bits": (".png", deep(65535), {}),
        "PNG, 12 bits in 16": (".png", deep(4095), {}),
        "PNG, 8 bits in 16": (".png", deep(255), {}),
        "PNG, animated": (".png", rgb, {"save_all": True, "append_images": [turned]}),
        "PNG as .jpg": (".jpg", rgb, {"format": "PNG"}),
        "GIF": (".gif", palette, {}),
        "GIF, animated": (".gif", palette, {"save_all": True, "append_images": [turned]}),
        "WebP": (".webp", rgb, {"lossless": True}),
        "WebP, animated": (".webp", rgb, {"save_all": True, "append_images": [turned]}),
        "WebP, RGBA": (".webp", clear, {"lossless": True}),
        "BMP": (".bmp", rgb, {}),
        "BMP, palette": (".bmp", palette, {}),
        "TIFF": (".tif", rgb, {}),
        "TIFF, deflated": (".tif", rgb, {"compression": "tiff_adobe_deflate"}),
        "TIFF, CMYK": (".tiff", rgb.convert("CMYK"), {}),
        "TIFF, YCbCr": (".jpg", rgb.convert("YCbCr"), {}),
        "TIFF, 16 bits": (".tif", deep(65535), {}),
        "TIFF, 12 bits in 16": (".tif", deep(4095), {}),
        "TIFF, mode I of 8 bits": (".tif", deep(255, np.int32), {}),
        "TIFF, mode I of 16 bits": (".tif", deep(65535, np.int32), {}),
        "TIFF, mode I of 31 bits": (".tif", Image.fromarray(_stretched(2**31 - 1)), {}),
        "TIFF, mode I below 0": (".tif", Image.fromarray(_stretched(2000) - 1000), {}),
        "TIFF, floats to 1": (".tif", deep(1.0, np.float32), {}),
        "TIFF, floats to 255": (".tif", deep(255.0, np.float32), {}),
        "TIFF, floats from -1": (".tif", Image.fromarray(_stretched(2).astype("f4") - 1), {}),
        "TIFF, several pages": (".tif", rgb, {"save_all": True, "append_images": [turned.copy()]}),
        "PPM": (".ppm", rgb, {}),
        "JPEG 2000": (".jp2", rgb, {}),
    } | ({"AVIF": (".avif", rgb, {"quality": 95})} if features.check("avif") else {})


def _stretched(top):
    """The picture over the whole of 0 … top: dark is 0 and light is top."""
    return np.where(LEFT_DARK > 99, top, 0).astype(np.int32)


def png(width, height, depth=8, colour=0, data=b""):
    """A PNG that declares any size: chunks with their checksums right."""
    chunk = lambda kind, body: (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def damaged():
    """{name: bytes} of files that hold no picture, or too large a one."""
    good = io.BytesIO()
    Image.fromarray(LEFT_DARK).convert("RGB").save(good, "PNG")
    jpeg = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(jpeg, "JPEG")
    good, jpeg = good.getvalue(), jpeg.getvalue()
    gif = io.BytesIO()
    Image.fromarray(LEFT_DARK).save(gif, "GIF")
    gif = bytearray(gif.getvalue())
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = io.BytesIO()
    Image.fromarray(LEFT_DARK).save(bmp, "BMP")
    bmp = bytearray(bmp.getvalue())
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    nan = io.BytesIO()
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(nan, "TIFF")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(x) print\n"
    return {
        "zero bytes": b"",
        "one byte": b"\x89",
        "text": b"This is no picture.\n",
        "a web page": b"<!DOCTYPE html><html><body>quota</body></html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"></svg>',
        "EPS, which would run Ghostscript": eps,
        "PDF": b"%PDF-1.4\n%%EOF\n",
        "a zip": b"PK\x05\x06" + b"\0" * 18,
        "HEIC without its decoder": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64,
        "PNG cut in half": good[: len(good) // 2],
        "PNG without its end": png(64, 64)[:-12],
        "PNG, head only": good[:20],
        "PNG of too few rows": png(64, 64, data=b"\0" * 100),
        "PNG of 1x1": png(1, 1, data=b"\0\xff"),
        "PNG of 0x0": png(0, 0),
        "PNG of 2**31 pixels a side": png(2**31 - 1, 2**31 - 1),
        "PNG of 65535x65535": png(65535, 65535),
        "PNG of 8000x8000, white, one bit": png(8000, 8000, 1, 0, b"\0" + b"\xff" * 1000),
        "PNG of 12000x12000": png(12000, 12000, 16, 6),
        "PNG of a wrong checksum": good[:40] + b"\xff\xff" + good[42:],
        "PNG with a text bomb": _bomb(good),
        "JPEG cut in half": jpeg[: len(jpeg) // 2],
        "JPEG, head only": jpeg[:30],
        "GIF of 65535x65535": bytes(gif),
        "BMP of 60000x60000": bytes(bmp),
        "TIFF of NaN": nan.getvalue(),
        "TIFF of directories in a ring": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "TIFF, head only": b"II*\0",
    }


def _bomb(good):
    body = b"Comment\0\0" + zlib.compress(b"a" * 200_000_000)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    return good[:33] + chunk + struct.pack(">I", zlib.crc32(b"zTXt" + body)) + good[33:]


def write(path, image, options):
    image = image.copy()  # a JPEG leaves its settings with what it was written from
    image.save(path, options.get("format"), **{k: v for k, v in options.items() if k != "format"})
    return path


def cases(folder):
    for n, (name, (ending, image, options)) in enumerate(kinds().items()):
        path = write(folder / f"right{n}{ending}", image, options)
        for what, check in {"open_photo": _seen, "open_photo of bytes": _seen_bytes,
                            "load_mask": _masked, "open_mask of bytes": _masked_bytes,
                            "folder": _listed, "save_photo": _kept}.items():  # fmt: skip
            yield Case("picture", f"{what}: {name}", functools.partial(check, path))
    calls = {
        "open_photo": rg.open_photo,
        "load_mask": rg.load_mask,
        "open_mask of bytes": lambda p: open_mask(p.read_bytes(), 64, 64),
        "open_photo of bytes": lambda p: rg.open_photo(p.read_bytes()),
        "save_photo": lambda p: save_photo(folder / "o.png", np.zeros((64, 64, 3), np.uint8), p),
    }
    for n, (name, data) in enumerate(damaged().items()):
        path = folder / f"wrong{n}.png"
        path.write_bytes(data)
        for what, call in calls.items():
            if (what, name) == ("save_photo", "TIFF of NaN"):  # its pixels are not asked for
                continue
            yield Case("damaged picture", f"{what}: {name}", functools.partial(call, path), WORDS)
        yield Case("damaged picture", f"folder: {name}", functools.partial(_counted, path))


def _right(picture):
    """Dark left, light right, whatever it came through."""
    grey = np.asarray(picture, float).reshape(SIDE, SIDE, -1)[..., :3].mean(-1)
    assert grey[:, : SIDE // 2 - 2].max() + 60 < grey[:, SIDE // 2 + 2 :].min(), grey[5]
    assert grey.max() > 100, "black"


def _seen(path):
    photo = rg.open_photo(path)
    assert photo.dtype == np.uint8 and photo.shape == (SIDE, SIDE, 3)
    _right(photo)


def _seen_bytes(path):
    assert np.array_equal(rg.open_photo(path.read_bytes()), rg.open_photo(str(path)))


def _masked(path):
    mask = rg.load_mask(path)
    half = torch.arange(SIDE) >= SIDE // 2
    far = (torch.arange(SIDE) - SIDE / 2 + 0.5).abs() > 2  # JPEG smears the edge
    assert mask.shape == (1, 1, SIDE, SIDE)
    assert (mask[..., far] == half[far].float()).all()


def _masked_bytes(path):
    mask = open_mask(path.read_bytes(), SIDE, SIDE)
    assert np.array_equal(mask, rg.load_mask(str(path))[0, 0].numpy() > 0.5)


def _listed(path):
    """The picture in a folder of its own and in an archive, under its ending."""
    import zipfile

    from roigan_lib.data.archives import SUFFIXES

    root = path.parent / f"{path.stem}-folder"
    root.mkdir(exist_ok=True)
    (root / path.name).write_bytes(path.read_bytes())
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        archive.write(path, f"in/{path.name}")
    for place in (root, root.with_suffix(".zip")):
        if path.suffix not in SUFFIXES:  # a format that no data set has: named
            try:
                rg.open_dataset("folder", "all", SIDE, place)
            except rg.RoiganError as error:
                assert "holds no pictures" in str(error)
                continue
        data = rg.open_dataset("folder", "all", SIDE, place)
        assert len(data) == 1
        _right(data.uint8[0].permute(1, 2, 0))


def _kept(path):
    """Saved beside it as PNG, its pixels are the same; several pages are told of."""
    picture = rg.open_photo(path)
    told = save_photo(path.with_suffix(".out.png"), picture, path)
    assert np.array_equal(rg.open_photo(path.with_suffix(".out.png")), picture)
    assert all(line.endswith(".") for line in told)


def _counted(path):
    """One damaged among thirty right pictures is left out, counted and named in one warning."""
    root = path.parent / f"{path.stem}-among"
    root.mkdir(exist_ok=True)
    for i in range(30):
        Image.fromarray(np.roll(LEFT_DARK, i, 1)).convert("RGB").save(root / f"{i:02}.png")
    (root / "99.png").write_bytes(path.read_bytes())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = rg.open_dataset("folder", "all", 16, root)
    text = " ".join(str(w.message) for w in told)
    readable = len(data) == 31  # such as a PNG that lacks only its last bytes
    assert readable or len(data) == 30 and "left out 1 of 31" in text and "99.png" in text, text
    assert " at 0x" not in text
