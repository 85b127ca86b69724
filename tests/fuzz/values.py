"""Values as they reach a function when something went wrong before it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

NAN, INF = math.nan, math.inf


class Odd:
    """An object of the caller's own."""

    def __repr__(self):
        return "Odd()"


NOT_SEEDS = {
    "None": None, "1.5": 1.5, "3.0": 3.0, "'3'": "3", "''": "", "True": True, "-1": -1,
    "2**64": 2**64, "10**40": 10**40, "nan": NAN, "inf": INF, "[1]": [1], "[]": [], "{}": {},
    "(1, 2)": (1, 2), "b'1'": b"1", "1j": 1j, "Odd()": Odd(), "np.float64(3)": np.float64(3),
    "np.True_": np.True_, "np.arange(2)": np.arange(2), "torch.rand(2)": torch.rand(2),
    "torch.tensor(1.5)": torch.tensor(1.5), "torch.tensor(True)": torch.tensor(True),
    "np.int64(-1)": np.int64(-1), "int": int, "Path('3')": Path("3"),
}  # fmt: skip
SEEDS = {
    "np.int64(3)": np.int64(3), "np.uint8(3)": np.uint8(3), "np.array(3)": np.array(3),
    "torch.tensor(3)": torch.tensor(3), "np.int16(3)": np.int16(3),
}  # fmt: skip
NOT_COUNTS = {  # of things, from 1
    "None": None, "0": 0, "-1": -1, "1.5": 1.5, "2.0": 2.0, "'2'": "2", "''": "", "True": True,
    "nan": NAN, "inf": INF, "[2]": [2], "{}": {}, "2j": 2j, "Odd()": Odd(),
    "np.float32(2)": np.float32(2), "np.arange(2)": np.arange(2), "10**30": 10**30,
    "np.int64(-1)": np.int64(-1), "torch.rand(2)": torch.rand(2),
}  # fmt: skip
NOT_NAMES = {
    "None": None, "''": "", "' '": " ", "5": 5, "1.5": 1.5, "True": True, "[]": [], "['x']": ["x"],
    "{}": {}, "b'x'": b"x", "nan": NAN, "Odd()": Odd(), "'nonesuch'": "nonesuch",
    "'../celeba'": "../celeba", "'/nowhere/celeba'": "/nowhere/celeba", "'a\\0b'": "a\0b",
    "long": "x" * 5000, "np.arange(2)": np.arange(2), "torch.rand(2)": torch.rand(2),
    "'CELEBA'": "CELEBA ", "newline": "celeba\n", "'~/celeba'": "~/celeba", "'.'": ".",
    "surrogate": "\udcff",
}  # fmt: skip
NOT_NUMBERS = {
    "None": None, "'x'": "x", "'1'": "1", "''": "", "True": True, "nan": NAN, "inf": INF,
    "-inf": -INF, "[]": [], "[1.0]": [1.0], "{}": {}, "1j": 1j, "Odd()": Odd(), "b'1'": b"1",
    "np.arange(2)": np.arange(2), "torch.rand(2)": torch.rand(2),
}  # fmt: skip
NOT_DEVICES = {
    "'cudda'": "cudda", "'gpu'": "gpu", "''": "", "3.5": 3.5, "'cuda:99'": "cuda:99", "-1": -1,
    "True": True, "[]": [], "['cpu']": ["cpu"], "{}": {}, "b'cpu'": b"cpu", "'cpu:x'": "cpu:x",
    "'cpu '": "cpu ", "nan": NAN, "Odd()": Odd(), "'xla'": "xla", "'mps:9'": "mps:9",
    "'CPU'": "CPU", "np.array('cpu')": np.array("cpu"), "10**30": 10**30, "'meta'": "meta",
    "torch.rand(2)": torch.rand(2), "'a\\0b'": "a\0b", "'hpu'": "hpu", "'cuda:-1'": "cuda:-1",
}  # fmt: skip
