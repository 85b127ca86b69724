"""Fields of a configuration, weights of terms, recipes by override."""

from __future__ import annotations

import functools
from dataclasses import fields

import numpy as np

import roigan_lib as rg
from roigan_lib.config import WEIGHTS, Config
from roigan_lib.recipes import PARTS

from .driver import Case
from .values import INF, NAN, Odd

WRONG = {
    "int": {"None": None, "'3'": "3", "1.5": 1.5, "-1": -1, "nan": NAN, "inf": INF, "True": True,
            "[]": [], "10**30": 10**30, "Odd()": Odd(), "np.array": np.arange(2)},
    "float": {"None": None, "'3'": "3", "-1": -1.0, "nan": NAN, "inf": INF, "True": True, "[]": [],
              "1e300": 1e300, "1j": 1j, "Odd()": Odd()},
    "bool": {"None": None, "'yes'": "yes", "1": 1, "0.0": 0.0, "[]": [], "Odd()": Odd()},
    "str": {"None": None, "5": 5, "True": True, "[]": [], "''": "", "Odd()": Odd(), "nan": NAN,
            "'nonesuch'": "nonesuch"},
    "dict": {"None": None, "5": 5, "[]": [], "{'x': 1}": {"x": 1}},
    "str | None": {"5": 5, "True": True, "[]": [], "''": "", "Odd()": Odd(), "nan": NAN,
                   "'a\\0b'": "a\0b"},
}  # fmt: skip


def cases(folder):
    kinds = {f.name: f.type for part in PARTS for f in fields(getattr(Config(), part))}
    kinds |= dict.fromkeys(WEIGHTS, "float")
    for name, kind in kinds.items():
        for word, value in WRONG[kind].items():
            if (name, word) in {
                ("crop", "5"),
                ("dataset", "'nonesuch'"),
                ("mask_family", "'nonesuch'"),
            }:
                continue
            call = functools.partial(rg.load_config, "smoke", **{name: value})
            if name == "profile":
                call = functools.partial(rg.load_config, value)
            words = (name.replace("_", " "), name, "weights") if name != "seed" else ("seed",)
            yield Case("setting", f"load_config({name}={word}", call, words)
    for name, value in {
        "steps": np.int64(7),
        "lr_g": np.float32(0.5),
        "flip": np.True_,
        "batch": np.uint8(4),
        "width": np.float64(0.5),
        "info": np.int32(2),
    }.items():
        yield Case("setting", f"load_config({name}={value!r}", lambda n=name, v=value: _plain(n, v))
    yield Case("setting", "Config by hand", lambda: _by_hand(steps="x"), ("steps",))
    yield Case("setting", "Config of None", lambda: _by_hand(model=None), ("model",))
    cfg = rg.load_config("smoke")
    call = functools.partial(rg.load_config, "smoke", **{"x y" * 999: 1})
    yield Case("setting", "load_config(a name of 3,000 letters", call, ("parameter",))
    yield Case("setting", "replace(nonesuch)", lambda: cfg.replace(nonesuch=1), ("nonesuch",))


def _plain(name, value):
    """A number of numpy is taken, and kept as Python's, so that it can be written as JSON."""
    cfg = rg.load_config("smoke", **{name: value})
    found = {**vars(cfg.model), **vars(cfg.data), **vars(cfg.optimisation), **cfg.objective.weights}
    assert found[name] == value and type(found[name]) in (int, float, bool)
    assert cfg.hash()


def _by_hand(**changes):
    from dataclasses import replace

    from roigan_lib.config_checks import check_config

    if "model" in changes:
        check_config(replace(Config(), **changes))
    check_config(Config().replace(**changes))
