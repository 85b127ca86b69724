"""Models on disk: those that ship, those of a run, checkpoints, and the author's release."""

from __future__ import annotations

import copy
import warnings
from dataclasses import asdict
from pathlib import Path

import torch

from .checks import check_device
from .config import load_config, model_config
from .config_checks import flat
from .errors import RoiganError
from .files import (
    WEIGHTS,
    fits,
    path_of,
    place,
    plain_file,
    read_weights,
    trouble,
    weights_at,
    write_weights,
)
from .inpainter import RoIGAN
from .models import networks

FORMAT = "roigan-1"


def shipped() -> list[str]:
    """Names of the RoI-GAN checkpoints that come with the kit."""
    names = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))
    readers = ("factor_net", "attribute_reader")
    return [name for name in names if name not in readers and "glcic" not in name]


def save_model(state, cfg, path, card=None) -> Path:
    """Write generator weights as float16 safetensors, architecture and card in the header.

    RoiganError where the file cannot be written; an earlier one stays.
    """
    return write_weights(path, state, format=FORMAT, config=asdict(cfg), card=card or {})


def load_model(name_or_path="synthfaces", device: str = "cpu") -> RoIGAN:
    """A model that inpaints: a shipped name, a .safetensors file, a training checkpoint (.pt), a
    run's folder, or a generator of the author's release (.chkp).

    Weights load without executing code. RoiganError for an unknown name, a missing, broken or
    foreign file and for weights of another architecture.
    """
    path, device = weights_at(name_or_path), check_device(device)
    if path.parent == WEIGHTS and not path.is_file():
        raise RoiganError(
            f"There is no shipped model {str(name_or_path)!r}; shipped are "
            f"{', '.join(shipped())}, or give the path of a checkpoint."
        )
    plain_file(path, "checkpoint", "train one with `python -m roigan_lib train`")
    if path.suffix == ".safetensors":
        state, header = read_weights(path, FORMAT, "a generator of this kit")
    else:
        state, header = _read_checkpoint(path)
    card = header.get("card")
    if isinstance(card, dict) and (core := card.get("core")):
        # the file has the shells around a shipped model alone
        within = load_model(core["name"])
        if within.checkpoint_hash != core["weights"]:
            raise RoiganError(
                f"{path.name} lies around {core['name']} {core['weights']}, and this kit ships "
                f"{within.checkpoint_hash}; train it again, or take both from one version."
            )
        state = within.generator.state_dict() | state
    try:
        config, card = model_config(header["config"]), _readable(header["card"])
        if not fits(lambda: networks(config)[0](config), state):
            raise ValueError
        generator = networks(config)[0](config)
        generator.load_state_dict(state)
    except Exception:
        raise RoiganError(
            f"{path.name} holds weights of another architecture than its header says; it may come "
            f"from another version of the kit: train it again or use a shipped model."
        ) from None
    if not all(v.isfinite().all() for v in state.values()):
        raise RoiganError(f"{path.name} holds weights that are NaN or infinite; train it again.")
    generator.to(dtype=torch.float32, memory_format=torch.channels_last)
    name = path.parent.name if path.stem in ("model", "checkpoint") else path.stem
    return RoIGAN(generator, name=name, card=card).to(device)


def best_model(dataset: str = "synthfaces", profile: str = "laptop") -> RoIGAN:
    """The run's own model or the shipped one of this data set, whichever saw more images.

    A run that an earlier version of the kit left behind is passed over with a warning. RoiganError,
    saying what to run, where there is neither.
    """
    run = path_of(f"{profile}-{dataset}", "model")
    own = place("ROIGAN_RUNS", "runs") / run / "model.safetensors"
    found, refused = [], None
    for path in (own, WEIGHTS / f"{dataset}.safetensors"):
        if not trouble(path):
            try:
                found.append(load_model(path))
            except RoiganError as error:
                refused = error
    if found and refused:
        warnings.warn(f"{own.parent} is passed over: {refused}", stacklevel=2)
    if not found:
        raise refused or RoiganError(
            f"There is no model for {dataset!r} yet; run 06_training, or `python -m roigan_lib "
            f"train --profile {profile} --dataset {dataset}`."
        )
    return max(found, key=lambda gan: effort(gan.card)[0])


def effort(card) -> tuple[int, float]:
    """Images and seconds of a training, with those of the networks that it began with."""
    before = card.get("started_from") or card.get("before")
    images, seconds = effort(before) if before else (0, 0.0)
    return images + card.get("images_seen", 0), seconds + card.get("seconds", 0)


def _readable(card):
    """The card, if what the kit reads of it is of its kind; a stranger may have written it."""
    labels, shares = flat(card.get("training", {})).get("labels"), card.get("label_shares", ())
    if not isinstance(labels, (str, type(None))) or not all(0 < share < 1 for share in shares):
        raise ValueError
    effort(card)
    return card


def _read_checkpoint(path):
    """State dict and header of a training checkpoint, or of the author's .chkp."""
    try:
        data = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        why = error.strerror or error
        raise RoiganError(f"{path} cannot be read: {why}; give yourself the right to.") from None
    except Exception:
        raise RoiganError(
            f"{path.name} cannot be read as a checkpoint: it is damaged, cut short, or holds more "
            f"than plain weights."
        ) from None
    data = data if isinstance(data, dict) else {}
    if isinstance(data.get("model"), dict):  # {'model', 'optimizer', 'epoch', 'iter'}
        state = {k.removeprefix("module."): v for k, v in data["model"].items()}
        if "head_local.0.weight" in state:
            raise RoiganError(
                f"{path.name} is a discriminator of the author's release; load the generator's "
                f"file."
            )
        if "layer_1.spade_left.shared.weight" not in state:
            raise RoiganError(
                f"{path.name} is not a generator of the author's release; it may come from another "
                f"project."
            )
        config = asdict(load_config("thesis", recipe="published").model)
        card = {"epoch": data.get("epoch"), "source": "author's release"}
        try:
            return {k: v.float() for k, v in state.items()}, {"config": config, "card": card}
        except AttributeError:
            raise RoiganError(
                f"{path.name} has layers that are no weights; copy it anew."
            ) from None
    if data.get("format") != "roigan-train-1" or not {"ema", "step", "config"} <= data.keys():
        raise RoiganError(f"{path.name} is not a training checkpoint of this kit.")
    return data["ema"], {"config": data["config"], "card": {"steps": data["step"]}}


def in_bits(gan, bits=8):
    """(RoIGAN, megabytes): a copy of a model as whole numbers of `bits` bits, 2 … 8, hold it.

    The weights of each output channel are multiples of one float32, their largest over 2^(bits - 1)
    - 1 (Krishnamoorthi 2018, section 3.1.2); what has one axis stays float16, activations float32.
    """
    net, most, size = copy.deepcopy(gan.generator), 2 ** (bits - 1) - 1, 0.0
    for p in net.parameters():
        size += p.numel() * (bits / 8) + 4 * len(p) if p.ndim > 1 else 2 * p.numel()
        if p.ndim > 1:
            step = p.flatten(1).abs().amax(1).clamp(min=1e-12) / most
            zero = torch.zeros(len(p), dtype=torch.int32)
            p.data = torch.fake_quantize_per_channel_affine(p, step, zero, 0, -most, most)
    return RoIGAN(net, f"{gan.name}, int{bits}", card=gan.card), round(1e-6 * size, 3)
