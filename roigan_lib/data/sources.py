"""Getting data sets made of files: what is there, what is missing, and where to get it."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

from ..checks import check_name
from ..errors import RoiganError
from ..files import path_of
from . import FILES, open_dataset
from .archives import diagnose

UNFINISHED = (".part", ".crdownload", ".download", ".partial", ".tmp")


def counts(name, root):
    """{"train": n, "valid": n, "test": n} of the pictures of a data set under root, none decoded.

    A split that the set does not have is missing. RoiganError as for `open_dataset`.
    """
    with _kind(name)(root) as files:
        return files.counts()


def table_4_1(place=None):
    """Table 4.1, a row {data set, thesis train, thesis test, official, found} for each of its sets.

    place: a folder that holds them, under their names or one of them alone; $ROIGAN_DATA if left
    out. official and found are {split: pictures}, None where no official list or no such pictures
    exist. Counts files, decodes nothing.
    """
    place, rows = place or os.environ.get("ROIGAN_DATA"), []
    place = path_of(place, "folder") if place else None
    for name, kind in FILES.items():
        if kind.thesis:
            found = {}
            for root in (place / name, place) if place else ():
                with contextlib.suppress(RoiganError):  # nothing, or another data set lies there
                    found = found or counts(name, root)
            row = {"data set": name, "thesis train": kind.thesis[0], "thesis test": kind.thesis[1]}
            rows.append(row | {"official": kind.official or None, "found": found or None})
    return rows


def check(name, root=None):
    """(ready, lines): can a data set be opened, and what was found, is wrong and is to be done.

    name: celeba, cats, cars or folder; root: as for `open_dataset`. Decodes nothing.
    """
    kind, lines = _kind(name), []
    given = os.environ.get("ROIGAN_DATA") or os.devnull if root is None else root
    top = path_of(given, "folder or archive")
    for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
        if path.suffix in UNFINISHED:
            lines.append(f"{path} is a download that did not finish: let it go on, or remove it.")
        elif path.suffix == ".zip" and path.is_file() and (told := diagnose(path)):
            lines.append(told)
    try:
        with kind(root) as files:
            found, lacks = files.counts(), files.lacks()
    except RoiganError as error:
        return False, lines or [str(error), f"{kind.by_hand}."]
    if not found:
        return False, lines + [f"{top} holds no {kind.title}.", f"{kind.by_hand}."]
    lines.append(f"{top}: " + ", ".join(f"{n:,} {split}" for split, n in found.items()) + ".")
    for split, n in kind.official.items():
        if (there := found.get(split, 0)) != n:
            whole = "the set is not whole, and opens as it is"
            lines.append(f"{split}: {there:,} of the official {n:,}: {whole}.")
    return True, lines + lacks


def prepare(name, root=None, size=64, crop=None, say=print):
    """Decode every split into the cache, a line for each. RoiganError as for `open_dataset`."""
    for split, n in (counts(name, root) or {"all": 0}).items():  # "all" of none is refused
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kept = len(open_dataset(name, split, size, root, crop))
        say(f"{split}: {kept:,} of {n:,} pictures at {size}x{size}")
        for warning in caught:
            say(f"{split}: {warning.message}")


def download(name, root, say=print):
    """Fetch a data set's archives into the folder root; what is whole stays, what is not goes on.

    RoiganError where a set has no download, a site refuses, a connection breaks or a checksum
    differs.
    """
    kind = _kind(name)
    wanted = kind.downloads(lambda url: _opened(urllib.request.Request(url), kind))
    if not wanted:
        raise RoiganError(f"{name} has no download; {kind.by_hand}.")
    for url, md5, file in wanted:
        fetch(url, Path(root).expanduser() / file, md5, say, name)


def fetch(url, path, md5, say=print, name="folder"):
    """Download url to path through path.part, which a later call continues; checks the MD5 in hex.

    RoiganError, in one sentence, for everything that can go wrong on the way.
    """
    from torchvision.datasets.utils import calculate_md5

    path, kind = Path(path), _kind(name)
    part = path.with_name(path.name + ".part")
    if path.is_file() and calculate_md5(path) == md5:
        return say(f"{path} is already there.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.is_file() else 0
        headers = {"User-Agent": "roigan_lib"} | ({"Range": f"bytes={have}-"} if have else {})
        with _opened(urllib.request.Request(url, headers=headers), kind) as answer:
            if answer.status != 416:  # 416: the part is already whole
                if answer.headers.get_content_type() == "text/html":
                    raise RoiganError(
                        f"the site answered with a web page in place of {path.name}, as Google "
                        "Drive does when its quota for the day is spent: try again tomorrow, or "
                        f"{kind.by_hand}, and put it in {path.parent}."
                    )
                _receive(answer, part, have if answer.status == 206 else 0, say)
    except (OSError, KeyboardInterrupt) as error:
        got = part.stat().st_size if part.is_file() else 0
        stopped = isinstance(error, KeyboardInterrupt)
        why = "stopped" if stopped else f"the download of {path.name} broke off ({error})"
        raise RoiganError(
            f"{why} after {got / 2**20:,.1f} MB: the same command goes on from there."
        ) from None
    if calculate_md5(part) != md5:
        part.unlink()
        raise RoiganError(
            f"{path.name} came with another MD5 checksum than published, and was removed: run the "
            f"command again, or {kind.by_hand}."
        )
    os.replace(part, path)
    say(f"{path}: {path.stat().st_size / 2**20:,.1f} MB, checksum right.")


def _opened(request, kind):
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error
        trouble = f"the site refused {request.full_url} ({error.code} {error.reason}):"
    except urllib.error.URLError as error:
        trouble = f"{request.host} cannot be reached ({error.reason}): check the connection, or"
    raise RoiganError(f"{trouble} {kind.by_hand}.")


def _receive(answer, part, have, say):
    got, total = have, have + int(answer.headers.get("Content-Length") or 0)
    told = time.monotonic()
    with part.open("ab" if have else "wb") as file:
        while block := answer.read(2**20):
            file.write(block)
            got += len(block)
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"{part.name}: {got / 2**20:,.0f} of {total / 2**20:,.0f} MB")
    if got < total:
        raise OSError(f"{total - got:,} bytes are missing")


def _kind(name):
    return FILES[check_name("data set made of files", name, FILES)]
