"""Trainings, rows of measurements, and what surrounds them: variables, torch's defaults, memory."""

from __future__ import annotations

import functools
import json
import os
from contextlib import contextmanager
from unittest.mock import patch

import torch

import roigan_lib as rg
from roigan_lib import files, making, metrics
from roigan_lib.data import sources
from roigan_lib.studies import reproduce

from .arguments import each, scene
from .commands import told
from .driver import Case
from .values import INF, NAN, Odd


def cases(folder):
    yield from trainings(folder)
    yield from rows(folder)
    yield from homes(folder)
    yield from defaults(folder)
    yield from memory(folder)


def trainings(folder):
    cfg = rg.load_config("smoke", size=32, width=0.125, batch=4, perceptual_net="none", steps=1)
    data = rg.open_dataset("synthfaces", "test", 32, limit=8)
    whole = rg.open_dataset("synthfaces", "test", limit=32)
    quiet = dict(data=data, progress=None, device="cpu")
    no_config = {"{}": {}, "[]": [], "0": 0, "False": False, "''": "", "5": 5, "'smoke'": "smoke",
                 "a dict": {"steps": 5}, "Odd()": Odd(), "Config": rg.Config}  # fmt: skip
    train = functools.partial(rg.train, folder=folder / "run")
    yield from each("training", "train(cfg", no_config, lambda v: train(v, **quiet), "cfg")
    no_path = {"5": 5, "0": 0, "''": "", "[]": [], "{}": {}, "True": True, "nan": NAN, "Odd()":
               Odd(), "'a\\0b'": "a\0b", "long": "x" * 5000}  # fmt: skip
    for what, call in {
        "train(folder": lambda v: rg.train(cfg, v, **quiet),
        "make(folder": lambda v: making.make("improved", v, "smoke", **quiet | dict(data=whole)),
        "reproduce(out": lambda v: reproduce.reproduce("smoke", out=v),
        "reproduce(notebooks": lambda v: reproduce.reproduce("smoke", notebooks=v),
    }.items():
        yield from each("training", what, no_path, call, "path", "folder")
    no_function = {"5": 5, "True": True, "'x'": "x", "[1]": [1], "1.5": 1.5, "Odd()": Odd()}
    for what in ("progress", "grid", "trainer"):
        call = lambda v, what=what: train(cfg, **quiet | {what: v})
        yield from each("training", f"train({what}", no_function, call, what)
    flags = {"None": None, "5": 5, "'no'": "no", "''": "", "[]": [], "1.0": 1.0}
    call = lambda v: train(cfg, fresh=v, **quiet)
    yield from each("training", "train(fresh", flags, call, "fresh")
    no_data = {"5": 5, "'x'": "x", "[]": [], "{}": {}, "tensor": data[:], "Odd()": Odd(), "0": 0}
    call = lambda v: train(cfg, **quiet | dict(data=v))
    yield from each("training", "train(data", no_data, call, "ImageSet")
    for name, given in {"progress": dict(progress=lambda text: None), "no progress": {}}.items():
        run = lambda given=given: train(cfg, fresh=True, **quiet | given)
        yield Case("training", f"right: {name}", run)


ROW = {"metric": "fid", "method": "a", "mask_law": "elliptic", "value": 1.5, "seed": 0}


def rows(folder):
    """Rows that lack what a table shows, or hold something else there."""
    lists = {
        "None": None,
        "5": 5,
        "'x'": "x",
        "{}": {},
        "[5]": [5],
        "[None]": [None],
        "Odd()": Odd(),
    }
    spoiled = {f"{k}={name}": [ROW | {k: value}] for k in ("metric", "method") for name, value in {
        "None": None, "5": 5, "[]": [], "{}": {}, "nan": NAN}.items()}  # fmt: skip
    spoiled |= {f"without {k}": [{n: v for n, v in ROW.items() if n != k}] for k in ("metric",
                "method")} | {"a bare row": [{"value": 1}], "an empty row": [{}]}  # fmt: skip
    numbers = {"'x'": "x", "[1]": [1], "{}": {}, "10**400": 10**400, "1j": 1j}
    spoiled |= {f"{k}={name}": [ROW | {k: v}] for k in ("value", "spread", "n_seeds") for name, v in
                numbers.items()}  # fmt: skip
    spoiled |= {f"{k}=[1]": [ROW | {k: [1]}] for k in ("seed", "train_seed", "recipe", "dataset")}
    laws = {"without mask_law": [{k: v for k, v in ROW.items() if k != "mask_law"}],
            "mask_law=5": [ROW | {"mask_law": 5}]}  # fmt: skip
    for what in ("over_seeds", "to_markdown", "pivot", "best"):
        bad = lists | spoiled | (laws if what != "over_seeds" else {})
        yield from each("rows", f"{what}(", bad, getattr(metrics, what), "row")
    yield from each("rows", "show(", lists, metrics.show, "rows")
    for name, values in {"NaN": (NAN, 1.0), "infinite": (INF, 1.0), "none": (None, 1.0)}.items():
        yield Case("rows", f"over_seeds, one {name}", lambda v=values: _mean_is_one(v))
    for name, text in {
        "a bare row": '{"value": 1}', "no law": '{"value": 1, "metric": "a", "method": "b"}',
        "a text": '{"value": "x", "metric": "a", "method": "b", "mask_law": "c"}',
        "a log": '{"step": 20, "l1_hole": 0.3}', "a list": "[1]", "no JSON": "x",
    }.items():  # fmt: skip
        path = folder / f"{name}.jsonl"
        path.write_text(text + "\n", "utf-8")
        call = functools.partial(told, "seeds", str(path))
        yield Case("rows", f"roigan seeds, {name}", call, ("row", "line"))
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n", "utf-8")
    yield Case("rows", "roigan seeds, right", functools.partial(told, "seeds", str(path)))


def _mean_is_one(values):
    found = metrics.over_seeds([ROW | {"value": v, "seed": k} for k, v in enumerate(values)])
    assert found["value"].tolist() == [1.0] and found["n_seeds"].tolist() == [1]


@contextmanager
def variables(**given):
    with patch.dict(os.environ, {k: str(v) for k, v in given.items()}):
        yield


def homes(folder):
    """`~` in a variable is the home, as it is in a shell; no path at all is one sentence."""
    home, s = folder / "home", scene()
    (home / "pictures").mkdir(parents=True)
    from PIL import Image

    for name in ("a", "b"):
        Image.fromarray(s.picture).save(home / "pictures" / f"{name}.png")

    def cache():
        with variables(HOME=home, ROIGAN_CACHE="~/cache"):
            assert files.cache_folder() == home / "cache" and (home / "cache").is_dir()

    def place(name):
        with variables(HOME=home, **{name: "~/there"}):
            assert files.place(name, "x") == home / "there"

    def data(root=None, **given):
        with variables(HOME=home, **given):
            assert len(rg.open_dataset("folder", "all", 16, root)) == 2
            assert sources.check("folder", root)[0]

    def kernels():
        """A notebook's kernel works in another folder than the command."""
        given = {n: f"~/{n}" for n in ("ROIGAN_RUNS", "ROIGAN_FIGURES", "ROIGAN_CACHE")}
        with variables(HOME=home, ROIGAN_DATA="relative", **given):
            found = reproduce.environment("smoke", "cats", folder)
        assert found["ROIGAN_DATA"] == os.path.abspath("relative")
        assert all(found[name] == str(home / name) for name in given)

    def sets():
        with variables(HOME=home, ROIGAN_DATA="~/pictures"):
            assert len(sources.table_4_1()) == 3

    yield Case("variable", "ROIGAN_CACHE=~/cache", cache)
    for name in ("ROIGAN_RUNS", "ROIGAN_FIGURES"):
        yield Case("variable", f"{name}=~/there", functools.partial(place, name))
    yield Case("variable", "ROIGAN_DATA=~/pictures", lambda: data(ROIGAN_DATA="~/pictures"))
    yield Case("variable", "root=~/pictures", lambda: data("~/pictures"))
    yield Case("variable", "of kernels", kernels)
    yield Case("variable", "table 4.1 of ~/pictures", sets)
    no_paths = {"~nobody-here/x": "~nobody-here/x", "long": "x" * 5000, "' '": " "}
    for shown, value in no_paths.items():
        for name in ("ROIGAN_CACHE", "ROIGAN_RUNS"):

            def call(name=name, value=value):
                with variables(**{name: value}):
                    return files.cache_folder() if name.endswith("CACHE") else files.place(name, "")

            yield Case("variable", f"{name}={shown}", call, (name,))


def defaults(folder):
    """Another default type of torch changes nothing: all is float32."""
    s, cfg = scene(), rg.load_config("smoke", size=32, width=0.125, batch=4, steps=1)

    @contextmanager
    def default(kind):
        torch.set_default_dtype(kind)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)

    def same(call, kind):
        wanted = call()
        with default(kind):
            found = call()
        assert found.dtype == wanted.dtype == torch.float32 and torch.equal(found, wanted)

    one = s.x[:2], s.m[:2]
    from roigan_lib.control.attributes import load_attribute_reader
    from roigan_lib.data.synthfaces.reader import load_factor_net

    calls = {
        "inpaint": lambda: s.gan.inpaint(*one, seed=3),
        "load_model": lambda: rg.load_model("synthfaces").inpaint(*one),
        "load_glcic": lambda: rg.load_glcic().inpaint(*one),
        "SelfEnsemble": lambda: rg.SelfEnsemble(s.gan).inpaint(*one),
        "factors": lambda: load_factor_net()(s.x)["continuous"],
        "attributes": lambda: load_attribute_reader()(s.x),
        "open_dataset": lambda: rg.open_dataset("synthfaces", "test", limit=4)[:],
    }
    for family in ("rectangular", "elliptic", "mixed", "elliptic+mixed"):
        calls[f"sample_masks {family}"] = lambda f=family: rg.sample_masks(f, 4, 32)
    for name, call in calls.items():
        for kind in (torch.float64, torch.float16):
            yield Case("default type", f"{name}, {kind}", functools.partial(same, call, kind))

    def trained():
        with default(torch.float64):
            rg.train(cfg, folder / "run", progress=None, device="cpu")

    yield Case("default type", "train", trained, ("float64",))


def memory(folder):
    """What takes more than there is says what to lower."""
    s = scene()
    many = s.x[:1].expand(2**17, -1, -1, -1)
    large = rg.load_config("smoke", width=16, perceptual_net="none")
    data = rg.open_dataset("synthfaces", "test", limit=32)
    train = lambda cfg: rg.train(cfg, folder / "run", data, progress=None, device="cpu")

    def out_of_memory(error):
        with patch.object(s.gan.generator, "decode", side_effect=error):
            s.gan.inpaint(s.x[:1], s.m[:1])

    def by_command(error):
        with patch("roigan_lib.stored.load_model", side_effect=error):
            told("inpaint", "x.png", "--out", str(folder / "x.png"))

    yield Case("memory", "inpaint", lambda: s.gan.inpaint(many, s.m[:1]), ("images",))
    yield Case("memory", "telea", lambda: rg.telea(many, s.m[:1]), ("images",))
    yield Case("memory", "sample_masks", lambda: rg.sample_masks("mixed", 2**12, 4096), ("n or",))
    yield Case("memory", "train, wide", lambda: train(large), ("batch",))
    said = RuntimeError("[enforce fail at alloc_cpu.cpp:113] DefaultCPUAllocator: can't allocate "
                        "memory: you tried to allocate 9 bytes.\n\n stack")  # fmt: skip
    errors = {"torch": said, "Python": MemoryError(), "GPU": torch.cuda.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB.")}  # fmt: skip
    for name, error in errors.items():
        call = functools.partial(out_of_memory, error)
        yield Case("memory", f"inpaint, {name}", call, ("lower",))
        yield Case("memory", f"roigan, {name}", functools.partial(by_command, error), ("lower",))
