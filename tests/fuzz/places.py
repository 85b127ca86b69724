"""What a path may lead to that is no plain file, and names of any bytes."""

from __future__ import annotations

import functools
import os
import socket
import stat
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import roigan_lib as rg
from roigan_lib.checks import check_folder, check_output
from roigan_lib.control.directions import load_directions
from roigan_lib.data import sources
from roigan_lib.data.synthfaces.reader import load_factor_net
from roigan_lib.files import read_rows, write_atomically
from roigan_lib.metrics import check_rows, load_rows, write_rows
from roigan_lib.picture_files import open_mask, save_photo
from roigan_lib.recipes import read_recipe

from .driver import Case

OUT = np.zeros((32, 32, 3), np.uint8)
READERS = {
    "open_photo": (rg.open_photo, ".png"),
    "load_mask": (rg.load_mask, ".png"),
    "open_mask": (lambda p: open_mask(p, 64, 64), ".png"),
    "find_eyes": (rg.find_eyes, ".png"),
    "save_photo(source": (lambda p: save_photo("o.png", OUT, p), ".png"),
    "load_model": (rg.load_model, ".safetensors"),
    "load_model of .pt": (rg.load_model, ".pt"),
    "load_model of .chkp": (rg.load_model, ".chkp"),
    "load_glcic": (rg.load_glcic, ".safetensors"),
    "load_glcic of .pth": (rg.load_glcic, ".pth"),
    "load_directions": (load_directions, ".safetensors"),
    "load_factor_net": (load_factor_net, ".safetensors"),
    "read_rows": (read_rows, ".jsonl"),
    "load_rows": (load_rows, ".jsonl"),
    "read_recipe": (read_recipe, ".toml"),
    "load_config(recipe": (lambda p: rg.load_config("smoke", recipe=p), ".toml"),
    "open_dataset(root": (lambda p: rg.open_dataset("folder", root=p), ".zip"),
    "celeba(root": (lambda p: rg.open_dataset("celeba", root=p), ".zip"),
    "cats(root": (lambda p: rg.open_dataset("cats", root=p), ".zip"),
    "cars(root": (lambda p: rg.open_dataset("cars", root=p), ".zip"),
    "data check": (lambda p: _told(sources.check("folder", p)), ".zip"),
    "data prepare": (lambda p: sources.prepare("folder", p, 16), ".zip"),
}
WRITERS = {
    "save_photo": (lambda p: save_photo(p, OUT), ".png"),
    "check_output": (check_output, ".png"),
    "write_rows": (lambda p: write_rows(p, []), ".jsonl"),
    "check_rows": (check_rows, ".jsonl"),
    "write_atomically": (lambda p: write_atomically(p, b""), ".bin"),
    "check_folder": (check_folder, ""),
}


FIT = ("missing", "a link to nothing", "an empty file", "a name of odd bytes",
       "a name with an escape")  # fmt: skip
FIT_FOLDER = ("missing", "a folder", "a name of odd bytes", "a name with an escape")


def _told(answer):
    ready, lines = answer
    assert not ready and lines
    raise rg.RoiganError(" ".join(lines))


def things(folder, ending):
    """{name: path} of what has a file's name and is none."""
    here = {
        "missing": folder / f"nothing{ending}",
        "a folder": folder / f"folder{ending}",
        "a pipe": folder / f"pipe{ending}",
        "a socket": folder / f"s{ending}",
        "a device": Path("/dev/zero"),
        "a terminal's device": Path("/dev/full"),
        "a link to nothing": folder / f"dangling{ending}",
        "a link to itself": folder / f"loop{ending}",
        "a link to a pipe": folder / f"piped{ending}",
        "an empty file": folder / f"empty{ending}",
        "below a file": folder / f"empty{ending}" / f"x{ending}",
        "a name of 300 letters": folder / ("x" * 300 + ending),
        "a name with a zero byte": f"{folder}/a\0b{ending}",
        "a name of odd bytes": Path(os.fsdecode(bytes(folder) + b"/\xff\xfe\n" + ending.encode())),
        "a name with an escape": folder / f"\x1b[31mred{ending}",
        "bytes": bytes(folder / f"nothing{ending}"),
        "an open file": open(os.devnull),
        "a number": 7,
        "another user's home": f"~nobody-here/x{ending}",
    }
    here["a folder"].mkdir(exist_ok=True)
    if not here["a pipe"].exists():
        os.mkfifo(here["a pipe"])
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(here["a socket"]))
        here["a link to nothing"].symlink_to(folder / "never")
        here["a link to itself"].symlink_to(here["a link to itself"])
        here["a link to a pipe"].symlink_to(here["a pipe"])
        here["an empty file"].touch()
    return here


def cases(folder):
    words = ("path", "file", "folder", "pipe", "device", "socket", "link", "empty", "there is no",
             "read", "bytes", "holds no", "written", "mib")  # fmt: skip
    for what, (call, ending) in READERS.items():
        place = folder / f"r{ending}"
        place.mkdir(exist_ok=True)
        for name, path in things(place, ending).items():
            if what in ("read_rows", "load_rows") and name == "an empty file":
                yield Case("place", f"{what}: {name}", lambda c=call, p=path: len(c(p)) == 0)
                continue
            yield Case("place", f"{what}: {name}", functools.partial(call, path), words)
    for what, (call, ending) in WRITERS.items():
        place = folder / f"w{ending}{what}"
        place.mkdir(exist_ok=True)
        for name, path in things(place, ending).items():
            if "device" in name:  # never the machine's own: the superuser might replace it
                path = _own_device(place / f"{len(name)}{ending}")
            fits = FIT_FOLDER if what == "check_folder" else FIT
            wanted = () if name in fits else words
            yield Case("output", f"{what}: {name}", functools.partial(call, path), wanted)
    array = functools.partial(sources.check, "folder", np.zeros((2, 3), bool))
    yield Case("place", "data check: an array", array, words)
    yield from folders(folder)


def _own_device(path):
    """A node of /dev/null in the folder, a pipe where this user may make none."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        os.mkfifo(path)
    return path


def picture(path, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(path, "PNG")
    return path


def folders(folder):
    """Folders of thirty pictures, and something beside them."""

    def filled(name, change):
        root = folder / name.replace(" ", "-") / "set"
        for i in range(30):
            picture(root / f"{i:02}.png", 3 * i)
        change(root)
        return root

    def opened(root, n, *words):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", ResourceWarning)
            data = rg.open_dataset("folder", "all", 16, root)
        text = " ".join(str(w.message) for w in told)
        assert len(data) == n, (len(data), text)
        assert all(word in text for word in words), text
        assert words or not text, text

    def bind(path):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.relpath(path))

    beside = {
        "a pipe": (lambda r: os.mkfifo(r / "p.png"), 30, "left out 1 of 31", "p.png", "pipe"),
        "a socket": (lambda r: bind(r / "s.png"), 30, "left out 1 of 31", "socket"),
        "a link to a device": (
            lambda r: (r / "d.png").symlink_to("/dev/zero"), 30, "left out 1 of 31", "device"),
        "a dangling link": (
            lambda r: (r / "d.png").symlink_to("no"), 30, "left out 1 of 31", "nothing"),
        "a link to itself": (
            lambda r: (r / "d.png").symlink_to("d.png"), 30, "left out 1 of 31", "d.png"),
        "a link to a picture": (lambda r: (r / "d.png").symlink_to("00.png"), 31),
        "a link to its own folder": (lambda r: (r / "d").symlink_to("."), 30),
        "two links in a ring": (
            lambda r: [(r / "a").mkdir(), (r / "a" / "b").symlink_to(r)], 30),
        "a link to a folder elsewhere": (
            lambda r: (r / "d").symlink_to(picture(folder / "else" / "e.png").parent), 31),
        "a folder named like a picture": (lambda r: (r / "x.png").mkdir(), 30),
        "pictures in a folder named like one": (lambda r: picture(r / "x.png" / "y.png"), 31),
        "hidden files": (lambda r: [picture(r / "._00.png"), picture(r / ".x" / "a.png")], 30),
        "names of odd bytes": (
            lambda r: picture(Path(os.fsdecode(bytes(r) + b"/\xff\xfe.png"))), 31),
        "a name of a line break": (lambda r: picture(r / "a\nb.png"), 31),
        "a name of an escape": (lambda r: picture(r / "\x1b[31m.png"), 31),
        "a damaged one of odd bytes": (
            lambda r: Path(os.fsdecode(bytes(r) + b"/\xff.png")).write_bytes(b"x"), 30,
            "left out 1 of 31"),
        "an empty picture": (lambda r: (r / "e.png").touch(), 30, "left out 1 of 31", "empty"),
        "endings in capitals": (lambda r: picture(r / "A.PNG"), 31),
        "a thousand hidden siblings": (
            lambda r: [(r / f".{i}.png").touch() for i in range(1000)], 30),
        "a file of other kind": (lambda r: (r / "notes.txt").write_text("x"), 30),
        "a zip": (lambda r: (r / "more.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18), 30),
        "a huge file": (lambda r: _sparse(r / "h.png", 2**40), 30, "left out 1 of 31", "MiB"),
    }  # fmt: skip
    for name, (change, n, *words) in beside.items():
        yield Case("folder", f"with {name}", lambda a=(name, change, n, words): opened(
            filled(a[0], a[1]), a[2], *a[3]))  # fmt: skip

    def many_bad():
        root = filled("half bad", lambda r: [(r / f"x{i}.png").write_bytes(b"x") for i in range(9)])
        rg.open_dataset("folder", "all", 16, root)

    yield Case("folder", "with nine damaged", many_bad, ("9 of 39",))

    def empty(name, call):
        root = folder / name / "set"
        root.mkdir(parents=True, exist_ok=True)
        call(root)

    for name, call in {
        "open_dataset": lambda r: rg.open_dataset("folder", root=r),
        "data prepare": lambda r: sources.prepare("folder", r, 16),
        "data check": lambda r: _told(sources.check("folder", r)),
        "celeba": lambda r: rg.open_dataset("celeba", root=r),
        "cats": lambda r: rg.open_dataset("cats", root=r),
        "cars": lambda r: rg.open_dataset("cars", root=r),
    }.items():
        yield Case(
            "folder", f"{name}, empty", functools.partial(empty, f"e-{name}", call), ("holds",)
        )

    def stays():
        """An output that cannot be written leaves what was there."""
        path = folder / "kept.jsonl"
        path.write_text('{"metric": "a", "value": 1}\n')
        try:
            write_rows(path, [{"metric": object()}])
        except rg.RoiganError:
            assert "metric" in path.read_text()
            raise

    yield Case("output", "rows that are no JSON", stays, ("row",))
    yield Case(
        "output",
        "rows that are no dictionaries",
        lambda: write_rows(folder / "n.jsonl", [5]),
        ("row",),
    )
    yield Case(
        "output", "rows that are no list", lambda: write_rows(folder / "n.jsonl", 5), ("row",)
    )
    picked = {"None": None, "floats": np.zeros((32, 32, 3)), "grey": OUT[..., 0], "'x'": "x",
              "empty": OUT[:0], "tensor": torch.zeros(3, 32, 32)}  # fmt: skip
    for name, value in picked.items():
        yield Case("output", f"save_photo of {name}", lambda v=value: save_photo("o.png", v),
                   ("picture",))  # fmt: skip


def _sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
