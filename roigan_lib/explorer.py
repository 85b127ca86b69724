"""The explorer: paint the region on the picture, move the codes, see the model's completion at once (anywidget).

Browser and kernel share a few synchronised values; `explorer.js` sends a mask once per stroke and holds further slider
moves back until the kernel has answered, so that no stale picture is ever computed.
"""
import io
import time
from pathlib import Path

import anywidget
import numpy as np
import torch
import traitlets as tl
from PIL import Image, ImageDraw, ImageFont

from roigan_lib.errors import RoiganError
from roigan_lib.plots import to_uint8

HERE = Path(__file__).parent
NEEDS = ("inpaint", "size", "n_continuous", "n_discrete", "n_categories")
STEPS = 9  # pictures in a traversal row of the contact sheet; three of them are as wide as one large picture


def _binary(**metadata):
    # The browser's bytes arrive as a memoryview, which traitlets would drop in silence.
    return tl.Bytes(b"").tag(sync=True, echo_update=False, from_json=lambda value, widget: bytes(value), **metadata)


def _png(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()


def _take(images, size, limit):
    """The first `limit` pictures as a float32 tensor (n, 3, size, size), or a RoiganError that says what is wrong."""
    if isinstance(images, (torch.Tensor, np.ndarray)):
        images = torch.as_tensor(images)
        images = images[None] if images.ndim == 3 else images
        images = images[:limit] if images.ndim else images
    elif hasattr(images, "__getitem__") and hasattr(images, "__len__"):
        images = images[0:min(limit, len(images))]
        if isinstance(images, (list, tuple)):
            if any(getattr(image, "shape", None) != getattr(images[0], "shape", None) for image in images):
                raise RoiganError("The images differ in shape: pass them all at the model's size.")
            images = [torch.as_tensor(image) for image in images]
            images = torch.stack(images) if images else torch.empty(0, 3, size, size)
    if not isinstance(images, torch.Tensor):
        raise RoiganError(f"explore() takes a tensor (n, 3, H, W) or an image set, not {type(images).__name__}.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise RoiganError(f"Images have shape {tuple(images.shape)}: pass RGB pictures as (n, 3, H, W).")
    if not len(images):
        raise RoiganError("There is no image to explore: pass at least one.")
    if tuple(images.shape[2:]) != (size, size):
        raise RoiganError(f"Images are {images.shape[3]}x{images.shape[2]} but the model works at {size}x{size}: "
                          "resize them.")
    if not images.is_floating_point() or not bool(((images >= -1.001) & (images <= 1.001)).all()):
        raise RoiganError("Image values must be floats in [-1, 1]: scale bytes by `x / 127.5 - 1`.")
    return images.detach().float().cpu()


def _middle(size):
    """The mask to begin with: an ellipse over eyes, nose and mouth, (size, size) in {0, 1}."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    return (((x - 0.5) / 0.21) ** 2 + ((y - 0.56) / 0.25) ** 2 <= 1).float()


class Explorer(anywidget.AnyWidget):
    """What `explore` returns. `mask`, `codes`, `original` and `completed` hold what is on the screen right now.

    `index` (which image) and `seed` (the noise) may be set from Python too, the mask and the codes through `set_mask`
    and `set_codes`; each change redraws. A change that the model refuses is told in `status`, over the original.
    """

    _esm = HERE / "explorer.js"
    _css = HERE / "explorer.css"
    size, size_px, n_images = (tl.Int().tag(sync=True) for _ in range(3))
    n_continuous, n_discrete, n_categories = (tl.Int().tag(sync=True) for _ in range(3))
    title, status = (tl.Unicode().tag(sync=True) for _ in range(2))
    thumbs = _binary()  # PNG, the pictures side by side
    original_rgb, completed_rgb, mask_bytes = _binary(), _binary(), _binary()  # H*W*3, H*W*3, H*W (0 or 1)
    code_values = tl.List(tl.Float()).tag(sync=True, echo_update=False)
    index, seed = tl.Int(0).tag(sync=True), tl.Int(0).tag(sync=True)
    failed = tl.Bool(False).tag(sync=True)
    tick = tl.Int(0).tag(sync=True, echo_update=False)  # the number of the browser's request
    answered = tl.Int(0).tag(sync=True)  # the last request that has its picture

    def __init__(self, gan, images, mask=None, size_px=384, limit=12, seed=0):
        missing = [name for name in NEEDS if not hasattr(gan, name)]
        if missing:
            raise RoiganError("explore() needs a model such as load_model() returns; "
                              f"this one lacks {', '.join(missing)}.")
        self._ready, self._shown, self._handle = False, None, None
        self.gan, self.images = gan, _take(images, gan.size, limit)
        thumb = min(gan.size, 64)
        strip = [Image.fromarray(p).resize((thumb, thumb), Image.LANCZOS) for p in to_uint8(self.images)]
        super().__init__(
            size=gan.size, size_px=size_px, n_images=len(self.images), seed=seed,
            title=str(getattr(gan, "name", "model")),
            n_continuous=gan.n_continuous, n_discrete=gan.n_discrete, n_categories=gan.n_categories,
            code_values=[0.0] * (gan.n_continuous + gan.n_discrete),
            thumbs=_png(Image.fromarray(np.concatenate([np.asarray(p) for p in strip], axis=1))))
        self.set_mask(_middle(gan.size) if mask is None else mask)
        self.on_msg(self._message)
        self._ready = True
        self._redraw()

    @property
    def mask(self):
        """The painted region, (1, 1, H, W) float32 in {0, 1}."""
        flat = torch.frombuffer(bytearray(self.mask_bytes), dtype=torch.uint8)
        return (flat != 0).float().view(1, 1, self.size, self.size)

    @property
    def codes(self):
        """The codes in use, (1, n_continuous + n_discrete) float32; the last columns hold category indices."""
        return torch.tensor([list(self.code_values)], dtype=torch.float32).view(1, self.n_continuous + self.n_discrete)

    @property
    def original(self):
        """The chosen picture, (1, 3, H, W) in [-1, 1]."""
        return self.images[self.index:self.index + 1]

    @property
    def completed(self):
        """The picture shown, (1, 3, H, W) in [-1, 1]: the model's completion, or the original if there is none."""
        return self._completed

    def set_mask(self, mask):
        """Take a region (H, W), (1, H, W) or (1, 1, H, W) of zeros and ones; a RoiganError otherwise."""
        mask = torch.as_tensor(mask).detach().cpu()
        if mask.numel() != self.size ** 2 or tuple(mask.shape[-2:]) != (self.size, self.size):
            raise RoiganError(f"The mask has shape {tuple(mask.shape)}: pass one of {self.size}x{self.size} pixels.")
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise RoiganError("The mask must hold only 0 (keep) and 1 (redraw): threshold it first.")
        self.mask_bytes = mask.reshape(-1).to(torch.uint8).numpy().tobytes()

    def set_codes(self, codes):
        """Take one row of codes, (k,) or (1, k): n_continuous values in [-1, 1], then category indices."""
        row = [float(v) for v in torch.as_tensor(codes, dtype=torch.float32).reshape(-1)]
        if len(row) != self.n_continuous + self.n_discrete:
            raise RoiganError(f"There are {len(row)} codes: the model takes {self.n_continuous} + {self.n_discrete}.")
        if any(not -1 <= v <= 1 for v in row[:self.n_continuous]):
            raise RoiganError("Continuous codes lie in [-1, 1]: clip them.")
        if any(v not in range(self.n_categories) for v in row[self.n_continuous:]):
            raise RoiganError(f"Discrete codes are category indices from 0 to {self.n_categories - 1}.")
        self.code_values = row

    @tl.validate("index")
    def _check_index(self, proposal):
        if not 0 <= proposal["value"] < len(self.images):
            raise RoiganError(f"There is no image {proposal['value']}: choose 0 to {len(self.images) - 1}.")
        return proposal["value"]

    @tl.observe("index", "seed", "mask_bytes", "code_values", "tick")
    def _redraw(self, change=None):
        if not self._ready:
            return
        asked = (self.index, self.seed, self.mask_bytes, tuple(self.code_values))
        with self.hold_sync():  # one message back, whatever changed
            if asked != self._shown:
                self._shown = asked
                self._complete()
            self.answered = self.tick

    def _complete(self):
        self._completed, self.failed, start = self.original, False, time.perf_counter()
        pixels = len(self.mask_bytes) - self.mask_bytes.count(0)
        if not pixels:
            self.status = "nothing painted yet: this is the original"
        else:
            try:
                self._completed = self._inpaint(self.original, self.mask, self.codes)
                self.status = f"mask {pixels:,} px, rendered in {1000 * (time.perf_counter() - start):.0f} ms"
            except Exception as error:  # a traceback from a comm message would go to a log that nobody reads
                self.failed = True
                known = isinstance(error, RoiganError)
                self.status = str(error) if known else f"the model failed: {type(error).__name__}: {error}"
        self.original_rgb, self.completed_rgb = to_uint8(self.original).tobytes(), to_uint8(self._completed).tobytes()

    @torch.no_grad()
    def _inpaint(self, images, masks, codes):
        return self.gan.inpaint(images, masks, codes=codes, seed=self.seed).detach().float().cpu()

    def _message(self, _, content, buffers):
        if content == "sheet" and self._handle is not None:
            self._handle.update({"image/png": self.sheet(), "text/plain": "contact sheet"}, raw=True)

    def sheet(self, rows=3):
        """The contact sheet as PNG bytes: original, masked, completed; below, the first codes from -1 to 1 in turn."""
        rows = min(rows, self.n_continuous)
        tile, head, gap, label = 64, 24, 6, 34
        big = 3 * tile + 2 * gap
        width, height = label + 3 * big + 4 * gap, head + big + 2 * gap + (rows and head + rows * (tile + gap))
        page = Image.new("RGB", (width, height), "white")
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
        masked = self.original * (1 - self.mask)
        pictures = {"original": self.original, "masked": masked, "completed": self.completed}
        for i, (name, image) in enumerate(pictures.items()):
            x = label + i * (big + gap)
            page.paste(Image.fromarray(to_uint8(image)[0]).resize((big, big), Image.BICUBIC), (x, head))
            draw.text((x, 4), name, fill="#444", font=font)
        top = head + big + gap
        for j, value in enumerate(torch.linspace(-1, 1, STEPS)) if rows else ():
            if j % 4 == 0:
                draw.text((label + j * (tile + gap) + tile / 2, top + head / 2), f"{value:+.0f}" if value else "0",
                          fill="#444", font=font, anchor="mm")
        if rows and bool(self.mask.any()) and not self.failed:
            codes = self.codes.repeat(rows * STEPS, 1)
            for row in range(rows):
                codes[row * STEPS:(row + 1) * STEPS, row] = torch.linspace(-1, 1, STEPS)
            # One at a time: in a batch each picture would get noise of its own, and only the code may differ.
            strip = to_uint8(torch.cat([self._inpaint(self.original, self.mask, code[None]) for code in codes]))
        else:
            strip = to_uint8(self.original).repeat(rows * STEPS, axis=0)
        for k, picture in enumerate(strip):
            row, step = divmod(k, STEPS)
            y = top + head + row * (tile + gap)
            page.paste(Image.fromarray(picture).resize((tile, tile), Image.LANCZOS), (label + step * (tile + gap), y))
            if step == 0:
                draw.text((label - 8, y + tile / 2), f"c{row + 1}", fill="#444", font=font, anchor="rm")
        return _png(page)

    def export_sheet(self, path):
        """Write the contact sheet to `path` (PNG) and return the path; a RoiganError if it cannot be written."""
        try:
            Path(path).write_bytes(self.sheet())
        except OSError as error:
            raise RoiganError(f"Cannot write the contact sheet to {path}: {error.strerror}.") from None
        return Path(path)

    def __repr__(self):
        return f"Explorer({self.title}, image {self.index + 1} of {self.n_images}; {self.status})"

    def _ipython_display_(self):
        from IPython.display import display
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        display({"text/plain": "The explorer needs a running kernel; its contact sheet follows.",
                 "application/vnd.jupyter.widget-view+json": view}, raw=True)
        self._handle = display({"image/png": self.sheet(), "text/plain": "contact sheet"}, raw=True, display_id=True)


def explore(gan, images, *, mask=None, size_px=384, limit=12, seed=0):
    """Explore a model by hand: paint the region on the picture, move its codes, see the completion at once.

    gan: any model with `inpaint(images, masks, codes=, seed=)`, `size`, `n_continuous`, `n_discrete`, `n_categories`.
    images: (n, 3, H, W) floats in [-1, 1] at the model's size, or an image set; the first `limit` are offered.
    mask: the region to begin with, (H, W) of zeros and ones, 1 = redraw; default: an ellipse over the face.
    size_px: width of the large picture on the screen, in pixels. seed: the noise to begin with.
    Returns an `Explorer`; displayed, it also leaves a contact sheet (PNG) for readers without a kernel.
    Raises RoiganError for pictures of another shape, size or value range, and for objects that are no such model.
    """
    return Explorer(gan, images, mask=mask, size_px=size_px, limit=limit, seed=seed)


class EyePicker(anywidget.AnyWidget):
    """What `pick_eyes` returns: `eyes` are the two points, ((x, y), (x, y)) in photo pixels, the left one first."""

    _esm = HERE / "eyes.js"
    picture = _binary()  # JPEG of at most shown_px in width
    photo_size = tl.List(tl.Int()).tag(sync=True)  # width, height in pixels
    shown_px = tl.Int(384).tag(sync=True)
    eye_points = tl.List(tl.List(tl.Float())).tag(sync=True)

    def __init__(self, photo, eyes, shown_px=384):
        height, width = photo.shape[:2]
        shown_px = min(shown_px, width)
        small = Image.fromarray(photo).resize((shown_px, max(1, round(height * shown_px / width))), Image.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=90)
        super().__init__(picture=buffer.getvalue(), photo_size=[width, height], shown_px=shown_px,
                         eye_points=[[float(v) for v in eye] for eye in eyes])

    @property
    def eyes(self):
        """((x, y), (x, y)) in photo pixels, the left one in the picture first."""
        return tuple(sorted(tuple(eye) for eye in self.eye_points))

    def __repr__(self):
        (a, b), (c, d) = self.eyes
        return f"EyePicker(eyes at {a:.0f}, {b:.0f} and {c:.0f}, {d:.0f})"


def pick_eyes(photo, eyes=None, shown_px=384):
    """Mark the two eyes on a photograph: click near one to move it, or move it with the arrows.

    photo: uint8 (H, W, 3), as `roigan_lib.photo.open_photo` gives it. eyes: where to begin; left out, the kit's detector
    looks for them, and where it finds no face they begin in the middle. Returns an `EyePicker`; its `eyes` go to
    `face_frame`.
    """
    from .photo import find_eyes
    if eyes is None:
        try:
            eyes = find_eyes(photo)
        except RoiganError:
            height, width = photo.shape[:2]
            eyes = ((0.4 * width, 0.45 * height), (0.6 * width, 0.45 * height))
    return EyePicker(photo, eyes, shown_px)
