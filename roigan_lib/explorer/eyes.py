"""The two eyes in a photograph, marked by hand (anywidget)."""

import io
from pathlib import Path

import anywidget
import traitlets as tl
from PIL import Image

from ..errors import RoiganError
from ..photo import face_frame, find_eyes, open_photo


def binary():
    # The browser's bytes arrive as a memoryview, which traitlets would drop in silence.
    from_json = lambda value, widget: bytes(value)
    return tl.Bytes(b"").tag(sync=True, echo_update=False, from_json=from_json)


class EyePicker(anywidget.AnyWidget):
    """What `pick_eyes` returns; `eyes` are the two points in photo pixels, the left one first."""

    _esm = Path(__file__).with_name("eyes.js")
    picture = binary()  # JPEG of at most shown_px in width
    photo_size = tl.List(tl.Int()).tag(sync=True)  # width, height in pixels
    shown_px = tl.Int(384).tag(sync=True)
    eye_points = tl.List(tl.List(tl.Float())).tag(sync=True)

    def __init__(self, photo, eyes, shown_px=384):
        height, width = photo.shape[:2]
        shown_px = min(shown_px, width)
        shape = shown_px, max(1, round(height * shown_px / width))
        buffer = io.BytesIO()
        Image.fromarray(photo).resize(shape, Image.LANCZOS).save(buffer, "JPEG", quality=90)
        super().__init__(
            picture=buffer.getvalue(),
            photo_size=[width, height],
            shown_px=shown_px,
            eye_points=[[float(v) for v in eye] for eye in eyes],
        )

    @property
    def eyes(self):
        """((x, y), (x, y)) in photo pixels, the left one in the picture first."""
        return tuple(sorted(tuple(eye) for eye in self.eye_points))

    def __repr__(self):
        (a, b), (c, d) = self.eyes
        return f"EyePicker(eyes at {a:.0f}, {b:.0f} and {c:.0f}, {d:.0f})"


def pick_eyes(photo, eyes=None, shown_px=384) -> EyePicker:
    """Mark the two eyes on a photograph: click near one to move it, or move it with the arrows.

    photo: uint8 (H, W, 3), as `open_photo` gives it. eyes: where to begin; left out, `find_eyes`
    looks for them, and where it finds no face they begin in the middle. The picker's `eyes` go to
    `face_frame`.
    """
    photo = open_photo(photo)
    if eyes is not None:
        face_frame(eyes)  # refuses what are no two points
    else:
        try:
            eyes = find_eyes(photo)
        except RoiganError:
            height, width = photo.shape[:2]
            eyes = ((0.4 * width, 0.45 * height), (0.6 * width, 0.45 * height))
    return EyePicker(photo, eyes, shown_px)
