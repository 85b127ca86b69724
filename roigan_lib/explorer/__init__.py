"""The explorer: paint the region on the picture, move the codes, see the completion (anywidget).

Browser and kernel share a few synchronised values; `explorer.js` sends a mask once per stroke and
holds further slider moves back until the kernel has answered, so that no stale picture is ever
computed. What is wanted once (the picture of other codes, the eyes in a photograph) is asked for,
and answered, by messages of its own.
"""

import inspect
import json
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

import anywidget
import numpy as np
import torch
import traitlets as tl

from ..checks import check_whole, numbers
from ..control import code_names, visible_change_per_code
from ..errors import RoiganError
from ..files import path_of, trouble, write_atomically
from ..masks import region
from ..photo import find_eyes, open_photo, paste
from ..plots import to_uint8
from . import pages, places
from .eyes import EyePicker, binary, pick_eyes

__all__ = ["EyePicker", "Explorer", "explore", "pick_eyes"]

HERE = Path(__file__).parent
VIEW = "store mask keep eyes explorer"  # the scripts of the view, each before those that need it
DARKROOM = "store files photo darkroom"  # and of its worker for photographs
TAKEN = 24  # photographs of the browser's
STEPS = 9  # pictures in a traversal row; three are as wide as a large picture of the contact sheet
BATCH = 9  # faces that one slider moves together, as in figure 4.5
DEAD = 0.005  # a visible change below it, 1.3 of 255 levels a pixel of the hole, is hard to see
PATIENCE = 5  # processor seconds for measuring the sliders; a slower model keeps its own order
SHEET = {"text/plain": "contact sheet"}
MIDDLE = (0.5, 0.56, 0.21, 0.25)  # the mask to begin with: an ellipse over eyes, nose and mouth


def script(parts):
    """Scripts of this folder as one, as a notebook needs them: without imports and exports."""
    texts = [(HERE / f"{part}.js").read_text(encoding="utf-8") for part in parts.split()]
    texts[:-1] = [re.sub(r"^export default .*\n", "", text, flags=re.M) for text in texts[:-1]]
    return re.sub(r"^import .*\n|^export (?!default)", "", "\n".join(texts), flags=re.M)


def _sweep(steps):
    return torch.linspace(-1, 1, steps).tolist()


def _words(values):
    """What stands above the pictures: categories as they are, other values with their sign."""
    if isinstance(values, range):
        return [str(value) for value in values]
    return [f"{value:+.2g}" if abs(value) > 1e-6 else "0" for value in values]


def _take(images, size, limit):
    """The first `limit` pictures as float32 (n, 3, size, size); a RoiganError where they are none.

    size None: the model does not say at what size it works; the pictures then have to be square.
    """
    if isinstance(images, (torch.Tensor, np.ndarray)):
        images = numbers("images", images)
        images = images[None] if images.ndim == 3 else images
        images = images[:limit] if images.ndim else images
    elif hasattr(images, "__len__") and not isinstance(images, (dict, set, str, bytes)):
        images = images[0 : min(limit, len(images))]
        if isinstance(images, (list, tuple)):
            images = [numbers("images", image) for image in images]
            if len({image.shape for image in images}) > 1:
                raise RoiganError("The images differ in shape: pass them all at the model's size.")
            images = torch.stack(images) if images else torch.empty(0, 3, 1, 1)
    if not isinstance(images, torch.Tensor):
        kind = type(images).__name__
        why = f"explore() takes a tensor (n, 3, H, W) or an image set, not {kind}."
    elif images.ndim != 4 or images.shape[1] != 3:
        why = f"Images have shape {tuple(images.shape)}: pass RGB pictures as (n, 3, H, W)."
    elif not len(images):
        why = "There is no image to explore: pass at least one."
    elif tuple(images.shape[2:]) != ((side := size or images.shape[2]), side):
        here = f"{images.shape[3]}x{images.shape[2]}"
        why = f"Images are {here} but the model works at {side}x{side}: resize them."
    elif not images.is_floating_point() or not ((images >= -1.001) & (images <= 1.001)).all():
        why = "Image values must be floats in [-1, 1]: scale bytes by `x / 127.5 - 1`."
    else:
        return images.float().cpu().clone()
    raise RoiganError(why)


def _names(images, n):
    """What the pictures are called: their files, where they have some, else their numbers."""
    files = getattr(images, "names", None) or []
    return [Path(str(name)).stem for name in files[:n]] or [f"Picture {i + 1}" for i in range(n)]


class Explorer(anywidget.AnyWidget):
    """What `explore` returns. `mask`, `codes`, `original`, `completed` are what is on the screen.

    `in_photo` pastes just that into the photograph that a frame took the picture from.

    `index` (which image), `seed` (the noise) and `batch` (the first nine images at once) may be set
    from Python too, the mask and the codes through `set_mask` and `set_codes`; each change redraws.
    A change that the model refuses is told in `status`, over the original. `names`, a dict {"c1":
    "smile"}, are the reader's: assign a whole one. `order` and `dead` (what moves nothing visible)
    are the codes as the screen lists them; they are measured once, on the first picture and mask.
    Continuous codes go to `reach`; training showed the model those up to 1. A photograph opened in
    the browser joins `images`; the file itself stays in the browser.
    """

    _esm = script(VIEW)
    _css = HERE / "explorer.css"
    size, size_px, n_images = (tl.Int().tag(sync=True) for _ in range(3))
    n_continuous, n_discrete, n_categories = (tl.Int().tag(sync=True) for _ in range(3))
    order, dead = (tl.List(tl.Unicode()).tag(sync=True) for _ in range(2))
    title, status = (tl.Unicode().tag(sync=True) for _ in range(2))
    reach = tl.Float(2.0).tag(sync=True)
    checkpoint = tl.Unicode(None, allow_none=True).tag(sync=True)
    image_names, eyes = (tl.List().tag(sync=True) for _ in range(2))
    regions = tl.Dict().tag(sync=True)  # {"mouth": [[x, y, half width, half height]]}, shares
    darkroom = tl.Unicode(script(DARKROOM)).tag(sync=True)  # the browser's worker for photographs
    thumbs = binary()  # PNG, the pictures side by side
    original_rgb, completed_rgb = binary(), binary()  # n*H*W*3, n = 1 or, in the batch view, to 9
    mask_bytes = binary()  # H*W (0 or 1)
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
        size, self._offered = self.images.shape[-1], len(self.images)
        counts = {n: getattr(gan, n, 0) for n in ("n_continuous", "n_discrete", "n_categories")}
        self.code_keys = code_names(SimpleNamespace(**counts))
        given = inspect.signature(gan.inpaint).parameters
        every = any(p.kind is p.VAR_KEYWORD for p in given.values())
        free = {"codes", "seed"} if every else set()  # without reach, codes end at 1
        self._takes = {"codes", "seed", "reach"} & given.keys() | free
        super().__init__(
            size=size,
            size_px=size_px,
            n_images=len(self.images),
            seed=seed,
            title=(title := str(getattr(gan, "name", "model"))),
            checkpoint=getattr(gan, "checkpoint_hash", None),
            image_names=_names(images, len(self.images)),
            eyes=places.eye_places(title, size),
            regions=places.regions(title, size),
            **counts,
            names=dict(getattr(gan, "slider_names", {})),
            reach=float(getattr(gan, "reach", 2.0)),
            code_values=[0.0] * len(self.code_keys),
            thumbs=pages.thumbs(self.images),
        )
        self.set_mask(region(size, *MIDDLE) if mask is None else mask)
        self.on_msg(self._message)
        self._ready = True
        self._redraw()
        self.order, self.dead = self._ranked(counts)
        self.moved = self.order[0] if self.order else ""

    def _ranked(self, counts):
        """The codes in the order of the screen, and those that move nothing visible.

        Continuous codes stand before discrete ones, those that the model names before others, then
        the larger visible change first. Python keeps the model's own order everywhere else, and so
        does the screen where the model fails or takes longer than PATIENCE.
        """
        told, until = getattr(self.gan, "slider_names", {}), time.thread_time() + PATIENCE

        def inpaint(images, masks, codes, seed):
            if time.thread_time() > until:
                raise TimeoutError
            return self._inpaint(images, codes, seed)

        if self.failed or not self.mask.any():
            return self.code_keys, []
        try:
            model = SimpleNamespace(inpaint=inpaint, **counts)
            change = visible_change_per_code(model, self.images[:1], self.mask)
        except Exception:  # the order is a comfort, no reason to refuse the model
            return self.code_keys, []
        order = sorted(self.code_keys, key=lambda key: (key[0], key not in told, -change[key]))
        return order, [key for key in order if change[key] < DEAD]

    @property
    def mask(self):
        """The painted region, (1, 1, H, W) float32 in {0, 1}."""
        flat = torch.frombuffer(bytearray(self.mask_bytes), dtype=torch.uint8)
        return (flat != 0).float().view(1, 1, self.size, self.size)

    @property
    def codes(self):
        """The codes in use, (1, n_continuous + n_discrete) float32, category indices last."""
        return torch.tensor([list(self.code_values)], dtype=torch.float32)

    @property
    def original(self):
        """The chosen picture, (1, 3, H, W); in the batch view the first nine, (9, 3, H, W)."""
        one = slice(self.index, self.index + 1)
        return self.images[slice(BATCH) if self.batch else one].clone()

    @property
    def completed(self):
        """What is shown, shaped as `original`: the completion, or the original where there is none.

        In the batch view each picture has noise of its own, as `inpaint` draws it for several.
        """
        return self._completed.clone()

    def set_mask(self, mask):
        """Take a region (H, W), (1, H, W) or (1, 1, H, W) of zeros and ones, or a RoiganError."""
        mask, side = numbers("mask", mask).cpu(), self.size
        if mask.numel() != side**2 or tuple(mask.shape[-2:]) != (side, side):
            raise RoiganError(
                f"The mask has shape {tuple(mask.shape)}: pass one of {side}x{side} pixels."
            )
        if not ((mask == 0) | (mask == 1)).all():
            raise RoiganError(
                "The mask must hold only 0 (keep) and 1 (redraw): threshold it first."
            )
        self.mask_bytes = mask.reshape(-1).to(torch.uint8).numpy().tobytes()

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
        """Take one row of codes, (k,) or (1, k): n_continuous up to `reach`, then categories."""
        self.code_values = self._checked_codes(codes)

    def _checked_codes(self, codes):
        row = numbers("codes", codes).float().flatten().tolist()
        n = self.n_continuous
        if len(row) != n + self.n_discrete:
            why = f"There are {len(row)} codes: the model takes {n} + {self.n_discrete}."
        elif any(not abs(v) <= self.reach for v in row[:n]):
            why = f"Continuous codes lie in [-1, 1], or up to {self.reach:g} beyond: clip them."
        elif any(v not in range(self.n_categories) for v in row[n:]):
            why = f"Discrete codes are category indices from 0 to {self.n_categories - 1}."
        else:
            return row
        raise RoiganError(why)

    def _checked_index(self, index):
        if not 0 <= index < len(self.images):
            raise RoiganError(f"There is no image {index}: choose 0 to {len(self.images) - 1}.")
        return index

    def _checked_names(self, names):
        for key, name in names.items():
            if key not in self.code_keys:
                raise self._no_code(key)
            if not isinstance(name, str) or not 0 < len(name.strip()) <= 40:
                raise RoiganError("The name of a code is a text of 1 to 40 characters.")
        return {key: " ".join(names[key].split()) for key in self.code_keys if key in names}

    def _no_code(self, code):
        return RoiganError(
            f"There is no code {code!r}: this model has {', '.join(self.code_keys) or 'none'}."
        )

    @tl.validate("index")
    def _check_index(self, proposal):
        return self._checked_index(proposal["value"])

    @tl.validate("names")
    def _check_names(self, proposal):
        return self._checked_names(proposal["value"])

    # ---- messages of the browser

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
        if "mask_bytes" in values:
            data, pixels = values["mask_bytes"], self.size**2
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise RoiganError(f"The mask came as {type(data).__name__}, not bytes.")
            if len(data := bytes(data)) != pixels or set(data) - {0, 1}:
                raise RoiganError(f"The mask has {len(data)} bytes: {pixels} of 0 or 1 are wanted.")
        self._checked_index(values.get("index", 0))
        self._checked_names(values.get("names", {}))
        self._checked_codes(values.get("code_values", self.code_values))

    def _message(self, _, content, buffers):
        """Answer what a button of the browser asks for, under the number of its question."""
        content = content if isinstance(content, dict) else {}
        answer, data = {"id": content.get("id")}, []
        try:
            more, data = self._answer(content["do"], content, buffers)
            answer |= more
        except Exception as error:
            answer["error"] = self._sentence(error)
        self.send(answer, data)

    def _answer(self, do, content, buffers):
        if do == "sheet" and self._handle is not None:
            self._handle.update({"image/png": self.sheet(), **SHEET}, raw=True)
        if do == "look":  # the pictures on the screen under other codes, and another seed
            codes, done = torch.tensor([self._checked_codes(content["codes"])]), self.original
            if self.mask.any():
                done = self._inpaint(done, codes, content["seed"])
            return {}, [to_uint8(done).tobytes()]
        if do == "find":
            return {"eyes": find_eyes(open_photo(bytes(buffers[0])))}, []
        if do == "take":
            self._take_picture(bytes(buffers[0]), str(content["name"]))
        return {}, []

    def _take_picture(self, data, name):
        """Join a picture, bytes of (S, S, 3), to the others, and choose it."""
        if len(data) != 3 * self.size**2:
            raise RoiganError(f"The picture has {len(data)} bytes: {3 * self.size**2} are wanted.")
        if len(self.images) >= self._offered + TAKEN:
            raise RoiganError(f"{TAKEN} photographs are open: run the cell again for more.")
        rgb = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(1, self.size, self.size, 3)
        self.images = torch.cat([self.images, rgb.permute(0, 3, 1, 2) / 127.5 - 1])
        with self.hold_sync():
            self.n_images, self.image_names = len(self.images), [*self.image_names, name[:100]]
            self.thumbs, self.batch = pages.thumbs(self.images), False
            self.index = len(self.images) - 1

    # ---- the picture

    @tl.observe("index", "seed", "batch", "mask_bytes", "code_values", "tick")
    def _redraw(self, change=None):
        if not self._ready:
            return
        asked = (self.index, self.seed, self.batch, self.mask_bytes, tuple(self.code_values))
        with self.hold_sync():  # one message back, whatever changed
            if change is not None and change.name == "code_values":
                codes = zip(self.code_keys, change.old, change.new)
                differ = [key for key, old, new in codes if old != new]
                self.moved = differ[0] if len(differ) == 1 else self.moved
            if asked != self._shown:
                self._shown = asked
                self._complete()
            self.answered = self.tick

    def _complete(self):
        self._completed, self.failed, start = self.original, False, time.perf_counter()
        pixels = len(self.mask_bytes) - self.mask_bytes.count(0)
        self.status = "nothing painted yet: this is the original"
        if pixels:
            try:
                self._completed = self._inpaint(self.original, self.codes)
                took = f"{1000 * (time.perf_counter() - start):.0f} ms"
                many = f"{len(self._completed)} pictures " if self.batch else ""
                self.status = f"mask {pixels:,} px, {many}rendered in {took}"
            except Exception as error:  # a traceback of a message goes to a log that nobody reads
                self.failed, self.status = True, self._sentence(error)
        self.original_rgb = to_uint8(self.original).tobytes()
        self.completed_rgb = to_uint8(self._completed).tobytes()

    @staticmethod
    def _sentence(error):
        if isinstance(error, RoiganError):
            return str(error)
        return f"the model failed: {type(error).__name__}: {error}"

    @torch.no_grad()
    def _inpaint(self, images, codes, seed=None):
        n = len(images)
        seed = self.seed if seed is None else seed
        offered = {"codes": codes.expand(n, -1), "seed": seed, "reach": self.reach}
        wanted = {name: offered[name] for name in self._takes}
        threads = torch.get_num_threads()
        # One core is the browser's: on two cores, threads that waited for each other there doubled
        # the time of an answer.
        torch.set_num_threads(max(1, min(threads, (os.cpu_count() or 2) - 1)))
        try:
            done = self.gan.inpaint(images, self.mask.expand(n, -1, -1, -1), **wanted)
        finally:
            torch.set_num_threads(threads)
        return done.detach().float().cpu()

    # ---- the names of the codes

    def _whose(self):
        return {
            "model": self.title,
            "checkpoint": getattr(self.gan, "checkpoint_hash", None),
            "n_continuous": self.n_continuous,
            "n_discrete": self.n_discrete,
        }

    def _names_file(self):
        content = {**self._whose(), "names": self.names}
        return json.dumps(content, indent=2, ensure_ascii=False).encode()

    def _take_names(self, data, file):
        mine = self._whose()
        try:
            content = json.loads(data)
            theirs, names = {key: content[key] for key in mine}, dict(content["names"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RoiganError(
                f"{file} is no complete file of names: write one by save_names()."
            ) from None
        # Weights may be renamed.
        same = [{**who, "model": who["checkpoint"] or who["model"]} for who in (mine, theirs)]
        if same[0] != same[1]:
            form = "{model} (checkpoint {checkpoint}, {n_continuous} + {n_discrete} codes)"
            theirs, mine = (form.format(**who) for who in (theirs, mine))
            raise RoiganError(f"The names in {file} belong to {theirs}, not to {mine}.")
        self.names = names

    def save_names(self, path):
        """Write the codes' names and whose they are to `path`; the path, or a RoiganError."""
        return write_atomically(path, self._names_file())

    def load_names(self, path):
        """Take the names that `save_names` wrote to `path` for this very model.

        RoiganError, and the names stay: a file that is missing, broken, or another model's.
        """
        path = path_of(path, "file of names")
        if (why := trouble(path, 2**20)) and why != "is empty":
            raise RoiganError(f"Cannot read the names in {path}: it {why}.")
        self._take_names(path.read_bytes(), path)

    # ---- pages to keep

    def _traverse(self, images, code, values):
        """A row for each of n images, one code over its values: uint8 (n, steps, H, W, 3)."""
        rows = []
        for value in values:  # a call each: in a batch each picture gets noise of its own
            codes = self.codes
            codes[0, self.code_keys.index(code)] = value
            rows.append(to_uint8(self._inpaint(images, codes)))
        return np.stack(rows, axis=1)

    def strip(self, code=None, steps=STEPS):
        """One code from end to end as PNG bytes; in the batch view a row for each face.

        code: "c1", or the name you gave it; None takes the one moved last. steps: pictures from -1
        to 1, 2 to 33; a discrete code shows each category once. RoiganError: no such code, another
        number of steps, nothing painted.
        """
        asked = self.moved if code is None else code
        named = {name: key for key, name in reversed(self.names.items())}
        code = asked if asked in self.code_keys else named.get(asked)
        if code is None:
            raise self._no_code(asked)
        if steps not in range(2, 34):
            raise RoiganError(f"A strip has 2 to 33 steps, not {steps}.")
        if not self.mask.any():
            raise RoiganError("Nothing is painted yet: paint a region to see what the code does.")
        values = _sweep(steps) if code[0] == "c" else range(self.n_categories)
        rows = self._traverse(self.original, code, values)
        title = f"{self.names[code]} ({code})" if code in self.names else code
        return pages.strip(title, _words(values), rows)

    def export_strip(self, path, code=None, steps=STEPS):
        """Write `strip(code, steps)` to `path` (PNG); the path, or a RoiganError."""
        return write_atomically(path, self.strip(code, steps))

    def sheet(self, rows=3):
        """The contact sheet as PNG: original, masked, completed; the first sliders, end to end."""
        rows = check_whole("rows", rows, 0)
        keys = [key for key in self.order if key[0] == "c" and key not in self.dead][:rows]
        image = self.images[self.index : self.index + 1]
        values = _sweep(STEPS) if keys else []
        if keys and self.mask.any() and not self.failed:
            strips = np.concatenate([self._traverse(image, key, values) for key in keys])
        else:
            strips = to_uint8(image)[:, None].repeat(STEPS, axis=1).repeat(len(keys), axis=0)
        masked = self.original * (1 - self.mask)
        shown = {"original": self.original, "masked": masked, "completed": self.completed}
        labels = [self.names.get(key, key) for key in keys]
        return pages.sheet(shown, _words(values), strips, labels)

    def export_sheet(self, path):
        """Write the contact sheet to `path` (PNG); the path, or a RoiganError."""
        return write_atomically(path, self.sheet())

    def __repr__(self):
        which = f"image {self.index + 1} of {self.n_images}"
        which = f"{len(self.original)} images at once" if self.batch else which
        return f"Explorer({self.title}, {which}; {self.status})"

    def _ipython_display_(self):
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        told = (
            "No explorer here? It lives in a running kernel: run this cell (in a notebook from "
            "elsewhere, trust it first). Its contact sheet follows."
        )
        display({"text/plain": told, "application/vnd.jupyter.widget-view+json": view}, raw=True)
        self._handle = display({"image/png": self.sheet(), **SHEET}, raw=True, display_id=True)


def explore(gan, images, *, mask=None, size_px=384, limit=12, seed=0) -> Explorer:
    """Explore a model by hand: paint the region on the picture, move its codes, see it completed.

    gan: any model with `inpaint(images, masks)`. It gets `codes` and `seed` if it takes them;
    `size`, `n_continuous`, `n_discrete` and `n_categories` tell its pixels and its codes, `name`
    and `checkpoint_hash` whose the names are. images: (n, 3, H, W) floats in [-1, 1] at the model's
    size, or an image set; the first `limit` are offered. mask: the region to begin with, (H, W) of
    zeros and ones, 1 = redraw; default: an ellipse over the face. size_px: width of the large
    picture on the screen, in pixels. seed: the noise to begin with. Returns an `Explorer`;
    displayed, it also leaves a contact sheet (PNG) for readers without a kernel. RoiganError:
    pictures of another shape, size or value range, and objects that are no such model.
    """
    return Explorer(gan, images, mask=mask, size_px=size_px, limit=limit, seed=seed)
