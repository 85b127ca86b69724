"""Files of text: recipes, rows, logs, stamps, notebooks, lists of labels and of splits, names."""

from __future__ import annotations

import functools
import json
import os

import numpy as np
import torch

import roigan_lib as rg
from roigan_lib import making
from roigan_lib.files import read_rows
from roigan_lib.metrics import check_rows, load_rows, write_rows
from roigan_lib.recipes import read_recipe
from roigan_lib.studies.pages import read_stamp, write_pages
from roigan_lib.studies.reproduce import list_notebooks

from .driver import Case
from .places import picture


def warm():
    import nbconvert  # noqa: F401


def cases(folder):
    yield from recipes(folder)
    yield from rows(folder)
    yield from stamps(folder)
    yield from lists(folder)
    yield from messages(folder)


def recipes(folder):
    deep = "a=" + "[" * 3000 + "]" * 3000
    files = {
        "no TOML": b"[model\n",
        "a byte order mark": b"\xff\xfe[model]\n",
        "bytes": bytes(range(256)),
        "a deep list": deep.encode(),
        "a number of 10,000 digits": b"[model]\nsize = " + b"9" * 10_000,
        "two megabytes": b"#" * 2**21,
        "a key twice": b"[model]\nsize = 64\nsize = 64\n",
        "an unknown table": b"[modle]\nsize = 64\n",
        "an unknown field": b"[model]\nsiez = 64\n",
        "a table that is a number": b"model = 5\n",
        "a table that is a list": b"[[model]]\nsize = 64\n",
        "weights that are a number": b"[objective]\nweights = 5\n",
        "weights that are a text": b'[objective]\nweights = "kl"\n',
        "an unknown weight": b"[objective.weights]\nkll = 1\n",
        "a weight of text": b'[objective.weights]\nkl = "x"\n',
        "a weight of NaN": b"[objective.weights]\nkl = nan\n",
        "a weight of infinity": b"[objective.weights]\nkl = inf\n",
        "a field of another type": b'[model]\nsize = "64"\n',
        "a field below 0": b"[optimisation]\nsteps = -5\n",
        "a date": b"[optimisation]\nsteps = 1979-05-27\n",
        "a base that is none": b'base = "nonesuch"\n',
        "a base that is a number": b"base = 5\n",
        "a base that leads out": b'base = "../../etc/passwd"\n',
        "a base that is a list": b'base = ["improved"]\n',
        "stages that are a table": b"[stages]\nname = 5\n",
        "stages of numbers": b"stages = [1, 2]\n",
        "a stage's table that is a number": b"[[stages]]\nmodel = 5\n",
        "a stage's weights that are a number": b"[[stages]]\nobjective = {weights = 5}\n",
        "a stage's unknown field": b"[[stages]]\nmodel = {siez = 5}\n",
        "an average that is a text": b'average = "a"\n',
        "an average of numbers": b"average = [5]\n",
        "a stretch that is a list": b"stretch = [1]\n",
        "a stretch of nothing told": b"[stretch]\nsmile = 1.5\n",
        "a stretch of text": b'[objective]\nlabels = "smile"\n[stretch]\nsmile = "x"\n',
        "a stretch of 9": b'[objective]\nlabels = "smile"\n[stretch]\nsmile = 9\n',
        "a profile that is a number": b"profile = 5\n",
        "a profile that is none": b'profile = "nonesuch"\n',
    }
    calls = {
        "stages": lambda p: (making.stages(p), making.stretch(p)),
        "recipe_hash": making.recipe_hash,
    }
    words = ("recipe", "holds", "table", "weigh", "size", "steps", "stretch", "profile", "kl is")
    for n, (name, data) in enumerate(files.items()):
        path = folder / f"r{n}.toml"
        path.write_bytes(data)
        for what, call in calls.items():
            yield Case("text", f"{what}: {name}", functools.partial(call, str(path)), words)
    ring = folder / "ring.toml"
    ring.write_text(f"base = {str(ring)!r}\n")
    yield Case("text", "a recipe that is its own base", lambda: read_recipe(ring), ("base",))
    for k in (0, 1):
        (folder / f"ring{k}.toml").write_text(f"base = {str(folder / f'ring{1 - k}.toml')!r}\n")
    yield Case(
        "text", "two recipes in a ring", lambda: read_recipe(folder / "ring0.toml"), ("base",)
    )
    (folder / "own.toml").write_text('base = "improved"\n[optimisation]\nsteps = 7\n')
    yield Case("text", "a right recipe by path", lambda: _steps(folder / "own.toml", 7))


def _steps(path, n):
    assert making.stages(path)[0][1].optimisation.steps == n


def rows(folder):
    files = {
        "no JSON": b"{\n",
        "a list": b"[]\n",
        "a number": b'{"a": 1}\n5\n',
        "bytes": b"\xff\xfe{}\n",
        "a deep list": b'{"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}\n",
        "cut in a line": b'{"a": 1}\n{"a": ',
        "zero bytes in it": b'{"a": 1}\n\0\0\0\0\n',
        "a number of 10,000 digits": b'{"a": ' + b"9" * 10_000 + b"}\n",
    }
    for n, (name, data) in enumerate(files.items()):
        path = folder / f"rows{n}.jsonl"
        path.write_bytes(data)
        for call in (read_rows, load_rows, check_rows, lambda p: write_rows(p, [])):
            what = getattr(call, "__name__", "").replace("<lambda>", "write_rows")
            yield Case("text", f"{what}: {name}", functools.partial(_whole, call, path, data),
            ("rows", "line"))  # fmt: skip
    odd = {"NaN": {"a": float("nan")}, "infinity": {"a": float("inf")},
    "numpy": {"a": np.float64(1)},
           "a long text": {"a": "x" * 10**6}, "odd characters": {"a": "\0\n\u2028ä"}}  # fmt: skip
    for n, (name, row) in enumerate(odd.items()):
        path = folder / f"odd{n}.jsonl"
        yield Case("text", f"a row of {name}", lambda p=path, r=row: _back(p, r))


def _whole(call, path, data):
    try:
        call(path)
    finally:
        assert path.read_bytes() == data, "rows were lost"


def _back(path, row):
    write_rows(path, [row])
    assert len(load_rows(path)) == 1


def stamps(folder):
    """What `reproduce` left beside a notebook, and notebooks, as other programs leave them."""
    contents = {"[]": b"[]", "null": b"null", "a number": b"5", "a text": b'"x"', "no JSON": b"{",
                "zero bytes": b"", "bytes": b"\xff\xfe", "a key of 5": b'{"key": 5}',
                "seconds of text":
                b'{"key": "a", "seconds": "x"}', "made of a list": b'{"made": [1]}', "a deep list":
                b"[" * 5000 + b"]" * 5000, "NaN": b'{"seconds": NaN}'}  # fmt: skip
    for n, (name, data) in enumerate(contents.items()):
        path = folder / f"stamp{n}.json"
        path.write_bytes(data)
        yield Case("text", f"read_stamp: {name}", lambda p=path: _stamp(p))
    for name, make in {"a folder": lambda p: p.mkdir(), "a pipe": os.mkfifo, "a link to nothing":
                       lambda p: p.symlink_to("no"),
                       "missing": lambda p: None}.items():  # fmt: skip
        path = folder / f"stamp-{name}.json"
        make(path)
        yield Case("text", f"read_stamp: {name}", lambda p=path: _stamp(p))
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": 1}
    book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    books = {"right": book, "no JSON": b"{", "a list": [], "a number": 5, "no cells": {},
    "cells of 5":
             book | {"cells": 5}, "a cell of 5": book | {"cells": [5]}, "a cell without source":
             book | {"cells": [{"cell_type": "code"}]},
             "an unknown kind of cell": book | {"cells": [
                 cell | {"cell_type": "odd"}]},
                 "outputs of 5": book | {"cells": [cell | {"outputs": 5}]},
             "an output of 5": book | {"cells": [cell | {"outputs": [5]}]}, "a newer format":
             book | {"nbformat": 99}, "zero bytes": b"", "bytes": b"\xff\xfe"}  # fmt: skip
    for n, (name, value) in enumerate(books.items()):
        place = folder / f"book{n}"
        place.mkdir()
        path = place / "01_x.ipynb"
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        yield Case("text", f"pages of a notebook: {name}", lambda p=path: _pages(p))
    yield Case("text", "a folder without notebooks", lambda: list_notebooks(folder / "none"),
               ("notebooks",))  # fmt: skip
    yield Case(
        "text", "a notebook that is none", lambda: list_notebooks(None, ["zz"]), ("notebook",)
    )


def _stamp(path):
    assert isinstance(read_stamp(path), dict)


def _pages(path):
    try:
        index = write_pages(path.parent, [path], "a title")
    except rg.RoiganError as error:
        assert "01_x" in str(error)
        return
    assert index.is_file()


def lists(folder):
    """What lies beside the pictures of a data set."""
    splits, labels = "list_eval_partition.txt", "list_attr_celeba.txt"
    files = {
        (splits, "empty"): "", (splits, "bytes"): b"\xff\xfe\0",
        (splits, "another's"): "a b c\n", (splits, "split 9"): "000001.jpg 9\n",
        (splits, "one is missing"): "000001.jpg 0\n",
        (labels, "empty"): "", (labels, "bytes"): b"\xff\xfe\0",
        (labels, "too few columns"): "3\nA B C\n000001.jpg 1 -1\n",
        (labels, "too many columns"): "1\nA\n000001.jpg 1 -1 1 1\n",
        (labels, "another's"): "a,b\n1,2\n", (labels, "one is missing"): "1\nA\n000001.jpg 1\n",
    }  # fmt: skip
    for n, ((file, name), text) in enumerate(files.items()):
        root = folder / f"celeba{n}"
        for i in (1, 2):
            picture(root / "img_align_celeba" / f"00000{i}.jpg")
        (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())
        call = lambda r=root: rg.open_dataset("celeba", "all", 16, r, "square")
        if file == splits:
            call = lambda r=root: rg.open_dataset("celeba", "train", 16, r, "square")
        yield Case("text", f"{file}: {name}", call, (file[:-4],))
    marks = {"empty": b"", "words": b"a b c d", "one eye": b"9 1 1", "NaN": b"9 nan nan nan nan",
             "infinity": b"9 inf 0 -inf 0", "1e300": b"9 0 0 1e300 0", "bytes": b"\xff\xfe",
             "far away":
             b"9 1e7 1e7 10000040 1e7", "eyes on one spot": b"9 5 5 5 5"}  # fmt: skip
    for n, (name, data) in enumerate(marks.items()):
        root = folder / f"cats{n}"
        (picture(root / "c.jpg").parent / "c.jpg.cat").write_bytes(data)
        yield Case("text", f".jpg.cat: {name}", lambda r=root: rg.open_dataset("cats", "all", 16,
        r),
                   ("holds no", "cannot be read", "landmarks"))  # fmt: skip
    annos = {"empty": b"", "text": b"x" * 200, "bytes": bytes(range(256)) * 9}
    annos["a head alone"] = b"MATLAB 5.0 MAT-file" + b" " * 109
    for n, (name, data) in enumerate(annos.items()):
        root = folder / f"cars{n}"
        picture(root / "cars_train" / "00001.jpg")
        (root / "cars_train_annos.mat").write_bytes(data)
        yield Case("text", f"annos.mat: {name}", lambda r=root: rg.open_dataset("cars", "all", 16,
        r),
                   ("annotation", "cannot be read"))  # fmt: skip


def messages(folder):
    """What a browser, or another's file of names, may send to the explorer."""
    gan = rg.load_model("synthfaces")
    explorer = rg.explore(gan, torch.zeros(2, 3, 64, 64))
    states = {
        "mask_bytes of text": {"mask_bytes": "AAAA"}, "short mask_bytes": {"mask_bytes": b"\1"},
        "no mask_bytes": {"mask_bytes": None}, "codes of text": {"code_values": ["a"] * 20},
        "no codes": {"code_values": []}, "codes of None": {"code_values": None}, "codes of NaN":
        {"code_values": [float("nan")] * 20}, "codes of 9": {"code_values": [9.0] * 20}, "index 99":
        {"index": 99}, "index -1": {"index": -1}, "index of text": {"index": "x"}, "seed -1":
        {"seed": -1}, "seed of text": {"seed": "x"}, "seed 2**70": {"seed": 2**70}, "names of 5":
        {"names": 5}, "names of a list": {"names": []},
        "a name of markup": {"names": {"c1": "<b>x" * 99}},
        "a name of none": {"names": {"zz": "smile"}}, "batch of text": {"batch": "yes"},
        "an unknown":
        {"nonesuch": 1}, "tick of text": {"tick": "x"}, "nothing": {}, "mask all 9":
        {"mask_bytes": b"\x09" * 4096},
    }  # fmt: skip
    for name, state in states.items():
        yield Case(
            "text", f"a message of the widget: {name}", lambda s=state: _answered(explorer, s)
        )
    for name, content in {"None": None, "5": 5, "a list": [], "text": "x", "nothing": {},
    "an unknown "
                          "kind": {"kind": "nonesuch"}, "a strip of 9": {"kind": "strip",
                          "code": 9},
                          "a strip of none": {"kind": "strip", "code": "zz"}}.items():  # fmt: skip
        yield Case("text", f"a question of the widget: {name}",
                   lambda c=content: explorer._message(explorer, c, []))  # fmt: skip


def _answered(explorer, state):
    explorer.set_state(dict(state))
    assert explorer.mask.shape == (1, 1, 64, 64) and explorer.codes.isfinite().all()
    assert explorer.completed.isfinite().all()
