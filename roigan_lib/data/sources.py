"""Getting the data sets of table 4.1: what is there, what is missing, where it comes from, and downloads that go on."""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

from ..errors import RoiganError
from . import cars, cats, celeba, open_dataset
from .folder import Files, diagnose, split_of

UNFINISHED = (".part", ".crdownload", ".download", ".partial", ".tmp")
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id={}"
ARCHIVE = "https://archive.org/{}/CAT_DATASET"
BY_HAND = {
    "celeba": "by hand: img_align_celeba.zip, list_eval_partition.txt and list_attr_celeba.txt from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Google Drive), or "
    "kaggle.com/datasets/jessicali9530/celeba-dataset",
    "cats": "by hand: kaggle.com/datasets/crawford/cat-dataset, or the archives of https://archive.org/details/CAT_DATASET",
    "cars": "by hand: kaggle.com/datasets/jessicali9530/stanford-cars-dataset for cars_train and cars_test, and car_devkit.tgz, "
    "unpacked, from https://github.com/pytorch/vision/issues/7545 for the boxes; its own site is gone",
    "folder": "any folder or .zip of pictures",
}
THESIS = {
    "celeba": (162_770, 39_829),
    "cats": (15_748, None),
    "cars": (8_145, 8_042),
}  # table 4.1: train, test


def counts(name, root):
    """{"train": n, "valid": n, "test": n} of the pictures of a data set under root, without decoding any.

    A split that the set does not have is missing. Raises RoiganError as `open_dataset` does.
    """
    with Files(root, name, several=name != "folder") as files:
        if name == "celeba":
            parts = list(celeba.splits(files, celeba.images(files)).values())
            return {split: parts.count(split) for split in celeba.COUNTS if split in parts}
        if name == "cars":
            return {part: len(names) for part, names in cars.images(files).items() if names}
        found = cats.images(files)[0] if name == "cats" else files.pictures
        parts = list(split_of(files.root, found).values())
        return {split: parts.count(split) for split in ("train", "valid", "test") if split in parts}


def table_4_1(place=None):
    """Table 4.1, a row {data set, thesis train, thesis test, official, found} each for celeba, cats and cars.

    place: a folder that holds them, under their names or one of them alone; $ROIGAN_DATA if left out. official and found
    are {split: pictures}, None where no official list or no such pictures exist. Counts files, decodes nothing.
    """
    place, rows = place or os.environ.get("ROIGAN_DATA"), []
    official = {"celeba": celeba.COUNTS, "cats": None, "cars": cars.COUNTS}
    for name, (train, test) in THESIS.items():
        found = None
        for root in [Path(place).expanduser() / name, Path(place).expanduser()] if place else []:
            try:
                found = found or (counts(name, root) if root.exists() else None)
            except RoiganError:  # another data set lies there
                continue
        rows.append(
            {
                "data set": name,
                "thesis train": train,
                "thesis test": test,
                "official": official[name],
                "found": found or None,
            }
        )
    return rows


def check(name, root=None):
    """(ready, lines): whether a data set can be opened, and what was found, what is wrong and what to do, a line each.

    name: celeba, cats, cars or folder; root: as for `open_dataset`. Opens archives, decodes nothing.
    """
    _known(name)
    root = root if root is not None else os.environ.get("ROIGAN_DATA")
    if not root or not Path(root).expanduser().exists():
        where = f"there is no {root}" if root else "no root: give --root or set ROIGAN_DATA"
        return False, [f"{where}.", BY_HAND[name] + "."]
    root, lines = Path(root).expanduser(), []
    for path in [root] if root.is_file() else sorted(root.rglob("*")):
        if path.suffix in UNFINISHED:
            lines.append(f"{path} is a download that did not finish: let it go on, or remove it.")
        elif path.suffix == ".zip" and diagnose(path):
            lines.append(diagnose(path))
    try:
        found = counts(name, root)
    except RoiganError as error:
        return False, lines or [str(error), BY_HAND[name] + "."]
    if not found:
        return False, lines + [f"{root} holds no pictures of {name}.", BY_HAND[name] + "."]
    lines.append(f"{root}: " + ", ".join(f"{n:,} {split}" for split, n in found.items()) + ".")
    official = {"celeba": celeba.COUNTS, "cars": cars.COUNTS}.get(name, {})
    lines += [
        f"{split}: {found.get(split, 0):,} of the official {n:,}: the set is not whole, and opens as it is."
        for split, n in official.items()
        if found.get(split, 0) != n
    ]
    with Files(root, name, several=name != "folder") as files:
        if name == "celeba":
            lines += [
                f"{end} is not there: {without}."
                for end, without in (
                    ("list_eval_partition", "the official id ranges split the images"),
                    ("list_attr_celeba", "the set has no attributes"),
                )
                if files.text(end + ".txt", end + ".csv") is None
            ]
        if name == "cars" and not cars.boxes_of(files):
            lines.append(
                "the devkit's cars_train_annos.mat is not there: only crop='square' or 'full' will work."
            )
        if name == "cats" and files.find(".cat") is None:
            lines.append("no landmarks (.jpg.cat): taken as faces that are already cut out.")
    return True, lines


def prepare(name, root=None, size=64, crop=None, say=print):
    """Decode every split into the cache, {split: ImageSet}; `say` gets a line each: images, left out, seconds, images/s.

    Raises RoiganError as `open_dataset` does; files that cannot be read are named, and counted in the line.
    """
    _known(name)
    found = {}
    for split, n in counts(name, root).items():
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = found[split] = open_dataset(name, split, size, root, crop)
        took = time.perf_counter() - start
        say(
            f"{split}: {len(data):,} of {n:,} pictures at {size}x{size}, {len(data) / took:,.0f} a second, {took:.1f} s"
        )
        for warning in caught:
            say(f"{split}: {warning.message}")
    return found


def download(name, root, say=print):
    """Fetch a data set's archives into the folder root; what is whole stays, what is not goes on. Returns the paths.

    Raises RoiganError where a set has no download, a site refuses, a connection breaks or a checksum differs.
    """
    _known(name)
    root = Path(root).expanduser()
    if name == "celeba":
        from torchvision.datasets import CelebA

        wanted = [
            (DRIVE.format(key), md5, file)
            for key, md5, file in CelebA.file_list
            if file in ("img_align_celeba.zip", "list_eval_partition.txt", "list_attr_celeba.txt")
        ]
    elif name == "cats":
        with _opened(urllib.request.Request(ARCHIVE.format("metadata")), name) as answer:
            listed = json.load(answer)["files"]
        wanted = [
            (f"{ARCHIVE.format('download')}/{f['name']}", f["md5"], f["name"])
            for f in listed
            if f["name"].endswith(".zip")
        ]
    else:
        raise RoiganError(f"{name} has no download; {BY_HAND[name]}.")
    return [fetch(url, root / file, md5, say, name) for url, md5, file in wanted]


def fetch(url, path, md5=None, say=print, name="folder"):
    """Download url to path through path.part, which a later call continues; checks the MD5 in hex, then renames.

    Returns the path. Raises RoiganError, in one sentence, for everything that can go wrong on the way.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    if path.is_file() and (md5 is None or _md5(path) == md5):
        say(f"{path} is already there.")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.is_file() else 0
        headers = {"User-Agent": "roigan_lib"} | ({"Range": f"bytes={have}-"} if have else {})
        request = urllib.request.Request(url, headers=headers)
        with _opened(request, name) as answer:
            if answer.status != 416:  # 416: the part is already whole
                if answer.headers.get_content_type() == "text/html":
                    raise RoiganError(
                        f"the site answered with a web page in place of {path.name}, as Google Drive does when "
                        f"its quota for the day is spent: try again tomorrow, or {BY_HAND[name]}, and put it "
                        f"in {path.parent}."
                    )
                _receive(answer, part, have if answer.status == 206 else 0, say)
    except (OSError, KeyboardInterrupt) as error:
        got = part.stat().st_size if part.is_file() else 0
        why = (
            "stopped"
            if isinstance(error, KeyboardInterrupt)
            else f"the download of {path.name} broke off ({error})"
        )
        raise RoiganError(
            f"{why} after {got / 2**20:,.1f} MB: the same command goes on from there."
        ) from None
    if md5 is not None and _md5(part) != md5:
        part.unlink()
        raise RoiganError(
            f"{path.name} came with another MD5 checksum than published, and was removed: run the command "
            f"again, or {BY_HAND[name]}."
        )
    os.replace(part, path)
    say(f"{path}: {path.stat().st_size / 2**20:,.1f} MB" + (", checksum right." if md5 else "."))
    return path


def _opened(request, name):
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error
        raise RoiganError(
            f"the site refused {request.full_url} ({error.code} {error.reason}): {BY_HAND[name]}."
        ) from None
    except urllib.error.URLError as error:
        raise RoiganError(
            f"{request.host} cannot be reached ({error.reason}): check the connection, or "
            f"{BY_HAND[name]}."
        ) from None


def _receive(answer, part, have, say):
    total = have + int(answer.headers.get("Content-Length") or 0)
    start = told = time.monotonic()
    got = have
    with part.open("ab" if have else "wb") as file:
        while block := answer.read(2**20):
            file.write(block)
            got += len(block)
            if time.monotonic() - told > 5:
                told = time.monotonic()
                rate = (got - have) / (told - start)
                say(
                    f"{part.name}: {got / 2**20:,.0f} of {total / 2**20:,.0f} MB, {rate / 2**20:.1f} MB/s, "
                    f"{max(0, total - got) / rate:,.0f} s left"
                )
    if total > have and got < total:
        raise OSError(f"{total - got:,} bytes are missing")


def _md5(path):
    digest = hashlib.md5()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _known(name):
    if name not in BY_HAND:
        raise RoiganError(f"{name!r} is no data set made of files: choose {', '.join(BY_HAND)}.")
