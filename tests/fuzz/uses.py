"""Methods, models, scores, pictures and sweeps, as notebooks of one's own use them."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import torch

import roigan_lib as rg
from roigan_lib import control, metrics, photo, plots

from .arguments import each, scene
from .driver import Case
from .values import INF, NAN, Odd

NO_MODELS = {"None": None, "a name": "synthfaces", "5": 5, "[]": [], "{}": {}, "Odd()": Odd()}


def cases(folder):
    s = scene()
    yield from methods(s)
    yield from models(s, folder)
    yield from pictures(s, folder)
    yield from scores(s)


def methods(s):
    one = s.x[:1], s.m[:1]
    wrong = {
        "None": lambda i, m: None,
        "a tuple": lambda i, m: (i, m),
        "a list": lambda i, m: i.tolist(),
        "one": lambda i, m: i[:1],
        "bytes": lambda i, m: b"x",
        "numpy": lambda i, m: i.numpy(),
        "NaN": lambda i, m: i * NAN,
        "complex": lambda i, m: i.cfloat(),
        "wild": lambda i, m: i * 9,
        "raises": lambda i, m: 1 / 0,
        "no arguments": lambda: 0,
        "a generator": lambda i, m: iter(i),
        "int8": lambda i, m: (i * 100).to(torch.int8),
        "meta": lambda i, m: i.to("meta"),
        "a name": "synthfaces",
        "a module": photo,
        "5": 5,
    }
    call = lambda f: rg.compare({"mine": f}, s.x, s.m, diversity_images=1)
    yield from each("method", "compare of one that gives", wrong, call, "Method 'mine'")
    names = {
        "5": {5: s.calm},
        "''": {"": s.calm},
        "' '": {" ": s.calm},
        "None": {None: s.calm},
        "a list": [s.calm],
        "no method": {},
        "a model": s.gan,
    }
    yield from each("method", "compare, a name", names, lambda v: rg.compare(v, s.x, s.m), "name")

    def graded():
        """An answer that still has its gradient is scored as one without."""
        b = {"m": lambda i, m: i.clone().requires_grad_(), "c": s.calm}
        rows = rg.compare(b, s.x, s.m, diversity_images=1)
        of = {name: rows[rows["method"] == name]["value"].tolist() for name in b}
        assert of["m"] == of["c"]

    yield Case("method", "one with a gradient", graded)
    reaches = {
        "None": None,
        "'x'": "x",
        "nan": NAN,
        "inf": INF,
        "0": 0,
        "-1": -1,
        "True": True,
        "[1]": [1],
        "1e9": 1e9,
        "{}": {},
        "1j": 1j,
    }
    for what, call in {"inpaint": s.gan.inpaint, "generate": s.gan.generate}.items():
        given = lambda v, c=call: c(*one, reach=v)
        yield from each("codes", f"{what}(reach", reaches, given, "reach")
    for name, value in {"1e38": 1e38, "1e20": 1e20, "-2000": -2000.0}.items():
        noise = torch.full((1, s.gan.n_noise), value)
        call = lambda noise=noise: s.gan.inpaint(*one, None, 0, noise)
        yield Case("noise", f"inpaint(noise of {name}", call, ("noise",))


def models(s, folder):
    one, twin = (s.x[:1], s.m[:1]), rg.SelfEnsemble(s.gan)
    for what, call in {
        "SelfEnsemble": rg.SelfEnsemble,
        "inpaint_photo": lambda g: rg.inpaint_photo(g, s.picture, s.m[:1], s.frame),
        "visible_change_per_code": lambda g: control.visible_change_per_code(g, *one),
        "code_names": control.code_names,
        "explore": lambda g: rg.explore(g, s.x),
    }.items():
        yield from each("model", f"{what}(", NO_MODELS, call, "model")

    def copied(how, gan):
        assert torch.equal(how(gan).inpaint(*one, seed=3), gan.inpaint(*one, seed=3))

    hows = {"copy": copy.copy, "deepcopy": copy.deepcopy}
    hows["pickle"] = lambda gan: pickle.loads(pickle.dumps(gan))
    for name, how in hows.items():
        for kind, gan in {"RoIGAN": s.gan, "SelfEnsemble": twin}.items():
            yield Case("model", f"{name} of a {kind}", functools.partial(copied, how, gan))

    def elsewhere(call):
        with torch.device("meta"):
            call()

    for name, call in {
        "load_model": lambda: rg.load_model("synthfaces"),
        "sample_masks": lambda: rg.sample_masks("mixed", 2, 32),
    }.items():
        run = functools.partial(elsewhere, call)
        yield Case("model", f"{name}, torch's default device is meta", run, ("set_default_device",))
    cfg = rg.load_config("smoke", size=32, width=0.125, batch=4, perceptual_net="none", steps=1)
    data = rg.open_dataset("synthfaces", "test", 32, limit=8)
    train = functools.partial(rg.train, folder=folder / "run", data=data, progress=None, fresh=True)

    def within(context):
        with context():
            assert train(cfg).finished

    for name in ("no_grad", "inference_mode"):
        run = functools.partial(within, getattr(torch, name))
        yield Case("training", f"right: within {name}", run)
    changes = {
        "batch='x'": dict(batch="x"),
        "steps=-5": dict(steps=-5),
        "width=nan": dict(width=NAN),
        "size=63": dict(size=63),
        "lr_g=None": dict(lr_g=None),
    }
    call = lambda change: train(cfg.replace(**change))
    words = [name.partition("=")[0] for name in changes]
    yield from each("training", "train(a Config with", changes, call, *words)


def pictures(s, folder):
    sheet = functools.partial(plots.sheet, s.x)
    whole = {"None": None, "0": 0, "-1": -1, "'x'": "x", "1.5": 1.5, "nan": NAN, "[]": []}
    yield from each("drawing", "sheet(ncols", whole, lambda v: sheet(ncols=v), "ncols")
    scales = {"-1": -1, "nan": NAN, "'x'": "x", "10**9": 10**9, "1.5": 1.5}
    yield from each("drawing", "sheet(scale", scales, lambda v: sheet(scale=v), "scale")
    gaps = {"-5": -5, "'x'": "x", "None": None, "10**9": 10**9}
    yield from each("drawing", "sheet(gap", gaps, lambda v: sheet(gap=v), "gap")
    labels = {"5": 5, "'x'": "x", "['a']": ["a"]}
    for what in ("titles", "captions"):
        call = lambda v, what=what: sheet(**{what: v})
        yield from each("drawing", f"sheet({what}", labels, call, "labels")
    images = {
        "None": None,
        "[]": [],
        "'x'": "x",
        "5-d": s.x[None],
        "2 channels": s.x[:, :2],
        "Odd()": Odd(),
        "{}": {},
    }
    yield from each("drawing", "sheet(", images, plots.sheet, "pictures")
    more = {
        "masked(None": (lambda: plots.masked(s.x, None), "masks"),
        "masked(grey": (lambda: plots.masked(s.x, s.m, "x"), "grey"),
        "comparison_sheet(list": (lambda: plots.comparison_sheet(s.x, s.m, [s.x]), "method"),
        "traversal_sheet(None": (lambda: plots.traversal_sheet(None), "pictures"),
        "animation(seconds": (
            lambda: plots.animation([s.x] * 2, folder / "a.gif", seconds=-1),
            "seconds",
        ),
        "animation(ncols": (lambda: plots.animation([s.x] * 2, folder / "a.gif", 0), "ncols"),
        "animation(ragged": (lambda: plots.animation([s.x, s.x[:1]], folder / "a.gif"), "frames"),
        "curves(smooth": (lambda: plots.curves([{"step": 1, "a": 1.0}], ["a"], smooth=5), "smooth"),
        "bars(bare": (lambda: plots.bars([{"value": 1}]), "row"),
        "save(None": (lambda: plots.save(None, folder / "a.png"), "figure"),
        "source(5": (lambda: plots.source(5), "source"),
        "source(a name": (lambda: plots.source("x"), "source"),
        "Frame(huge": (lambda: photo.Frame(np.eye(3)[:2] * 1e30, 64), "matrix"),
        "mask_to_photo('9'": (lambda: photo.mask_to_photo(s.m[:1], s.frame, "9", 9), "width"),
        "mask_to_photo(huge": (lambda: photo.mask_to_photo(s.m[:1], s.frame, 9, 10**6), "height"),
    }
    for name, (call, word) in more.items():
        yield Case("drawing", name, call, (word,))
    gif = lambda: plots.animation([s.x] * 2, folder / "a.gif")
    yield Case("drawing", "right: an animation of a list", gif)


def scores(s):
    wrong = {
        "None": None,
        "'x'": "x",
        "one": s.x[:1],
        "small": s.x[..., ::2],
        "a list": [1],
        "numpy": s.x.numpy(),
    }
    for name in ("l1_hole", "psnr", "ssim", "border_ratio", "outside_change"):
        score = metrics.inpainting.METRICS[name]
        call = lambda v, f=score: f(v, s.x, s.m)
        yield from each("score", f"{name}(", wrong, call, "tensors")
    masks = {"'x'": "x", "small": s.m[..., ::2], "a list": [1]}
    for name in ("l1_hole", "border_ratio", "outside_change"):
        score = metrics.inpainting.METRICS[name]
        call = lambda v, f=score: f(s.x, s.x, v)
        yield from each("score", f"{name}(masks", masks, call, "tensors")
    ks = {"99": 99, "-1": -1, "'c1'": "c1", "None": None, "1.5": 1.5}
    yield from each("score", "ends(k", ks, lambda v: control.ends(s.gan, v), "k is")
    settings = {"None": None, "{}": {}, "texts": [["c1", 5]], "flat": [0.0] * 13, "Odd()": Odd()}
    call = lambda v: control.sweep(s.gan, s.x, s.m, v)
    yield from each("score", "sweep(settings", settings, call, "codes")
    call = lambda v: metrics.value(v, "a", "b", "c")
    yield from each(
        "rows", "value(", {"none": [], "None": None, "bare": [{"value": 1}]}, call, "row", "table"
    )
    call = lambda v: metrics.keep("x.jsonl", {"a": {"b": v}})
    yield from each("rows", "keep(", {"'x'": "x", "None": None, "Odd()": Odd()}, call, "numbers")
