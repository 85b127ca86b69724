"""What a slider can be told to be: factors of synthfaces and attributes of CelebA.

A label is named as the data set names it; with a minus before it, a slider turns it round
(`-No_Beard` is a beard).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..errors import RoiganError, suggest
from . import DATASETS, FILES, celeba, open_dataset, synthfaces

FACTORS = [f.name for f in synthfaces.FACTORS if f.kind == "continuous"]


class Labels(NamedTuple):
    """Labels of a data set's images, each with its place in the frame."""

    values: torch.Tensor  # (n, k) in [-1, 1]
    turned: torch.Tensor  # (k,) bool: a mirrored image has the other sign
    shares: torch.Tensor  # (k,) in (0, 1): how much of the range the images have, on average
    places: torch.Tensor  # (k, 1, S, S) in {0, 1}: where an image shows it, nowhere if unknown


def labels_of(data, names, most) -> Labels:
    """The labels of an ImageSet by name, in the order of the sliders that they become.

    most: how many sliders there are. RoiganError for a name that the data do not have, for labels
    that all images share, and for more labels than sliders.
    """
    plain = _plain(names, _known(data), most, data.name)
    values = torch.stack([_values(data, name) for name in plain], 1) if names else None
    values = torch.zeros(len(data), 0) if values is None else values
    values *= torch.tensor([-1.0 if name.startswith("-") else 1.0 for name in names])
    shares = ((1 + values) / 2).mean(0)
    for name, share in zip(plain, shares.tolist()):
        if share in (0, 1):
            raise RoiganError(
                f"All {len(data)} images have the same {name!r}, so that nothing can be learned "
                f"from it; leave it out of labels, or use images of both kinds."
            )
    turned = torch.tensor([n in synthfaces.MIRRORED for n in plain], dtype=torch.bool)
    places = torch.stack([_place(n, data.size) for n in plain]) if names else values.new_zeros(0)
    return Labels(values, turned, shares, places)


def training_images(cfg):
    """The train split that a Config names. RoiganError as for `check_labels` and `open_dataset`."""
    check_labels(cfg)
    return open_dataset(cfg.data.dataset, "train", cfg.model.size, cfg.data.root, cfg.data.crop)


def check_labels(cfg) -> None:
    """RoiganError where a Config's labels are none of its data set's; no picture is opened."""
    names, d, known = label_names(cfg.objective.labels), cfg.data, FACTORS
    if names and d.dataset in DATASETS:  # `open_dataset` names another one
        if d.dataset in FILES:
            with FILES[d.dataset](d.root) as files:
                known = files.known(files.members()[:1]).get("attribute_names", [])
        _plain(names, known, cfg.model.n_continuous, d.dataset)


def label_names(labels: str | None) -> list[str]:
    """The factors that `labels` names, in the order of the sliders that they become."""
    return [name.strip() for name in labels.split(",")] if labels else []


def shown_name(label: str) -> str:
    """What a person reads beside the slider: "-No_Beard" -> "beard"."""
    plain = label.removeprefix("-")
    plain = plain.removeprefix("No_") if plain != label else plain
    return plain.replace("_", " ").lower()


def _plain(names, known, most, owner):
    """The names without a minus, each one of the known; RoiganError as for `labels_of`."""
    plain = [name.removeprefix("-") for name in names]
    if names and not known:
        raise RoiganError(
            f"{owner} has no factors or attributes that could be labels; leave labels out, use "
            f"synthfaces, or lay list_attr_celeba.txt beside CelebA's images."
        )
    for name in plain:
        if name not in known:
            raise RoiganError(
                f"labels names {name!r}; {suggest(name, known)}choose labels of "
                f"{owner}: {', '.join(known)}."
            )
    if len(set(plain)) < len(names) or len(names) > most:
        raise RoiganError(
            f"labels names {len(names)} labels for {most} continuous codes; name each once, and "
            f"no more than there are codes."
        )
    return plain


def _known(data):
    if data.attributes is not None:
        return list(data.attribute_names)
    drawn = data.factors is not None and list(data.factor_names) == synthfaces.NAMES
    return FACTORS if drawn else []


def _values(data, name):
    if data.attributes is not None:
        return data.attributes[:, data.attribute_names.index(name)].float() * 2 - 1
    k = synthfaces.index(name)
    low, high = synthfaces.FACTORS[k].low, synthfaces.FACTORS[k].high
    return 2 * (data.factors[:, k] - low) / (high - low) - 1


def _place(name, size):
    """The label's box in the frame, empty where none is known: (1, S, S) of 0 and 1."""
    places = celeba.PLACES | synthfaces.PLACES
    left, top, right, bottom = places.get(name, (0, 0, 0, 0))
    at = (torch.arange(size) + 0.5) / size
    rows, columns = (at > top) & (at < bottom), (at > left) & (at < right)
    return (rows[:, None] & columns).float()[None]
