"""Getting data sets made of files: what is there, what is missing, and where to get it."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

from ..errors import RoiganError
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
    for name, kind in FILES.items():
        if kind.thesis:
            found = {}
            for root in (Path(place) / name, Path(place)) if place else ():
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
    place = os.environ.get("ROIGAN_DATA") if root is None else root
    top = Path(place or os.devnull).expanduser()  # nothing there: opening says so
    for path in [top] if top.is_file() else sorted(top.rglob("*")):
        if path.suffix in UNFINISHED:
            lines.append(f"{path} is a download that did not finish: let it go on, or remove it.")
        elif path.suffix == ".zip" and path.is_file() and (trouble := diagnose(path)):
            lines.append(trouble)
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
    """Decode every split into the cache, {split: ImageSet}; `say` gets a line for each of them.

    Files that cannot be read are named in a line. RoiganError as for `open_dataset`.
    """
    found = {}
    for split, n in counts(name, root).items():
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = found[split] = open_dataset(name, split, size, root, crop)
        took = time.perf_counter() - start
        say(
            f"{split}: {len(data):,} of {n:,} pictures at {size}x{size}, {len(data) / took:,.0f} a "
            f"second, {took:.1f} s"
        )
        for warning in caught:
            say(f"{split}: {warning.message}")
    return found


def download(name, root, say=print):
    """Fetch a data set's archives into the folder root; what is whole stays, what is not goes on.

    Returns the paths. RoiganError where a set has no download, a site refuses, a connection breaks
    or a checksum differs.
    """
    kind, root = _kind(name), Path(root).expanduser()
    wanted = kind.downloads(lambda url: _opened(urllib.request.Request(url), name))
    if not wanted:
        raise RoiganError(f"{name} has no download; {kind.by_hand}.")
    return [fetch(url, root / file, md5, say, name) for url, md5, file in wanted]


def fetch(url, path, md5=None, say=print, name="folder"):
    """Download url to path through path.part, which a later call continues; checks the MD5 in hex.

    Returns the path. RoiganError, in one sentence, for everything that can go wrong on the way.
    """
    from torchvision.datasets.utils import calculate_md5

    path = Path(path)
    part, by_hand = path.with_name(path.name + ".part"), _kind(name).by_hand
    if path.is_file() and (md5 is None or calculate_md5(path) == md5):
        say(f"{path} is already there.")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.is_file() else 0
        headers = {"User-Agent": "roigan_lib"} | ({"Range": f"bytes={have}-"} if have else {})
        with _opened(urllib.request.Request(url, headers=headers), name) as answer:
            if answer.status != 416:  # 416: the part is already whole
                if answer.headers.get_content_type() == "text/html":
                    raise RoiganError(
                        f"the site answered with a web page in place of {path.name}, as Google "
                        "Drive does when its quota for the day is spent: try again tomorrow, or "
                        f"{by_hand}, and put it in {path.parent}."
                    )
                _receive(answer, part, have if answer.status == 206 else 0, say)
    except (OSError, KeyboardInterrupt) as error:
        got = part.stat().st_size if part.is_file() else 0
        stopped = isinstance(error, KeyboardInterrupt)
        why = "stopped" if stopped else f"the download of {path.name} broke off ({error})"
        raise RoiganError(
            f"{why} after {got / 2**20:,.1f} MB: the same command goes on from there."
        ) from None
    if md5 is not None and calculate_md5(part) != md5:
        part.unlink()
        raise RoiganError(
            f"{path.name} came with another MD5 checksum than published, and was removed: run the "
            f"command again, or {by_hand}."
        )
    os.replace(part, path)
    say(f"{path}: {path.stat().st_size / 2**20:,.1f} MB" + (", checksum right." if md5 else "."))
    return path


def _opened(request, name):
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.URLError as error:
        if getattr(error, "code", None) == 416:
            return error
        if isinstance(error, urllib.error.HTTPError):
            trouble = f"the site refused {request.full_url} ({error.code} {error.reason}):"
        else:
            trouble = f"{request.host} cannot be reached ({error.reason}): check the connection, or"
        raise RoiganError(f"{trouble} {_kind(name).by_hand}.") from None


def _receive(answer, part, have, say):
    total = have + int(answer.headers.get("Content-Length") or 0)
    start = told = time.monotonic()
    got = have
    with part.open("ab" if have else "wb") as file:
        while block := answer.read(2**20):
            file.write(block)
            got += len(block)
            if (now := time.monotonic()) - told > 5:
                told, rate = now, (got - have) / (now - start)
                say(
                    f"{part.name}: {got / 2**20:,.0f} of {total / 2**20:,.0f} MB, "
                    f"{rate / 2**20:.1f} MB/s, {max(0, total - got) / rate:,.0f} s left"
                )
    if total > have and got < total:
        raise OSError(f"{total - got:,} bytes are missing")


def _kind(name):
    if name not in FILES:
        raise RoiganError(f"{name!r} is no data set made of files: choose {', '.join(FILES)}.")
    return FILES[name]
