"""The explorer: paint the region on the picture, move the codes, see the model's completion at once (anywidget).

Browser and kernel share a few synchronised values; `explorer.js` sends a mask once per stroke and holds further slider
moves back until the kernel has answered, so that no stale picture is ever computed. What is wanted once (a strip, a
file of names, the picture of another seed) is asked for, and answered, by messages of its own.
"""

import inspect
import io
import json
import os
import time
from pathlib import Path

import anywidget
import matplotlib
import numpy as np
import torch
import traitlets as tl
from PIL import Image, ImageDraw, ImageFont

from ..errors import RoiganError
from ..files import write_atomically
from ..masks import region
from ..photo import paste
from ..plots import to_uint8

HERE = Path(__file__).parent
STEPS = 9  # pictures in a traversal row; three of them are as wide as one large picture of the contact sheet
BATCH = 9  # faces that one slider moves together, as in figure 4.5
TILE, HEAD, GAP = (
    64,
    24,
    6,
)  # pixels of a small picture, a line of text and the room between pictures
INK = "#444"
MIDDLE = (0.5, 0.56, 0.21, 0.25)  # the mask to begin with: an ellipse over eyes, nose and mouth


def _binary(**metadata):
    # The browser's bytes arrive as a memoryview, which traitlets would drop in silence.
    return tl.Bytes(b"").tag(
        sync=True, echo_update=False, from_json=lambda value, widget: bytes(value), **metadata
    )


def _png(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()


def _font():
    # Pillow's own font has neither Cyrillic nor Greek, and the names on a sheet are the reader's.
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 12
    )


def _thumb(picture, side):
    return Image.fromarray(picture).resize(
        (side, side), Image.LANCZOS if side < len(picture) else Image.BICUBIC
    )


def _sweep(steps):
    return torch.linspace(-1, 1, steps).tolist()


def _signed(values):
    return [f"{value:+.2g}" if abs(value) > 1e-6 else "0" for value in values]


def _large(images):
    """One picture, or up to nine in rows of three, as wide as three small ones with their gaps."""
    pictures = to_uint8(images)
    side = 3 * TILE + 2 * GAP
    if len(pictures) == 1:
        return _thumb(pictures[0], side)
    page = Image.new("RGB", (side, side), "white")
    for k, picture in enumerate(pictures):
        page.paste(_thumb(picture, TILE), (k % 3 * (TILE + GAP), k // 3 * (TILE + GAP)))
    return page


def _traversal(page, left, top, values, rows, labels=()):
    """Put rows of small pictures, each uint8 (steps, H, W, 3), on a page: values above, each row's label before it."""
    draw, font = ImageDraw.Draw(page), _font()
    for step, value in enumerate(values):
        draw.text((left + step * (TILE + GAP) + TILE / 2, top + HEAD / 2), value, INK, font, "mm")
    for row, pictures in enumerate(rows):
        y = top + HEAD + row * (TILE + GAP)
        if labels:
            draw.text((left - 8, y + TILE / 2), labels[row], INK, font, "rm")
        for step, picture in enumerate(pictures):
            page.paste(_thumb(picture, TILE), (left + step * (TILE + GAP), y))


def _take(images, size, limit):
    """The first `limit` pictures as float32 (n, 3, size, size), or a RoiganError that says what is wrong.

    size None: the model does not say at what size it works; the pictures then have to be square.
    """
    if isinstance(images, (torch.Tensor, np.ndarray)):
        images = torch.as_tensor(images)
        images = images[None] if images.ndim == 3 else images
        images = images[:limit] if images.ndim else images
    elif hasattr(images, "__getitem__") and hasattr(images, "__len__"):
        images = images[0 : min(limit, len(images))]
        if isinstance(images, (list, tuple)):
            if any(
                getattr(image, "shape", None) != getattr(images[0], "shape", None)
                for image in images
            ):
                raise RoiganError("The images differ in shape: pass them all at the model's size.")
            images = [torch.as_tensor(image) for image in images]
            images = torch.stack(images) if images else torch.empty(0, 3, 1, 1)
    if not isinstance(images, torch.Tensor):
        raise RoiganError(
            f"explore() takes a tensor (n, 3, H, W) or an image set, not {type(images).__name__}."
        )
    if images.ndim != 4 or images.shape[1] != 3:
        raise RoiganError(
            f"Images have shape {tuple(images.shape)}: pass RGB pictures as (n, 3, H, W)."
        )
    if not len(images):
        raise RoiganError("There is no image to explore: pass at least one.")
    size = size or images.shape[2]
    if tuple(images.shape[2:]) != (size, size):
        raise RoiganError(
            f"Images are {images.shape[3]}x{images.shape[2]} but the model works at {size}x{size}: "
            "resize them."
        )
    if not images.is_floating_point() or not bool(((images >= -1.001) & (images <= 1.001)).all()):
        raise RoiganError("Image values must be floats in [-1, 1]: scale bytes by `x / 127.5 - 1`.")
    return images.detach().float().cpu()


class Explorer(anywidget.AnyWidget):
    """What `explore` returns. `mask`, `codes`, `original` and `completed` hold what is on the screen right now.

    `in_photo` pastes just that into the photograph that a frame took the picture from.

    `index` (which image), `seed` (the noise) and `batch` (the first nine images at once) may be set from Python too,
    the mask and the codes through `set_mask` and `set_codes`; each change redraws. A change that the model refuses is
    told in `status`, over the original. `names`, a dict {"c1": "smile"}, are the reader's: assign a whole one.
    """

    _esm = HERE / "explorer.js"
    _css = HERE / "explorer.css"
    size, size_px, n_images = (tl.Int().tag(sync=True) for _ in range(3))
    n_continuous, n_discrete, n_categories = (tl.Int().tag(sync=True) for _ in range(3))
    title, status = (tl.Unicode().tag(sync=True) for _ in range(2))
    thumbs = _binary()  # PNG, the pictures side by side
    original_rgb, completed_rgb = (
        _binary(),
        _binary(),
    )  # n*H*W*3, n = 1 or, in the batch view, up to 9
    mask_bytes = _binary()  # H*W (0 or 1)
    code_values = tl.List(tl.Float()).tag(sync=True, echo_update=False)
    index, seed = tl.Int(0).tag(sync=True), tl.Int(0).tag(sync=True)
    batch, failed = tl.Bool(False).tag(sync=True), tl.Bool(False).tag(sync=True)
    names = tl.Dict().tag(sync=True)
    moved = tl.Unicode().tag(sync=True)  # the code moved last, such as "c1"
    tick = tl.Int(0).tag(sync=True, echo_update=False)  # the number of the browser's request
    answered = tl.Int(0).tag(sync=True)  # the last request that has its picture

    def __init__(self, gan, images, mask=None, size_px=384, limit=12, seed=0):
        if not callable(getattr(gan, "inpaint", None)):
            raise RoiganError(
                "explore() needs a model such as load_model() returns; this one lacks inpaint."
            )
        self._ready, self._shown, self._handle = False, None, None
        self.gan, self.images = gan, _take(images, getattr(gan, "size", None), limit)
        size = self.images.shape[-1]
        continuous, discrete = getattr(gan, "n_continuous", 0), getattr(gan, "n_discrete", 0)
        self.code_keys = [f"c{i + 1}" for i in range(continuous)] + [
            f"d{i + 1}" for i in range(discrete)
        ]
        takes = inspect.signature(gan.inpaint).parameters.values()
        self._takes = [
            name
            for name in ("codes", "seed")
            if any(p.name == name or p.kind is p.VAR_KEYWORD for p in takes)
        ]
        thumb = min(size, TILE)
        strip = [_thumb(picture, thumb) for picture in to_uint8(self.images)]
        super().__init__(
            size=size,
            size_px=size_px,
            n_images=len(self.images),
            seed=seed,
            title=str(getattr(gan, "name", "model")),
            n_continuous=continuous,
            n_discrete=discrete,
            n_categories=getattr(gan, "n_categories", 0),
            names=dict(getattr(gan, "slider_names", {})),
            code_values=[0.0] * len(self.code_keys),
            moved=self.code_keys[0] if self.code_keys else "",
            thumbs=_png(Image.fromarray(np.concatenate([np.asarray(p) for p in strip], axis=1))),
        )
        self.set_mask(region(size, *MIDDLE) if mask is None else mask)
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
        return torch.tensor([list(self.code_values)], dtype=torch.float32).view(
            1, self.n_continuous + self.n_discrete
        )

    @property
    def original(self):
        """The chosen picture, (1, 3, H, W) in [-1, 1]; in the batch view the first nine of them, (9, 3, H, W)."""
        return self.images[:BATCH] if self.batch else self.images[self.index : self.index + 1]

    @property
    def completed(self):
        """What is shown, shaped as `original`: the model's completion, or the original where there is none.

        In the batch view each picture has noise of its own, as `inpaint` draws it for several.
        """
        return self._completed

    def set_mask(self, mask):
        """Take a region (H, W), (1, H, W) or (1, 1, H, W) of zeros and ones; a RoiganError otherwise."""
        self.mask_bytes = self._checked_mask(mask)

    def _checked_mask(self, mask):
        mask = torch.as_tensor(mask).detach().cpu()
        if mask.numel() != self.size**2 or tuple(mask.shape[-2:]) != (self.size, self.size):
            raise RoiganError(
                f"The mask has shape {tuple(mask.shape)}: pass one of {self.size}x{self.size} pixels."
            )
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise RoiganError(
                "The mask must hold only 0 (keep) and 1 (redraw): threshold it first."
            )
        return mask.reshape(-1).to(torch.uint8).numpy().tobytes()

    def in_photo(self, photo, frame):
        """The photograph with what is on the screen in it, uint8 (H, W, 3).

        photo, frame: those of `to_model(photo, frame)`, the picture explored. RoiganError: nothing
        painted, the batch view, a region that the model refused, another frame.
        """
        if self.batch or self.failed:
            why = "leave the batch view" if self.batch else self.status.rstrip(".")
            raise RoiganError(f"There is no drawing to paste: {why}.")
        return paste(photo, self.completed, self.mask, frame)

    def set_codes(self, codes):
        """Take one row of codes, (k,) or (1, k): n_continuous values in [-1, 1], then category indices."""
        self.code_values = self._checked_codes(codes)

    def _checked_codes(self, codes):
        row = [float(v) for v in torch.as_tensor(codes, dtype=torch.float32).reshape(-1)]
        if len(row) != self.n_continuous + self.n_discrete:
            raise RoiganError(
                f"There are {len(row)} codes: the model takes {self.n_continuous} + {self.n_discrete}."
            )
        if any(not -1 <= v <= 1 for v in row[: self.n_continuous]):
            raise RoiganError("Continuous codes lie in [-1, 1]: clip them.")
        if any(v not in range(self.n_categories) for v in row[self.n_continuous :]):
            raise RoiganError(
                f"Discrete codes are category indices from 0 to {self.n_categories - 1}."
            )
        return row

    @tl.validate("index")
    def _check_index(self, proposal):
        if not 0 <= proposal["value"] < len(self.images):
            raise RoiganError(
                f"There is no image {proposal['value']}: choose 0 to {len(self.images) - 1}."
            )
        return proposal["value"]

    @tl.validate("names")
    def _check_names(self, proposal):
        return self._checked_names(proposal["value"])

    def _checked_names(self, names):
        unknown = [key for key in names if key not in self.code_keys]
        if unknown:
            raise self._no_code(unknown[0])
        if not all(
            isinstance(name, str) and 0 < len(name.strip()) <= 40 for name in names.values()
        ):
            raise RoiganError("The name of a code is a text of 1 to 40 characters.")
        return {key: " ".join(names[key].split()) for key in self.code_keys if key in names}

    def _no_code(self, code):
        return RoiganError(
            f"There is no code {code!r}: this model has {', '.join(self.code_keys) or 'none'}."
        )

    def set_state(self, sync_data):
        """Take a message of the browser, or say in the status line why nothing of it is taken."""
        try:
            self._check_message(sync_data)
        except Exception as error:  # as in _complete: nobody reads the log
            with self.hold_sync():
                tick = sync_data.get("tick")
                self.tick = self.answered = tick if type(tick) is int else self.tick
                self.failed, self.status = True, f"not taken from the browser: {error}"
                self._shown = None
            self.send_state([key for key in sync_data if key in self.keys])  # the screen goes back
        else:
            super().set_state(sync_data)

    def _check_message(self, values):
        kinds = {"tick": int, "index": int, "seed": int, "batch": bool, "names": dict}
        for name, kind in kinds.items():
            if type(values.get(name, kind())) is not kind:
                raise RoiganError(f"{name} is {values[name]!r}, not of type {kind.__name__}.")
        if not 0 <= values.get("index", 0) < len(self.images):
            raise RoiganError(f"There is no image {values['index']}.")
        if "mask_bytes" in values:
            data, pixels = values["mask_bytes"], self.size**2
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise RoiganError(f"The mask came as {type(data).__name__}, not bytes.")
            if len(data := bytes(data)) != pixels or set(data) - {0, 1}:
                raise RoiganError(f"The mask has {len(data)} bytes: {pixels} of 0 or 1 are wanted.")
        if "code_values" in values:
            self._checked_codes(values["code_values"])
        if "names" in values:
            self._checked_names(values["names"])

    @tl.observe("index", "seed", "batch", "mask_bytes", "code_values", "tick")
    def _redraw(self, change=None):
        if not self._ready:
            return
        asked = (self.index, self.seed, self.batch, self.mask_bytes, tuple(self.code_values))
        with self.hold_sync():  # one message back, whatever changed
            if change is not None and change.name == "code_values":
                differ = [
                    key
                    for key, old, new in zip(self.code_keys, change.old, change.new)
                    if old != new
                ]
                self.moved = differ[0] if len(differ) == 1 else self.moved
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
                self._completed = self._inpaint(self.original, self.codes)
                many = f"{len(self._completed)} pictures " if self.batch else ""
                self.status = f"mask {pixels:,} px, {many}rendered in {1000 * (time.perf_counter() - start):.0f} ms"
            except (
                Exception
            ) as error:  # a traceback from a comm message would go to a log that nobody reads
                self.failed, self.status = True, self._sentence(error)
        self.original_rgb, self.completed_rgb = (
            to_uint8(self.original).tobytes(),
            to_uint8(self._completed).tobytes(),
        )

    @staticmethod
    def _sentence(error):
        return (
            str(error)
            if isinstance(error, RoiganError)
            else f"the model failed: {type(error).__name__}: {error}"
        )

    @torch.no_grad()
    def _inpaint(self, images, codes, seed=None):
        n = len(images)
        offered = {"codes": codes.expand(n, -1), "seed": self.seed if seed is None else seed}
        wanted = {name: offered[name] for name in self._takes}
        threads = torch.get_num_threads()
        # One core is the browser's: on two cores, threads that wait for each other there doubled the time of an answer.
        torch.set_num_threads(max(1, min(threads, (os.cpu_count() or 2) - 1)))
        try:
            return (
                self.gan.inpaint(images, self.mask.expand(n, -1, -1, -1), **wanted)
                .detach()
                .float()
                .cpu()
            )
        finally:
            torch.set_num_threads(threads)

    def _message(self, _, content, buffers):
        """Answer what a button of the browser asks for, under the number of its question."""
        answer, data = {"id": content.get("id")}, []
        try:
            if content["do"] == "sheet" and self._handle is not None:
                self._handle.update(
                    {"image/png": self.sheet(), "text/plain": "contact sheet"}, raw=True
                )
            elif content["do"] == "seed":
                image = self.images[self.index : self.index + 1]
                redrawn = (
                    self._inpaint(image, self.codes, content["seed"]) if self.mask.any() else image
                )
                data = [to_uint8(redrawn).tobytes()]
            elif content["do"] == "strip":
                data = [self.strip()]
            elif content["do"] == "save":
                data = [self._names_file()]
            elif content["do"] == "load":
                self._take_names(content["text"], content["file"])
        except Exception as error:
            answer["error"] = self._sentence(error)
        self.send(answer, data)

    def _whose(self):
        return {
            "model": self.title,
            "checkpoint": getattr(self.gan, "checkpoint_hash", None),
            "n_continuous": self.n_continuous,
            "n_discrete": self.n_discrete,
        }

    def _names_file(self):
        return json.dumps(
            {**self._whose(), "names": self.names}, indent=2, ensure_ascii=False
        ).encode()

    def _take_names(self, data, file):
        mine = self._whose()
        try:
            content = json.loads(data)
            theirs, names = {key: content[key] for key in mine}, dict(content["names"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RoiganError(
                f"{file} is no complete file of names: write one by save_names()."
            ) from None
        same = [
            {**who, "model": who["checkpoint"] or who["model"]} for who in (mine, theirs)
        ]  # weights may be renamed
        if same[0] != same[1]:
            theirs, mine = (
                "{model} (checkpoint {checkpoint}, {n_continuous} + {n_discrete} codes)".format(
                    **who
                )
                for who in (theirs, mine)
            )
            raise RoiganError(f"The names in {file} belong to {theirs}, not to {mine}.")
        self.names = names

    def save_names(self, path):
        """Write the names of the codes and whose they are to `path` (JSON); the path, or a RoiganError if it cannot."""
        return write_atomically(path, self._names_file())

    def load_names(self, path):
        """Take the names that `save_names` wrote to `path` for this very model.

        RoiganError, and the names stay: a file that is missing, broken, or another model's.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise RoiganError(f"Cannot read the names in {path}: {error.strerror}.") from None
        self._take_names(data, path)

    def _traverse(self, images, code, values):
        """One code over its values, all else as it is: a row for each of n images, uint8 (n, steps, H, W, 3)."""
        rows = []
        for value in values:  # a call each: in a batch each picture gets noise of its own, and only the code may differ
            codes = self.codes
            codes[0, self.code_keys.index(code)] = value
            rows.append(to_uint8(self._inpaint(images, codes)))
        return np.stack(rows, axis=1)

    def strip(self, code=None, steps=STEPS):
        """One code from end to end, all else as it is, as PNG bytes; in the batch view a row for each face.

        code: "c1", or the name you gave it; None takes the one moved last. steps: pictures from -1 to 1, 2 to 33; a
        discrete code shows each category once. RoiganError: no such code, another number of steps, nothing painted.
        """
        asked = self.moved if code is None else code
        code = (
            asked
            if asked in self.code_keys
            else next((k for k, name in self.names.items() if name == asked), None)
        )
        if code is None:
            raise self._no_code(asked)
        if steps not in range(2, 34):
            raise RoiganError(f"A strip has 2 to 33 steps, not {steps}.")
        if not self.mask.any():
            raise RoiganError(
                "Nothing is painted yet: paint a region, and the strip shows what the code does in it."
            )
        values = _sweep(steps) if code[0] == "c" else range(self.n_categories)
        rows = self._traverse(self.original, code, values)
        page = Image.new(
            "RGB", (len(values) * (TILE + GAP) + GAP, 2 * HEAD + len(rows) * (TILE + GAP)), "white"
        )
        title = f"{self.names[code]} ({code})" if code in self.names else code
        ImageDraw.Draw(page).text((GAP, HEAD / 2), title, INK, _font(), "lm")
        _traversal(page, GAP, HEAD, _signed(values) if code[0] == "c" else map(str, values), rows)
        return _png(page)

    def export_strip(self, path, code=None, steps=STEPS):
        """Write `strip(code, steps)` to `path` (PNG) and return the path; its RoiganErrors, or one if it cannot."""
        return write_atomically(path, self.strip(code, steps))

    def sheet(self, rows=3):
        """The contact sheet as PNG bytes: original, masked, completed; below, the first codes from -1 to 1 in turn."""
        keys, image = (
            self.code_keys[: min(rows, self.n_continuous)],
            self.images[self.index : self.index + 1],
        )
        labels, values = [self.names.get(key, key) for key in keys], _sweep(STEPS) if keys else []
        left = max([34] + [int(_font().getlength(label)) + 16 for label in labels])
        big = 3 * TILE + 2 * GAP
        page = Image.new(
            "RGB",
            (
                left + 3 * big + 4 * GAP,
                HEAD + big + 2 * GAP + (HEAD + len(keys) * (TILE + GAP) if keys else 0),
            ),
            "white",
        )
        pictures = {
            "original": self.original,
            "masked": self.original * (1 - self.mask),
            "completed": self.completed,
        }
        for i, (name, images) in enumerate(pictures.items()):
            page.paste(_large(images), (left + i * (big + GAP), HEAD))
            ImageDraw.Draw(page).text((left + i * (big + GAP), HEAD / 2), name, INK, _font(), "lm")
        if keys and bool(self.mask.any()) and not self.failed:
            strips = np.concatenate([self._traverse(image, key, values) for key in keys])
        else:
            strips = to_uint8(image)[:, None].repeat(STEPS, axis=1).repeat(len(keys), axis=0)
        _traversal(page, left, HEAD + big + GAP, _signed(values), strips, labels)
        return _png(page)

    def export_sheet(self, path):
        """Write the contact sheet to `path` (PNG) and return the path; a RoiganError if it cannot be written."""
        return write_atomically(path, self.sheet())

    def __repr__(self):
        which = (
            f"{len(self.original)} images at once"
            if self.batch
            else f"image {self.index + 1} of {self.n_images}"
        )
        return f"Explorer({self.title}, {which}; {self.status})"

    def _ipython_display_(self):
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        display(
            {
                "text/plain": "The explorer needs a running kernel; its contact sheet follows.",
                "application/vnd.jupyter.widget-view+json": view,
            },
            raw=True,
        )
        self._handle = display(
            {"image/png": self.sheet(), "text/plain": "contact sheet"}, raw=True, display_id=True
        )


def explore(gan, images, *, mask=None, size_px=384, limit=12, seed=0):
    """Explore a model by hand: paint the region on the picture, move its codes, see the completion at once.

    gan: any model with `inpaint(images, masks)`. It gets `codes` and `seed` if it takes them; `size`, `n_continuous`,
    `n_discrete` and `n_categories` tell its pixels and its codes, `name` and `checkpoint_hash` whose the names are.
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
        small = Image.fromarray(photo).resize(
            (shown_px, max(1, round(height * shown_px / width))), Image.LANCZOS
        )
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=90)
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


def pick_eyes(photo, eyes=None, shown_px=384):
    """Mark the two eyes on a photograph: click near one to move it, or move it with the arrows.

    photo: uint8 (H, W, 3), as `roigan_lib.photo.open_photo` gives it. eyes: where to begin; left out, the kit's detector
    looks for them, and where it finds no face they begin in the middle. Returns an `EyePicker`; its `eyes` go to
    `face_frame`.
    """
    from ..photo import find_eyes

    if eyes is None:
        try:
            eyes = find_eyes(photo)
        except RoiganError:
            height, width = photo.shape[:2]
            eyes = ((0.4 * width, 0.45 * height), (0.6 * width, 0.45 * height))
    return EyePicker(photo, eyes, shown_px)
