"""What a configuration may hold; `load_config` asks. And what a generator has to be."""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass

import numpy as np
import torch

from .checks import check_name, check_seed, whole
from .errors import RoiganError, shown, suggest
from .recipes import PARTS, recipe_names

_CHOICES = {
    "architecture": ("improved", "grown", "thesis", "published"),
    "size": (32, 64, 128, 256),
    "reduction": ("sum", "mean", "relative"),
    "learns": ("all", "discriminator", "reader", "classifier", "shells"),
    "precision": ("fp32", "bf16"),
    "perceptual_net": ("factors", "vgg16", "vgg19", "vgg11_bn", "none"),
}
_POSITIVE = (
    "width encoder_width deep_width steps batch lr_g lr_d log_every grid_every checkpoint_every "
    "n_continuous n_categories penalty_every"
).split()
_SHARES = ("path_b", "warmup", "ramp", "decay", "ema")


_MOST = dict.fromkeys(("width", "encoder_width", "deep_width", "refine"), 16)
_MOST |= dict.fromkeys(("n_noise", "n_continuous", "n_discrete", "n_categories"), 4096)
_MOST |= {"batch": 2**16, "lr_g": 10, "lr_d": 10, "beta2": 1 - 1e-9}
_MOST |= {"int": 10**9, "float": 10**6}  # where nothing else is said


def check_values(values, kinds) -> None:
    """RoiganError for a value of another type than `kinds` names, or outside of its range."""
    for name, value in values.items():
        kind = kinds.get(name, "float")
        wanted = {"int": int, "float": (int, float), "bool": bool}.get(kind, str)
        fits = isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool))
        fits = fits or "None" in kind and value is None or name == "crop" and whole(value)
        if not fits or wanted is str and isinstance(value, str) and not value.strip("\0 "):
            what = {"int": "a whole number", "float": "a number", "bool": "True or False"}
            raise RoiganError(f"{name} is {shown(value)}; it has to be {what.get(kind, 'a text')}.")
        if kind in ("int", "float"):
            most = _MOST.get(name, _MOST[kind])
            if not (0 < value if name in _POSITIVE else 0 <= value) or not value <= most:
                least = "greater than 0" if name in _POSITIVE else "a finite number, not negative,"
                raise RoiganError(
                    f"{name} is {value!r}; it has to be {least} and at most {most:g}."
                )
        if "str" in kind and "\0" in str(value):
            raise RoiganError(
                f"{name} is {shown(value)}; a text has no zero bytes: leave them out."
            )
        if name in _CHOICES and value not in _CHOICES[name]:
            *most, last = map(str, _CHOICES[name])
            raise RoiganError(f"{name} is {value!r}; choose {', '.join(most)} or {last}.")
        if name in _SHARES and not 0 <= value <= 1:
            raise RoiganError(f"{name} is {value}; it has to lie between 0 and 1.")


def check_config(cfg):
    """The configuration, as it came. RoiganError, in one sentence, for one that cannot work."""
    for part in PARTS:
        if not is_dataclass(getattr(cfg, part, None)):
            raise RoiganError(f"{part} of a Config is missing or no part; make it by load_config.")
    kinds = {f.name: f.type for part in PARTS for f in fields(getattr(cfg, part))}
    values = {k: v for part in PARTS for k, v in vars(getattr(cfg, part)).items()}
    weights = values.pop("weights")
    if not isinstance(weights, dict):
        raise RoiganError(f"weights are {shown(weights)}; give a dictionary {{term: weight}}.")
    check_values(values | weights, kinds)
    data, model, objective, opt = cfg.data, cfg.model, cfg.objective, cfg.optimisation
    weight, half = objective.weight, model.size // 2
    published = model.architecture == "published"
    looks = weight("projected") > 0 or weight("style") > 0
    for sentence, wrong in {
        f"shift is {data.shift} and soften {data.soften}; shift has to stay below {half}, half an "
        "image, and soften below 0.3.": data.shift >= half or data.soften > 0.3,
        "apart and faint compare siblings; give siblings=4 as well, or leave both at 0.":
            objective.siblings == 0 and (weight("apart") > 0 or weight("faint") > 0),
        f"size is {model.size}; a grown generator has 128 or 256 pixels.":
            model.architecture == "grown" and model.size < 128,
        "shells lie around a grown generator only; give architecture='grown', or learns='all'.":
            opt.learns == "shells" and model.architecture != "grown",
        f"siblings is {objective.siblings}; it has to be 0, or from 2 to {model.n_codes + 1}, one "
        "more than there are codes.":
            objective.siblings and not 2 <= objective.siblings <= model.n_codes + 1,
        "labels are shown on path A; give the improved recipe and path_b below 1, or leave labels "
        "out.": objective.labels and (not model.own_reader or objective.path_b == 1),
        "label asks a classifier for labels; give labels and a weight of label, or leave both out.":
            (weight("label") > 0 or opt.learns == "classifier")
            and not (objective.labels and weight("label") > 0),
        "mirror asks the same picture of a code in a mirrored face, where a label such as gaze "
        "turns round; leave mirror at 0 with labels.": objective.labels and weight("mirror") > 0,
        "learns is 'reader', and this recipe's Q sits on the discriminator; give own_reader or "
        "leave learns at 'all'.": opt.learns == "reader" and not model.own_reader,
        "projected and style look through the perceptual network; give perceptual > 0 and a "
        "perceptual_net, or leave both at 0.":
            looks and (weight("perceptual") == 0 or objective.perceptual_net == "none"),
        "smooth_colour smooths what a residual generator adds, and this one is not residual; leave "
        "it at False.": model.smooth_colour and not model.residual,
        "The published step has its penalty in every step; leave penalty_every at 1.":
            published and objective.penalty_every != 1,
        "The published step has its discriminator from the first step on; leave warmup and ramp "
        "at 0.": published and (opt.warmup, opt.ramp) != (0, 0),
    }.items():  # fmt: skip
        if wrong:
            raise RoiganError(sentence)
    return cfg


def check_overrides(profile, profiles, overrides, names) -> dict:
    """The overrides of `load_config`: paths as text, the seed as a whole number. RoiganError for an
    unknown profile or, where `names` has it not, parameter.
    """
    if isinstance(profile, str) and profile in set(recipe_names()) - set(profiles):
        raise RoiganError(f"{profile!r} is a recipe, no profile: load_config(recipe={profile!r}).")
    check_name("profile", profile, profiles)
    known = [name for name in names if name not in ("profile", "weights")]
    for name in overrides:
        if name not in known:
            raise RoiganError(
                f"There is no parameter {shown(name)}; {suggest(name, known)}`python -m "
                f"roigan_lib train --help` lists them all."
            )
    overrides = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in overrides.items()}
    overrides = {k: v.item() if isinstance(v, np.generic) else v for k, v in overrides.items()}
    if "seed" in overrides:
        overrides["seed"] = check_seed(overrides["seed"], 2**32)  # a training multiplies it
    return overrides


def check_tables(tables, home, weights) -> None:
    """RoiganError where a recipe names a field or a term that does not exist.

    home: {field: the table it belongs to}; weights: the names of all terms.
    """
    for part in PARTS:
        known = [name for name, table in home.items() if table == part]
        for name in tables.get(part, {}):
            if name not in known:
                raise RoiganError(
                    f"A recipe's table {part} has {name!r}; {suggest(name, known)}it may have "
                    f"{', '.join(known)}."
                )
    for name in tables.get("objective", {}).get("weights", {}):
        if name not in weights:
            raise RoiganError(
                f"A recipe weighs {name!r}; {suggest(name, weights)}the terms are "
                f"{', '.join(weights)}."
            )


def flat(config: dict) -> dict:
    """A stored configuration, nested or of the kit's first version, as {name: value}."""
    if not isinstance(config.get("model"), dict):
        return dict(config)
    parts = {k: v for part in config.values() for k, v in part.items()}
    return parts | parts.pop("weights")


def check_generator(net):
    """A generator of float32 weights, as it came. RoiganError for anything else."""
    if not isinstance(net, torch.nn.Module) or not hasattr(net, "features_of"):
        raise RoiganError(
            f"A RoIGAN is made of a generator, not of {shown(net)}; load_model('celeba') loads one."
        )
    kinds = {p.dtype for p in net.parameters()} - {torch.float32}
    if kinds:
        raise RoiganError(
            f"The generator's weights are {str(kinds.pop())[6:]}, and the kit computes in float32: "
            "call generator.float() first."
        )
    return net
