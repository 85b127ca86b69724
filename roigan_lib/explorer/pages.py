"""What the explorer draws for keeping: a strip of pictures, and the contact sheet."""

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..plots import to_uint8

TILE, HEAD, GAP = 64, 24, 6  # pixels: a small picture, a line of text, the room between pictures
BIG = 3 * TILE + 2 * GAP
INK = "#444"


def png(picture) -> bytes:
    """A PIL image as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def thumbs(images) -> bytes:
    """Images (n, 3, H, W) small and side by side, as PNG."""
    side = min(images.shape[-1], TILE)
    small = [np.asarray(_thumb(picture, side)) for picture in to_uint8(images)]
    return png(Image.fromarray(np.concatenate(small, axis=1)))


def strip(title, values, rows) -> bytes:
    """Rows of small pictures, each uint8 (steps, H, W, 3), below their values and a title: PNG."""
    size = len(values) * (TILE + GAP) + GAP, 2 * HEAD + len(rows) * (TILE + GAP)
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).text((GAP, HEAD / 2), title, INK, _font(), "lm")
    _traversal(page, GAP, HEAD, values, rows)
    return png(page)


def sheet(shown, values, rows, labels) -> bytes:
    """The large pictures {name: images}, and below them labelled rows as in `strip`: PNG."""
    left = max([34] + [int(_font().getlength(label)) + 16 for label in labels])
    below = HEAD + len(labels) * (TILE + GAP) if labels else 0
    page = Image.new("RGB", (left + 3 * BIG + 4 * GAP, HEAD + BIG + 2 * GAP + below), "white")
    for i, (name, images) in enumerate(shown.items()):
        page.paste(_large(images), (left + i * (BIG + GAP), HEAD))
        ImageDraw.Draw(page).text((left + i * (BIG + GAP), HEAD / 2), name, INK, _font(), "lm")
    _traversal(page, left, HEAD + BIG + GAP, values, rows, labels)
    return png(page)


def _large(images):
    """One picture, or up to nine in rows of three, as wide as three small ones with their gaps."""
    pictures = to_uint8(images)
    if len(pictures) == 1:
        return _thumb(pictures[0], BIG)
    page = Image.new("RGB", (BIG, BIG), "white")
    for k, picture in enumerate(pictures):
        page.paste(_thumb(picture, TILE), (k % 3 * (TILE + GAP), k // 3 * (TILE + GAP)))
    return page


def _traversal(page, left, top, values, rows, labels=()):
    """Put rows of small pictures, uint8 (steps, H, W, 3), on a page: values above, labels left."""
    draw, font = ImageDraw.Draw(page), _font()
    for step, value in enumerate(values):
        draw.text((left + step * (TILE + GAP) + TILE / 2, top + HEAD / 2), value, INK, font, "mm")
    for row, pictures in enumerate(rows):
        y = top + HEAD + row * (TILE + GAP)
        if labels:
            draw.text((left - 8, y + TILE / 2), labels[row], INK, font, "rm")
        for step, picture in enumerate(pictures):
            page.paste(_thumb(picture, TILE), (left + step * (TILE + GAP), y))


def _thumb(picture, side):
    how = Image.LANCZOS if side < len(picture) else Image.BICUBIC
    return Image.fromarray(picture).resize((side, side), how)


def _font():
    # Pillow's own font has neither Cyrillic nor Greek, and the names on a sheet are the reader's.
    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(file), 12)
