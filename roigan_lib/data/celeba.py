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
from .folder import FileSet

LAST_ID = {"train": 162_770, "valid": 182_637, "test": 202_599}  # of each official split
# Where an attribute is seen in the thesis crop: left, top, right, bottom, as shares of the frame.
_MOUTH, _EYES, _FACE = (0.3, 0.74, 0.7, 0.96), (0.24, 0.44, 0.76, 0.6), (0.2, 0.3, 0.8, 0.98)
_NOSE, _JAW, _BROWS = (0.36, 0.52, 0.64, 0.8), (0.24, 0.7, 0.76, 1.0), (0.2, 0.34, 0.8, 0.52)
PLACES = dict(
    Arched_Eyebrows=_BROWS, Bushy_Eyebrows=_BROWS, Bags_Under_Eyes=(0.24, 0.5, 0.76, 0.66),
    Narrow_Eyes=_EYES, Eyeglasses=(0.2, 0.42, 0.8, 0.64), Big_Nose=_NOSE, Pointy_Nose=_NOSE,
    Smiling=_MOUTH, Mouth_Slightly_Open=_MOUTH, Big_Lips=_MOUTH, Wearing_Lipstick=_MOUTH,
    Mustache=(0.34, 0.7, 0.66, 0.84), Goatee=(0.34, 0.7, 0.66, 1.0), No_Beard=_JAW,
    Sideburns=_FACE, High_Cheekbones=_FACE, Rosy_Cheeks=_FACE, Heavy_Makeup=_FACE, Male=_FACE,
    Young=_FACE, Pale_Skin=_FACE,
)  # fmt: skip
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id={}"


class CelebA(FileSet):
    """CelebA's aligned images in the order of their ids, with their attributes."""

    name, title, own_crop = "celeba", "CelebA images", "thesis"
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
        text, ids = self.text("list_eval_partition"), [_id(name) for name in members]
        if text is None:
            parts = {i: next((s for s, last in LAST_ID.items() if i <= last), None) for i in ids}
        else:
            rows = re.findall(r"(\d{6})\.\w+[\s,]+([012])\b", text)
            parts = {int(i): ("train", "valid", "test")[int(k)] for i, k in rows}
        missing = [i for i in ids if i not in parts]
        _demand(f"list_eval_partition names no split for {len(missing)} of {len(ids)}", missing)
        return {name: parts[i] for name, i in zip(members, ids)}

    def known(self, members):
        """The attributes of list_attr_celeba, where it is there."""
        text, ids = self.text("list_attr_celeba"), [_id(name) for name in members]
        if text is None:
            return {}
        head, *rows = re.split(r"^\s*(?=\d{6}\.)", text, flags=re.M)
        names = [word for word in re.findall(r"\w*[A-Za-z]\w*", head) if word != "image_id"]
        values = {int(row[:6]): re.split(r"[\s,]+", row.strip())[1:] for row in rows}
        wrong = [i for i in ids if not names or len(values.get(i, ())) != len(names)]
        _demand(f"list_attr_celeba has no full row for {len(wrong)}", wrong)
        rows = torch.tensor([[value == "1" for value in values[i]] for i in ids])
        return {"attributes": rows, "attribute_names": names}

    def lacks(self):
        without = {"list_eval_partition": "the official id ranges split the images"}
        without["list_attr_celeba"] = "the set has no attributes"
        return [f"{k} is not there: {v}." for k, v in without.items() if self.text(k) is None]

    @staticmethod
    def downloads(ask):
        from torchvision.datasets import CelebA as Published

        wanted = ("img_align_celeba.zip", "list_eval_partition.txt", "list_attr_celeba.txt")
        return [(DRIVE.format(i), md5, f) for i, md5, f in Published.file_list if f in wanted]


def _id(name):
    return int(PurePosixPath(name).stem)


def _demand(trouble, missing):
    if missing:
        raise RoiganError(
            f"{trouble} images, such as {missing[0]:06d}: replace the list by the official one, or "
            "remove it."
        )
