"""Archives: bombs, names that lead out, damaged directories, and what is no archive at all."""

from __future__ import annotations

import functools
import io
import struct
import tarfile
import warnings
import zipfile

import roigan_lib as rg
from roigan_lib.data import sources

from .driver import Case
from .pictures import png
from .places import _told, picture


def cases(folder):
    data = picture(folder / "p.png").read_bytes()
    words = ("archive", "zip", "pictures", "web page", "cut short", "holds", "empty")
    for n, (name, content) in enumerate(broken(data).items()):
        path = folder / f"broken{n}.zip"
        path.write_bytes(content)
        for what, call in {
            "open_dataset": lambda p: rg.open_dataset("folder", "all", 16, p),
            "celeba": lambda p: rg.open_dataset("celeba", "all", 16, p),
            "cats": lambda p: rg.open_dataset("cats", "all", 16, p),
            "cars": lambda p: rg.open_dataset("cars", "all", 16, p),
            "data check": lambda p: _told(sources.check("folder", p)),
            "data prepare": lambda p: sources.prepare("folder", p, 16),
        }.items():
            if (what, name) == ("data check", "a directory beyond the end"):
                continue  # it decodes nothing, and the name is there
            yield Case("archive", f"{what}: {name}", functools.partial(call, path), words)
    for n, (name, (entries, kept, *told)) in enumerate(odd(data).items()):
        path = folder / f"odd{n}.zip"
        _zip(path, {f"{i:02}.png": data for i in range(30)} | entries)
        yield Case(
            "archive", f"thirty pictures and {name}", functools.partial(_opened, path, kept, told)
        )
    yield Case("archive", "ten thousand entries", functools.partial(_many, folder / "many.zip"))


def _zip(path, entries):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of two entries of one name
        for name, content in entries.items():
            archive.writestr(name, content)


def _opened(path, kept, told):
    before = sorted(path.parent.rglob("*"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)
        data = rg.open_dataset("folder", "all", 16, path)
    text = " ".join(str(w.message) for w in caught)
    assert len(data) == kept and all(word in text for word in told), (len(data), text)
    assert sorted(path.parent.rglob("*")) == before, "something was unpacked"


def _many(path):
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(10_000):
            archive.writestr(f"notes/{i}.txt", b"")
        archive.writestr("a.png", picture(path.with_suffix(".png")).read_bytes())
    assert len(rg.open_dataset("folder", "all", 16, path)) == 1


def broken(data):
    """{name: bytes} of files named x.zip that hold no pictures to be had."""
    good = io.BytesIO()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("a.png", data)
    good = good.getvalue()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    end = good.rindex(b"PK\x05\x06")
    far = bytearray(good)
    far[end + 16 : end + 20] = struct.pack("<I", 2**32 - 2)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    notes = io.BytesIO()
    with zipfile.ZipFile(notes, "w") as archive:
        archive.writestr("notes.txt", "x"), archive.writestr("__MACOSX/a.png", data)
    return {
        "zero bytes": b"",
        "text": b"no archive\n",
        "a web page": b"<!DOCTYPE html><html>quota exceeded</html>",
        "a picture": data,
        "a tar.gz": tar.getvalue(),
        "cut in half": good[: len(good) // 2],
        "cut before its directory": good[:end],
        "a directory beyond the end": bytes(far),
        "no entry": empty.getvalue(),
        "no pictures": notes.getvalue(),
        "7z": b"7z\xbc\xaf'\x1c" + b"\0" * 64,
        "rar": b"Rar!\x1a\x07\x01\0" + b"\0" * 64,
    }


def odd(data):
    """{name: (entries, pictures that are left, words of the warning)}."""
    bomb = bytes(300 * 2**20)
    left = ("left out 1 of 31",)
    return {
        "nothing else": ({}, 30),
        "a name that leads out": ({"../../../../tmp/evil.png": data}, 31),
        "an absolute name": ({"/etc/evil.png": data}, 31),
        "a name of Windows": ({"C:\\evil\\x.png": data}, 31),
        "a name of 5,000 letters": ({"x" * 5000 + ".png": data}, 31),
        "a name of an escape": ({"\x1b[31m.png": data}, 31),
        "a name of a line break": ({"a\nb.png": b"x"}, 30, *left),
        "a name beyond ASCII": ({"Gesicht ä/日本.png": data}, 31),
        "an empty picture": ({"e.png": b""}, 30, *left),
        "a damaged picture": ({"e.png": data[:30]}, 30, *left),
        "a picture of 2**31 a side": ({"e.png": png(2**31 - 1, 2**31 - 1)}, 30, *left),
        "300 MB of zeros named as a picture": ({"z.png": bomb}, 30, *left, "MiB"),
        "300 MB of zeros": ({"z.bin": bomb}, 30),
        "an archive in it": ({"in.zip": b"PK\x05\x06" + b"\0" * 18}, 30),
        "hidden entries": ({"__MACOSX/._a.png": data, ".x/a.png": data}, 30),
        "folders": ({"d/": b"", "d/x.png/": b""}, 30),
    }
