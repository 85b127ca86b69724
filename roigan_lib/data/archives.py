"""What lies under a root: a folder, a .zip archive, or a folder of archives read as one."""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
from pathlib import Path, PurePosixPath

from ..errors import RoiganError
from ..files import path_of, trouble
from .decode import BYTES

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
SUFFIXES += (".avif", ".heic", ".heif")  # read where Pillow reads them, else counted and named


class Files:
    """The files under a root, to be used in a `with`.

    `stamps` {path within the root: what changes with the content}; `pictures`, those of them that
    are pictures. In one of several archives a path begins with the archive's name and "!/".
    RoiganError, saying what to do: no root, a missing one, a damaged archive.
    """

    name = "folder"
    several = True  # a folder of archives is read as one

    def __init__(self, root=None):
        root = root if root is not None else os.environ.get("ROIGAN_DATA")
        if not root:
            raise RoiganError(
                f"the {self.name} data set needs a place to read: pass root='path/to/pictures' or "
                "set ROIGAN_DATA."
            )
        self.root, self._archives = path_of(root, "folder or archive"), {}
        if not self.root.exists():
            link = "; the link leads nowhere" if self.root.is_symlink() else ""
            raise RoiganError(
                f"there is no folder or archive {self.root}{link}: check root= or ROIGAN_DATA."
            )
        self.stamps = self._list() if self.root.is_dir() else self._open(self.root, "")
        self.pictures = {name: stamp for name, stamp in self.stamps.items() if _is_picture(name)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for archive in self._archives.values():
            archive.close()

    def _list(self):
        found, seen = {}, set()
        told = lambda error: warnings.warn(
            f"{error.filename} is left out, as it cannot be read: {error.strerror}.", stacklevel=6
        )
        for folder, below, names in os.walk(self.root, told, followlinks=True):
            place = os.stat(folder)
            if (place.st_dev, place.st_ino) in seen:  # by a link: it may lead in a ring
                below.clear()
                continue
            seen.add((place.st_dev, place.st_ino))
            below.sort()
            for path in (Path(folder, name) for name in names):
                name, stamp = path.relative_to(self.root).as_posix(), (0, 0)
                with contextlib.suppress(OSError):  # a dangling link counts as unreadable later
                    stamp = (path.stat().st_size, path.stat().st_mtime_ns)
                if not _hidden(name):
                    found[name] = stamp
        archives = sorted(name for name in found if name.lower().endswith(".zip"))
        if any(map(_is_picture, found)) or not archives:
            return found
        if not self.several:
            raise RoiganError(
                f"{self.root} holds no pictures but archives: pass one, such as "
                f"root='{self.root / archives[0]}'."
            )
        for name in archives:
            found |= self._open(self.root / name, name + "!/")
        return found

    def _open(self, path, prefix):
        if told := diagnose(path):
            raise RoiganError(told)
        try:
            archive = self._archives[prefix] = zipfile.ZipFile(path)
        except Exception:  # a damaged directory raises many types
            raise RoiganError(
                f"{path} is neither a folder nor a readable .zip archive: "
                "pass one that holds pictures."
            ) from None
        files = [i for i in archive.infolist() if not i.is_dir() and not _hidden(i.filename)]
        return {prefix + i.filename: (i.file_size, i.CRC) for i in files}

    def read(self, name):
        """The bytes of a file. ValueError: it is none, or holds more than BYTES."""
        start, mark, rest = name.rpartition("!/")
        archive, path = self._archives.get(start + mark), self.root / name
        if archive and archive.getinfo(rest).file_size > BYTES:
            raise ValueError(f"it holds more than {BYTES / 2**20:.0f} MiB")
        if not archive and (why := trouble(path, BYTES)):
            raise ValueError(f"it {why}")
        return archive.read(rest) if archive else path.read_bytes()

    def _part(self, name):
        """The bytes of a file that the set cannot do without. RoiganError: it cannot be read."""
        try:
            return self.read(name)
        except Exception as error:  # as many types as for pictures
            raise RoiganError(
                f"{name} under {self.root} cannot be read ({str(error)[:80]}): replace it."
            ) from None

    def find(self, end):
        """The shortest path that ends so (or as one of several) in lower case, or None."""
        names = (name for name in self.stamps if name.lower().endswith(end))
        return min(names, key=len, default=None)

    def text(self, stem):
        """The text of stem.txt, else of stem.csv, under the root or beside it; None: neither."""
        for end in (stem + ".txt", stem + ".csv"):
            if name := self.find(end):
                return self._part(name).decode("utf-8", "replace")
            if not trouble(beside := self.root.parent / end, BYTES):
                return beside.read_text("utf-8", errors="replace")
        return None


def diagnose(path):
    """What is wrong with an archive, or None: it is cut short, or a web page in its place."""
    if why := trouble(path, 2**63):
        return f"{path} {why}; pass an archive or a folder that holds pictures."
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<?xml")) or b"<html" in start:
        return (
            f"{path} is a web page, not an archive: the site answered with a page, often about a "
            "quota or a login; download the file in a browser and put it in this place."
        )
    if start.startswith(b"pk\x03\x04") and not zipfile.is_zipfile(path):
        return f"{path} is cut short: the download broke off; download it again."
    return None


def _is_picture(name):
    return name.lower().endswith(SUFFIXES)


def _hidden(name):
    parts = (part for part in PurePosixPath(name).parts if part != "..")
    return any(part.startswith((".", "__MACOSX")) for part in parts)
