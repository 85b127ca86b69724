"""Weight files: headers that ask for too much, cut and foreign files, malicious pickles."""

from __future__ import annotations

import copy
import functools
import io
import json
import os
import pickle
import struct
import zipfile
from dataclasses import asdict

import torch
from safetensors.torch import load, save

import roigan_lib as rg
from roigan_lib.baselines import load_glcic
from roigan_lib.checkpoint import read
from roigan_lib.control.directions import load_directions
from roigan_lib.data.synthfaces.reader import load_factor_net
from roigan_lib.files import WEIGHTS
from roigan_lib.models import networks

from .driver import Case

WORDS = ("safetensors", "checkpoint", "weights", "architecture", "layers", "holds", "empty",
"lacks",
         "damaged", "release", "training", "completion network", "directions",
         "factornet")  # fmt: skip


def parts(path):
    """The tensors and the header of a safetensors file."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return load(data), json.loads(data[8 : 8 + length])["__metadata__"]


class Evil:
    """Runs a program where a reader executes pickles."""

    def __reduce__(self):
        return os.system, ("touch evil-was-here",)


def cases(folder):
    yield from safetensors(folder)
    yield from pickles(folder)
    yield from checkpoints(folder)


def safetensors(folder):
    tiny = rg.load_config("smoke", size=32, width=0.125).model
    state = networks(tiny)[0](tiny).state_dict()
    header = {"format": "roigan-1", "config": json.dumps(asdict(tiny)), "card": "{}"}
    good = save(state, header)
    (folder / "good.safetensors").write_bytes(good)
    yield Case("weights", "a right one", lambda: _draws(folder / "good.safetensors"))

    def changed(**config):
        return save(state, header | {"config": json.dumps(asdict(tiny) | config)})

    first = next(iter(state))
    nan = state | {first: state[first] * float("nan")}
    cards = {"a list": "[]", "a text": '"x"', "labels of 5": '{"training": {"labels": 5}}',
    "shares "
             "of 0": '{"label_shares": [0, 1]}', "shares of text": '{"label_shares": ["a"]}',
             "images of text": '{"images_seen": "many"}', "training of 5": '{"training": 5}',
             "a deep one": "[" * 3000 + "]" * 3000, "no JSON": "{"}  # fmt: skip
    files = {
        "zero bytes": b"",
        "8 bytes": b"\0" * 8,
        "a header of 2**63 bytes": struct.pack("<Q", 2**63) + b"{}",
        "a header of 100 MB that is not there": struct.pack("<Q", 10**8) + b"{}",
        "text": b"no weights\n",
        "cut in half": good[: len(good) // 2],
        "cut by one byte": good[:-1],
        "longer by one byte": good + b"\0",
        "offsets beyond the end": _retensored(good, lambda t: t | {"data_offsets": [0, 2**40]}),
        "offsets below 0": _retensored(good, lambda t: t | {"data_offsets": [-5, 10]}),
        "a shape of 2**40": _retensored(good, lambda t: t | {"shape": [2**40]}),
        "a type that is none": _retensored(good, lambda t: t | {"dtype": "F99"}),
        "without a header": save(state),
        "of another format": save(state, header | {"format": "other"}),
        "without a configuration": save(state, {"format": "roigan-1", "card": "{}"}),
        "without a card": save(state, {k: v for k, v in header.items() if k != "card"}),
        "a configuration that is no JSON": save(state, header | {"config": "{"}),
        "a configuration that is a list": save(state, header | {"config": "[]"}),
        "ten million codes": changed(n_continuous=10_000_000),
        "ten million drop-downs": changed(n_discrete=10_000_000),
        "a million categories": changed(n_categories=1_000_000),
        "10**12 numbers of noise": changed(n_noise=10**12),
        "a width of 10,000": changed(width=10_000.0),
        "an encoder's width of 1e9": changed(encoder_width=1e9),
        "a width of 16": changed(width=16.0),
        "4,096 categories": changed(n_categories=4096, n_discrete=4096),
        "a size of 2**20": changed(size=2**20),
        "a size of 256": changed(size=256),
        "10**9 blocks": changed(refine=10**9),
        "a width of text": changed(width="wide"),
        "a width of NaN": changed(width=float("nan")),
        "codes of None": changed(n_continuous=None),
        "another architecture": changed(architecture="thesis"),
        "an architecture that is none": changed(architecture="../etc"),
        "an architecture of 5": changed(architecture=5),
        "a layer too few": save({k: v for k, v in state.items() if k != first}, header),
        "a layer too many": save(state | {"more": torch.zeros(3)}, header),
        "a layer of another shape": save(state | {first: torch.zeros(3)}, header),
        "no layer": save({}, header),
        "weights of NaN": save(nan, header),
        "weights of infinity": save(state | {first: state[first] / 0}, header),
        "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        "a zip": b"PK\x05\x06" + b"\0" * 18,
        "a GLCIC": (WEIGHTS / "glcic_celeba.safetensors").read_bytes(),
        "a FactorNet": (WEIGHTS / "factor_net.safetensors").read_bytes(),
    } | {f"a card that is {k}": save(state, header | {"card": v}) for k, v in cards.items()}
    calls = {"load_model": rg.load_model, "load_glcic": load_glcic, "load_directions":
             load_directions, "load_factor_net": load_factor_net}  # fmt: skip
    own = {"load_glcic": "a GLCIC", "load_factor_net": "a FactorNet"}
    for n, (name, data) in enumerate(files.items()):
        path = folder / f"w{n}.safetensors"
        path.write_bytes(data)
        for what, call in calls.items():
            if own.get(what) != name:
                yield Case("weights", f"{what}: {name}", functools.partial(call, path), WORDS)
    state, header = parts(WEIGHTS / "glcic_celeba.safetensors")
    card = json.loads(header["card"])
    for n, (name, change) in enumerate({
        "width 10,000": {"width": 1e4}, "width of text": {"width": "x"}, "a million dilations":
        {"dilations": [1] * 10**6}, "dilations of 10**9": {"dilations": [10**9] * 4},
        "a mean of two":
        {"mean": [0, 0]}, "a mean of NaN": {"mean": [float("nan")] * 3},
        "a size of -1": {"size": -1},
        "a size of text": {"size": "x"}, "no size": {"size": None},
    }.items()):  # fmt: skip
        path = folder / f"g{n}.safetensors"
        path.write_bytes(save(state, header | {"card": json.dumps(card | change)}))
        yield Case("weights", f"load_glcic: {name}", functools.partial(load_glcic, path), WORDS)


def _draws(path):
    gan = rg.load_model(path)
    x, m = torch.zeros(1, 3, gan.size, gan.size), rg.sample_masks("elliptic", 1, gan.size)
    assert gan.inpaint(x, m).isfinite().all()


def _retensored(data, change):
    """The file with the first tensor's entry in its header changed."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    first = next(k for k in header if k != "__metadata__")
    header[first] = change(header[first])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def pickles(folder):
    """What torch.save writes, or seems to."""

    def saved(value):
        out = io.BytesIO()
        torch.save(value, out)
        return out.getvalue()

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02]q\0.")
    huge = io.BytesIO()
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200 * 2**20))
    files = {
        "zero bytes": b"",
        "text": b"no checkpoint\n",
        "a pickle that runs a program": pickle.dumps(Evil()),
        "one in a checkpoint": saved({"format": "roigan-train-1", "ema": Evil()}),
        "an old pickle": pickle.dumps({"a": 1}, protocol=0),
        "a list": saved([1, 2]),
        "a tensor": saved(torch.zeros(3)),
        "an empty dictionary": saved({}),
        "another's dictionary": saved({"state_dict": {}}),
        "a release without layers": saved({"model": {}}),
        "a release's discriminator": saved({"model": {"head_local.0.weight": torch.zeros(1)}}),
        "a release of wrong layers": saved({"model": {"layer_1.spade_left.shared.weight": 5}}),
        "a training without parts": saved({"format": "roigan-train-1"}),
        "a training of nothing": saved({"format": "roigan-train-1", "ema": {}, "step": 1}),
        "a zip of a pickle": zipped.getvalue(),
        "a zip of 200 MB of zeros": huge.getvalue(),
        "cut in half": saved({"format": "roigan-train-1", "ema": torch.zeros(999)})[:700],
    }
    calls = {
        "load_model of .pt": (rg.load_model, ".pt"),
        "load_model of .chkp": (rg.load_model, ".chkp"),
        "load_glcic of .pth": (load_glcic, ".pth"),
        "train's checkpoint": (read, ".pt"),
    }
    for n, (name, data) in enumerate(files.items()):
        for what, (call, ending) in calls.items():
            path = folder / f"p{n}{ending}"
            path.write_bytes(data)
            yield Case("weights", f"{what}: {name}", functools.partial(_unrun, call, path), WORDS)
    (folder / "config.json").write_text("[")


def _unrun(call, path):
    try:
        call(path)
    finally:
        assert not os.path.exists("evil-was-here"), "a program was run"


def checkpoints(folder):
    """A training checkpoint that lacks a part, or has another in its place."""
    from roigan_lib.data import ImageSet

    pixels = torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8)
    data = ImageSet("small", "train", 32, pixels)
    cfg = rg.load_config("smoke", size=32, width=0.125, batch=4, steps=1, dataset="small")
    quiet = dict(data=data, progress=None)
    rg.train(cfg, folder / "run", **quiet)
    good = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
    more = cfg.replace(steps=2)
    n = 0
    for key in good:
        for what, value in {"missing": None, "of 5": 5, "of a list": [1], "empty": {}}.items():
            if key in ("started_from", "changed") or (key, what) in FINE:
                continue
            n += 1
            state = copy.copy(good)
            state.pop(key) if what == "missing" else state.update({key: value})
            run = folder / f"run{n}"
            run.mkdir()
            torch.save(state, run / "checkpoint.pt")
            yield Case("weights", f"train goes on: {key} {what}",
                       functools.partial(rg.train, more, run, **quiet),
                       WORDS + ("trained with",))  # fmt: skip


FINE = {(key, "empty") for key in ("reader", "heads", "classifier")}
FINE |= {
    (key, what) for key in ("heads", "classifier") for what in ("missing", "of 5", "of a list")
}
FINE |= {("step", "of 5"), ("seconds", "of 5")}
