"""CelebA (Liu et al. 2015) as downloaded: `img_align_celeba/000001.jpg` …, or the .zip of it, in table 4.1's first row.

root is the folder with `img_align_celeba` or `img_align_celeba.zip` in it, that folder, or that archive; copies with
another folder in between and with .png files are found too. `list_eval_partition.txt` and `list_attr_celeba.txt` (or
Kaggle's .csv) are read where they lie in or beside the root. Without the first, the official id ranges split the
images; with the second the set has `attributes` (n, 40) bool.

crop: "thesis" (default) takes the centred 128x128 of the 178x218 frame before resizing, "full" the whole frame.
"""

import re
from pathlib import PurePosixPath

import torch

from ..errors import RoiganError
from .folder import Files, check_crop

LAST_ID = {"train": 162_770, "valid": 182_637, "test": 202_599}  # of each official split
COUNTS = {"train": 162_770, "valid": 19_867, "test": 19_962}


def load(split="train", size=64, root=None, crop=None, limit=None):
    """The images of a split ("train", "valid", "test" or "all") in the order of their ids, as an ImageSet.

    RoiganError: no root, no CelebA files below it, a list that does not fit, more than 5 % of the files unreadable.
    """
    crop = "thesis" if crop is None else check_crop(crop)
    with Files(root, "celeba", several=True) as files:
        found = images(files)
        if not found:
            raise RoiganError(
                f"{files.root} holds no CelebA images (000001.jpg …): pass the folder that has "
                "img_align_celeba or its .zip; `python -m roigan_lib data check celeba` says more."
            )
        parts = splits(files, found)
        ids = [i for i in sorted(found) if split == "all" or parts[i] == split][:limit]
        if not ids:
            raise RoiganError(
                f"{files.root} has no {split} images of CelebA, only ids {min(found)} … {max(found)}; the "
                f"official {split} split is {COUNTS[split]:,} images up to {LAST_ID[split]}."
            )
        more = _attributes(files, ids)
        chosen = [(found[i], files.stamps[found[i]]) for i in ids]
        return files.decoded(
            "celeba", split, chosen, lambda name: crop, size, key=("celeba", crop), **more
        )


def images(files):
    """{id: name} of the aligned images among some Files; of two copies of an id the one with the shorter path."""
    found = {}
    aligned = [n for n in files.pictures if "img_align_celeba" in n]
    for name in sorted(aligned or files.pictures, key=len, reverse=True):
        if re.fullmatch(r"\d{6}", PurePosixPath(name).stem):
            found[int(PurePosixPath(name).stem)] = name
    return found


def splits(files, found):
    """{id: split} by list_eval_partition, or by the official id ranges where it is missing."""
    text = files.text("list_eval_partition.txt", "list_eval_partition.csv")
    if text is None:
        return {i: next((s for s, last in LAST_ID.items() if i <= last), None) for i in found}
    rows = re.findall(r"(\d{6})\.\w+[\s,]+([012])\b", text)
    parts = {int(i): ("train", "valid", "test")[int(k)] for i, k in rows}
    missing = [i for i in found if i not in parts]
    if missing:
        raise RoiganError(
            f"list_eval_partition names no split for {len(missing)} of {len(found)} images, such as "
            f"{missing[0]:06d}: replace the list by the official one, or remove it to split by id."
        )
    return parts


def _attributes(files, ids):
    text = files.text("list_attr_celeba.txt", "list_attr_celeba.csv")
    if text is None:
        return {}
    lines = [re.split(r"[\s,]+", line.strip()) for line in text.splitlines() if line.strip()]
    values = {int(line[0][:6]): line[1:] for line in lines if re.match(r"\d{6}\.", line[0])}
    head = (
        next((k for k, line in enumerate(lines) if re.match(r"\d{6}\.", line[0])), len(lines)) - 1
    )
    names = [word for word in lines[head] if word != "image_id"]  # the line above the first row
    wrong = [i for i in ids if len(values.get(i, ())) != len(names)]
    if wrong:
        raise RoiganError(
            f"list_attr_celeba has no full row for {len(wrong)} images, such as {wrong[0]:06d}: replace the "
            "list by the official one, or remove it."
        )
    rows = torch.tensor([[v == "1" for v in values[i]] for i in ids])
    return {"attributes": rows, "attribute_names": names}
