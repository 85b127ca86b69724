"""Every command with arguments that cannot work."""

from __future__ import annotations

import contextlib
import functools
import io

import numpy as np
from PIL import Image

from roigan_lib import RoiganError
from roigan_lib.cli import main

from .driver import Case


def told(*argv):
    """Run a command; a RoiganError with its sentence where it exits by 2, else its status is 0."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(argv))
    text = err.getvalue()
    assert "Traceback" not in text and "Traceback" not in out.getvalue(), text
    if status == 2:
        first = text.strip().splitlines()[-1] if "error: " in text else ""
        if first.startswith("error: "):
            raise RoiganError(first.removeprefix("error: "))
        assert text.strip(), "a status without a word"
        raise RoiganError(f"The parser of the command line refused {argv[-2:]}.")
    if status == 1:
        raise RoiganError(" ".join((out.getvalue() + text).split())[-400:])
    assert status == 0, status


def cases(folder):
    photo = folder / "photo.png"
    grey = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    Image.fromarray(grey).save(photo)
    Image.fromarray(grey[:, :, 0] * 0).save(folder / "empty.png")
    (folder / "notes.txt").write_text("x")
    (folder / "file").write_text("x")
    p, out = str(photo), str(folder / "done.png")
    bad = {
        "inpaint": [
            ("nope.png",), (str(folder),), (str(folder / "notes.txt"),), ("",), ("/dev/zero",),
            (p, "--mask", "nope.png"), (p, "--mask", str(folder / "empty.png")), (p, "--mask", ""),
            (p, "--mask", str(folder)), (p, "--mask", str(folder / "notes.txt")),
            (p, "--model", "nonesuch"), (p, "--model", ""), (p, "--model", "runs/celeba"),
            (p, "--model", p), (p, "--model", str(folder)), (p, "--crop", "sqare"), (p, "--crop",
            ""),
            (p, "--crop", "-5"), (p, "--crop", "9999"), (p, "--crop", "thesis"), (p, "--eyes",
            "1,2"),
            (p, "--eyes", "a,b,c,d"), (p, "--eyes", "nan,1,2,3"), (p, "--eyes", "1,1,2,1"),
            (p, "--eyes", ""), (p, "--eyes", "1e9,0,1e9,50"), (p, "--eyes", "auto"),
            (p, "--eyes", "5,5,9"), (p, "--codes", "a"), (p, "--codes", "1,2"), (p, "--codes",
            "nan"),
            (p, "--codes", ""), (p, "--codes", ",,,"), (p, "--codes", "5," * 12 + "5"),
            (p, "--seed", "-1"), (p, "--seed", "x"), (p, "--seed", "1.5"), (p, "--seed",
            str(2**64)),
            (p, "--out", str(folder)), (p, "--out", "x.gif"), (p, "--out", "x"), (p, "--out", ""),
            (p, "--out", str(folder / "file" / "x.png")), (p, "--out", "/proc/x.png"),
            (p, "--device", "gpu"), (p, "--device", ""), (p, "--device", "cuda:99"),
            (p, "--device", "meta"), (p, "--nonesuch", "1"), (), (p, p),
        ],
        "compare": [
            ("--model", "nonesuch"), ("--dataset", "nonesuch"), ("--dataset", ""), ("--split", "x"),
            ("--root", "nowhere"), ("--root", ""), ("--dataset", "folder"), ("--n", "0"), ("--n",
            "-1"),
            ("--n", "x"), ("--n", "2"), ("--dims", "5"), ("--dims", "x"), ("--families", "x"),
            ("--families", ""), ("--families", ","), ("--seed", "-1"), ("--seed", "x"),
            ("--sheet", "x.jpg"), ("--sheet", str(folder)), ("--rows", str(folder)),
            ("--rows", str(folder / "notes.txt")), ("--device", "gpu"), ("--crop", "5"),
            ("--dataset", "folder", "--root", str(folder / "notes.txt")),
        ],
        "data": [
            (), ("check",), ("check", "nonesuch"), ("look", "celeba"), ("check", "celeba"),
            ("check", "folder", "--root", "nowhere"), ("check", "folder", "--root",
            str(folder / "file")),
            ("prepare", "folder"), ("prepare", "folder", "--root", ""), ("prepare", "nonesuch"),
            ("prepare", "folder", "--root", str(folder / "file")), ("download", "folder"),
            ("prepare", "folder", "--root", str(folder), "--size", "3"),
            ("prepare", "folder", "--root", str(folder), "--size", "x"),
            ("prepare", "folder", "--root", str(folder), "--crop", "x"), ("download", "nonesuch"),
        ],
        "train": [
            ("--profile", "x"), ("--recipe", "x"), ("--recipe", ""), ("--recipe",
            str(folder / "file")),
            ("--steps", "0"), ("--steps", "-5"), ("--steps", "x"), ("--batch", "0"), ("--lr-g",
            "-1"),
            ("--lr-g", "nan"), ("--size", "63"), ("--dataset", "x"), ("--dataset", "folder"),
            ("--root", "nowhere", "--dataset", "folder"), ("--seed", "-1"), ("--device", "gpu"),
            ("--out", str(folder / "file")), ("--out", ""), ("--width",
            "1e9"),
            ("--labels", "nonesuch"), ("--labels", "age,age"), ("--start", "nonesuch"),
            ("--labels", "smile", "--dataset", "nonesuch"), ("--start", str(folder / "file")),
            ("--crop", "x", "--dataset",
            "folder"), ("--mask-family", "x"), ("--precision", "fp8"), ("--nonesuch", "1"),
            ("extra",),
        ],
        "directions": [
            (), ("nonesuch",), ("synthfaces", "--root", "nowhere"), ("synthfaces", "--seed", "x"),
            ("synthfaces", "--out", "x.png"), ("synthfaces", "--out", str(folder)),
            ("synthfaces", "--dataset", "synthfaces", "--split", "test", "--count", "0"),
            ("synthfaces", "--dataset", "synthfaces", "--split", "test", "--n", "0"),
            ("synthfaces", "--dataset", "synthfaces", "--split", "test", "--samples", "1"),
            ("synthfaces", "--dataset", "synthfaces", "--split", "test", "--reach", "nan"),
        ],
        "photographs": [
            ("--celeba", "nowhere"), ("--n", "0"), ("--n", "x"), ("--dims", "7"), ("--seed", "-1"),
            ("--out", str(folder / "file")), ("--study", "-1"), ("--celeba", ""),
        ],
        "experiments": [
            ("--only", "nonesuch"), ("--steps", "0"), ("--seeds", "0"), ("--out", str(folder)),
            ("--celeba", "nowhere"), ("--steps", "x"), ("--only", ""),
        ],
        "page": [("--model", "nonesuch"), ("--out", str(folder / "file")), ("--runtime",
        "nowhere.tgz"),
                 ("--out", "")],
        "reproduce": [
            ("--profile", "x"), ("--dataset", "x"), ("--notebooks", "nowhere"), ("--only", "zz"),
            ("--out", str(folder / "file")), ("--dataset", "folder"), ("--profile", ""),
        ],
        "bench": [("--rows", str(folder)), ("--rows", str(folder / "notes.txt")), ("--rows", "")],
        "models": [("--nonesuch",), ("extra",)],
        "nonesuch": [(), ("--help-me",)],
        "": [()],
    }  # fmt: skip
    lines = (" ",)  # any sentence: what it names is the argument's own affair
    for command, lists in bad.items():
        for argv in lists:
            shown = " ".join((command, *(a.replace(str(folder), "…") or "''" for a in argv)))
            given = (command, *argv)
            if command == "inpaint" and "--out" not in argv and argv:
                given += ("--out", out)
            yield Case("command", shown[:90], functools.partial(told, *given), lines)
    for argv in (("inpaint", p, "--out", out), ("models",), ("inpaint", p, "--out", out, "--seed",
    "5",
                 "--codes", ",".join(["0"] * 13)), ("--help",), ("inpaint", "--help")):  # fmt: skip
        shown = " ".join(a.replace(str(folder), "…") for a in argv)
        yield Case("command", f"right: {shown}"[:90], functools.partial(told, *argv))
