"""CelebA (Liu et al. 2015) as downloaded: `img_align_celeba/000001.jpg` …, or the .zip of it.

root is the folder with `img_align_celeba` or its .zip in it, that folder, or that archive; copies
with another folder in between and with .png files are found too. `list_eval_partition.txt` and
`list_attr_celeba.txt` (or Kaggle's .csv) are read where they lie in or beside the root. Without the
first, the official id ranges split the images; with the second the set has `attributes` (n, 40)
bool. crop: "thesis" (default) takes the centred 128x128 of the 178x218 frame, "full" all of it.
"""

import re
from pathlib import PurePosixPath

import torch

from ..errors import RoiganError
from .folder import Folder

LAST_ID = {"train": 162_770, "valid": 182_637, "test": 202_599}  # of each official split
LISTS = {  # file: what happens without it
    "list_eval_partition": "the official id ranges split the images",
    "list_attr_celeba": "the set has no attributes",
}


class CelebA(Folder):
    """CelebA's aligned images in the order of their ids, with their attributes."""

    name, several, own_crop = "celeba", True, "thesis"
    title = "images of CelebA"
    wants = "CelebA images (000001.jpg …): pass the folder that has img_align_celeba or its .zip"
    by_hand = (
        "by hand: img_align_celeba.zip, list_eval_partition.txt and list_attr_celeba.txt from "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Google Drive), or "
        "kaggle.com/datasets/jessicali9530/celeba-dataset"
    )
    official = {"train": 162_770, "valid": 19_867, "test": 19_962}
    thesis = (162_770, 39_829)

    def members(self):
        """One path an id, the shortest of its copies."""
        aligned = [name for name in self.pictures if "img_align_celeba" in name]
        names = sorted(aligned or self.pictures, key=len, reverse=True)
        found = {_id(n): n for n in names if re.fullmatch(r"\d{6}", PurePosixPath(n).stem)}
        return [found[i] for i in sorted(found)]

    def splits(self, members):
        """By list_eval_partition, or by the official id ranges where it is missing."""
        text = self.text("list_eval_partition")
        if text is None:
            return {
                n: next((s for s, last in LAST_ID.items() if _id(n) <= last), None) for n in members
            }
        rows = re.findall(r"(\d{6})\.\w+[\s,]+([012])\b", text)
        parts = {int(i): ("train", "valid", "test")[int(k)] for i, k in rows}
        missing = [name for name in members if _id(name) not in parts]
        if missing:
            raise RoiganError(
                f"list_eval_partition names no split for {len(missing)} of {len(members)} images, "
                f"such as {_id(missing[0]):06d}: replace the list by the official one, or remove "
                "it to split by id."
            )
        return {name: parts[_id(name)] for name in members}

    def none_of(self, split, parts):
        first, *_, last = sorted(map(_id, parts)) * 2
        return (
            f"only ids {first} … {last}; the official {split} split is {self.official[split]:,} "
            f"images up to {LAST_ID[split]}"
        )

    def known(self, members):
        """The attributes of list_attr_celeba, where it is there."""
        text = self.text("list_attr_celeba")
        if text is None:
            return {}
        head, *rows = re.split(r"^\s*(?=\d{6}\.)", text, flags=re.M)
        names = [
            w for w in re.split(r"[\s,]+", head) if w not in ("", "image_id") and not w.isdigit()
        ]
        values = {int(row[:6]): re.split(r"[\s,]+", row.strip())[1:] for row in rows}
        wrong = [_id(n) for n in members if len(values.get(_id(n), ())) != len(names)]
        if wrong:
            raise RoiganError(
                f"list_attr_celeba has no full row for {len(wrong)} images, such as "
                f"{wrong[0]:06d}: replace the list by the official one, or remove it."
            )
        rows = torch.tensor([[v == "1" for v in values[_id(n)]] for n in members])
        return {"attributes": rows, "attribute_names": names}

    def lacks(self):
        return [
            f"{stem} is not there: {without}."
            for stem, without in LISTS.items()
            if self.text(stem) is None
        ]

    @staticmethod
    def downloads(ask):
        from torchvision.datasets import CelebA as Published

        drive = "https://drive.usercontent.google.com/download?export=download&confirm=t&id={}"
        wanted = {"img_align_celeba.zip", *(f"{stem}.txt" for stem in LISTS)}
        return [(drive.format(i), md5, f) for i, md5, f in Published.file_list if f in wanted]


def _id(name):
    return int(PurePosixPath(name).stem)
