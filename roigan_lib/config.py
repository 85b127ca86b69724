"""One configuration: frozen dataclasses, the reason behind each default, named profiles, and no silent typos."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from .checks import check_seed
from .errors import RoiganError, suggest


@dataclass(frozen=True)
class ModelConfig:
    """What the networks look like. `recipe` names a bundle of choices: see RECIPES."""

    recipe: str = "improved"  # improved | thesis | thesis-scaled | published (the author's release)
    size: int = 64  # image side in pixels, a power of two from 32 to 256 (thesis: 64)
    width: float = 1.0  # multiplier on every decoder and discriminator width (thesis: 1)
    encoder_width: float = (
        1.0  # the encoder costs little, so a narrow decoder can afford a wide encoder
    )
    deep_width: float = (
        1.0  # the same for the decoder's maps of 8×8 and 16×16: multiplies `width` there
    )
    n_noise: int = 146  # incompressible noise z0 ~ N(0, 1)
    n_continuous: int = 10  # sliders c0 ~ U(-1, 1)
    n_discrete: int = 10  # drop-downs c1, uniform categories
    n_categories: int = 10  # values of each drop-down
    residual: bool = True  # output = smooth fill + residual; False: instance norm, then tanh (3.5)
    encoder_norm: bool = (
        False  # instance norm in the encoder (3.5) erases the global colour of the face
    )
    norm: str = (
        "instance"  # instance | layer: over what (3.8) takes E(x) and D(x); see Denormalization
    )
    shortcut: bool = (
        True  # a 1×1 convolution past each upsample block: what norms erase gets through
    )
    late: bool = (
        True  # enlarge behind the branches of a block, not before them: a quarter of the work
    )
    refine: int = 0  # residual blocks behind every upsample block: depth where it costs little
    fine: bool = False  # a skip connection at full resolution too: lines go on across the border
    smooth_colour: bool = (
        False  # a fixed low-pass on the colour, not the luma, of what a residual generator draws
    )
    unit_gain: bool = True  # (1 + gamma) and (1 + z1) in (3.8): a layer begins as the identity
    equalized: bool = False  # equalized learning rate (3.20)
    spectral: bool = (
        True  # spectral norm in the discriminator; False: instance norm, as in figure 3.6
    )
    own_reader: bool = (
        True  # Q has a trunk of its own and reads the hole; False: Q sits on D_main (3.6)
    )
    literal: bool = (
        False  # LeakyReLU behind gate and norm (3.5), norm in D's global head (figure 3.6),
    )
    # Q's heads equalized (3.20) and without the factor that wakes categories

    @property
    def n_codes(self) -> int:
        """Columns of a code row: continuous values, then one category index for each drop-down."""
        return self.n_continuous + self.n_discrete


_THESIS = dict(
    residual=False,
    encoder_norm=True,
    shortcut=False,
    late=False,
    unit_gain=False,
    equalized=True,
    spectral=False,
    own_reader=False,
    literal=True,
)
RECIPES = {
    "improved": {},
    "thesis": _THESIS,
    "thesis-scaled": _THESIS,
    "published": dict(residual=False, encoder_norm=True, shortcut=False, own_reader=False),
}


@dataclass(frozen=True)
class Config(ModelConfig):
    """Everything a run depends on: the model's fields and these."""

    profile: str = "laptop"
    dataset: str = "synthfaces"  # a name of roigan_lib.data.DATASETS
    root: str | None = (
        None  # folder or zip of images, for data sets made of files (else ROIGAN_DATA)
    )
    crop: str | None = None  # how a photograph becomes a square: see roigan_lib.data.decode
    mask_family: str = (
        "elliptic"  # the thesis trains on ellipses only and tests on all three; see masks.LAWS
    )
    steps: int = 2800  # generator updates
    batch: int = 16  # larger batches do not learn faster per second on two cores
    lr_g: float = 4e-4  # generator and Q; thesis 3e-4
    lr_d: float = 4e-4  # discriminator; thesis 1e-4
    beta1: float = 0.5  # Adam, as in DCGAN
    beta2: float = 0.99  # a shorter memory than 0.999 suits short runs
    decay: float = 0.3  # the learning rate falls linearly to 2 % over this last share of the run
    ema: float = 0.999  # average of the generator's weights, the one that is shipped
    flip: bool = True  # mirror half of the images; the thesis does not
    reduction: str = "relative"  # (1.6), (2.10), (3.11), (3.12): sum, as printed | mean, over the entries | relative: mean,
    # (3.12) on x_c only and divided by the size of the real maps, so one weight fits any network
    code_sums: bool = False  # (3.15): the sum over the codes, as printed; False: their mean
    shift: int = (
        0  # move each image by up to so many pixels: photographs are aligned less well than sets
    )
    soften: float = 0.0  # blur images with [a, 1 - 2a, a], a about this: where they are sharper than those to come
    adversarial: float = (
        0.1  # weight of the hinge term (1.17) for the generator; thesis 1; 0.3 gave specks
    )
    matching: float = 1.0  # feature matching (3.11)
    perceptual: float = 0.3  # perceptual loss (3.12); thesis 5, there without the relative scale
    perceptual_net: str = (
        "factors"  # factors (ships with the kit) | vgg16 | vgg19 | vgg11_bn | none
    )
    perceptual_weights: str | None = (
        None  # local file with the VGG weights, where nothing can be downloaded
    )
    projected: float = (
        0.0  # hinge term of discriminators on the perceptual network's maps (Sauer et al. 2021)
    )
    style: float = (
        0.0  # Gram matrices of those maps in the hole, both paths (Gatys et al. 2016): texture
    )
    mirror: float = 0.0  # L1, path B, to the mean of the EMA's drawing and of its mirrored twin
    l1_hole: float = (
        2.0  # L1 inside the hole, only where the codes were read from the image (path A)
    )
    l1_outside: float = (
        3.0  # L1 outside the hole: keeps the raw output continuous across the border
    )
    variation: float = 0.1  # total variation across the region (2.10); thesis 0.5
    kl: float = 0.05  # VAE loss (1.6) on the global style; thesis 0.5
    info: float = 0.5  # info loss (3.17): codes drawn from the prior must be read back
    prior: float = 1.0  # codes read from images must follow the prior (improved recipe)
    code_noise: float = 0.15  # noise on codes read from images, so that a slider moves smoothly
    path_b: float = 0.5  # share of the batch whose codes come from the prior
    perceptual_prior: float = (
        0.15  # the same on path B, lighter: a face of random codes is to hold together too
    )
    l1_prior: float = (
        0.5  # L1 in the hole on path B, light: random codes stay plausible and can be heard
    )
    tone: float = 1.0  # L1 between 8×8 patch means, both paths: no code may change a face's tone
    l1_border: float = (
        2.0  # L1 in a band inside the border, both paths: no seams (thesis' limitation 1)
    )
    labels: str | None = (
        None  # factors of synthfaces, comma-separated: the first sliders are told to be these
    )
    siblings: int = (
        0  # path B in groups of so many rows: one face and noise, each row with one code moved
    )
    apart: float = 0.0  # siblings: different codes are to move different places
    faint: float = 0.0  # siblings: a code that moves less than `visible` is penalized
    visible: float = (
        0.1  # wanted change of the hole from one end of a code to the other, share of the range
    )
    gumbel: float = (
        0.5  # noise on category choices read from images (straight-through Gumbel softmax)
    )
    warmup: float = (
        0.25  # no discriminator in this share of the run: first the codes, then sharpness
    )
    ramp: float = 0.1  # after it the adversarial terms grow from 0 over this share
    penalty: float = 0.0  # gradient penalty (3.10); thesis 5, spectral norm makes it unnecessary
    penalty_inside: bool = True  # it looks inside the region, as the text of (3.10) says; False: outside, as its formula
    penalty_every: int = (
        1  # apply it every so many steps, so many times as strong (StyleGAN2's lazy regularization)
    )
    zero: float = 1e-4  # zero concentrator (3.13)
    precision: str = "fp32"  # fp32 | bf16, used where it is quicker: roigan_lib.precision
    accumulate: int = 1  # parts in which a batch goes through, where memory is short
    start: str | None = (
        None  # checkpoint.pt of another run, or celeba: begin with its networks, of the same architecture
    )
    seed: int = 0
    log_every: int = 20
    grid_every: int = 500
    checkpoint_every: int = 250
    stop_after_minutes: float = (
        0.0  # 0: never; otherwise the run saves and stops, and a later one goes on
    )

    def model(self) -> ModelConfig:
        """The part of the configuration that fixes the architecture."""
        return ModelConfig(**{f.name: getattr(self, f.name) for f in fields(ModelConfig)})

    def hash(self) -> str:
        """Twelve hex digits that name this configuration in rows and checkpoints."""
        text = json.dumps(
            {k: v for k, v in asdict(self).items() if k not in _NOT_HASHED}, sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def describe(self) -> str:
        """One line per field that differs from the profile's class default: `name = value (default …)`."""
        lines = [
            f"  {f.name} = {getattr(self, f.name)!r}  (default {f.default!r})"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        ]
        return "\n".join([f"config {self.hash()}, profile {self.profile}"] + lines)


_NOT_HASHED = (
    "root",
    "perceptual_weights",
    "start",
    "stop_after_minutes",
    "log_every",
    "grid_every",
    "checkpoint_every",
)
THESIS_TRAINING = dict(
    lr_g=3e-4,
    lr_d=1e-4,
    beta2=0.999,
    decay=0.0,
    ema=0.0,
    flip=False,
    reduction="sum",
    code_sums=True,
    adversarial=1.0,
    matching=1.0,
    perceptual=5.0,
    perceptual_net="vgg16",
    l1_hole=0.0,
    l1_outside=0.0,
    variation=0.5,
    kl=0.5,
    info=0.5,
    prior=0.0,
    code_noise=0.0,
    path_b=1.0,
    perceptual_prior=0.0,
    l1_prior=0.0,
    l1_border=0.0,
    tone=0.0,
    warmup=0.0,
    ramp=0.0,
    penalty=5.0,
    zero=1e-4,
)
TRAINING = {
    "improved": {},
    "thesis": THESIS_TRAINING,
    # Printed sums over pixels, maps and style outweigh the hinge up to some ten thousand times, so D and Q go unheard. Here
    # they are means, as in the author's code, on which the printed weights were found; the sum over codes stays as printed.
    "thesis-scaled": THESIS_TRAINING | dict(reduction="mean"),
    # the losses are those of `released`, whose weights these are
    "published": THESIS_TRAINING
    | dict(lr_g=1e-4, lr_d=3e-4, perceptual_net="vgg19", kl=1.0, info=1.0, penalty_inside=False),
}
# Where the recipe `thesis` cannot follow the print: (place, what is printed, what it does, why).
THESIS_EXCEPTIONS = (
    (
        "(1.6), (3.18)",
        "-0.5 L_VAE, minimized",
        "+0.5 KL",
        "with the printed sign the style is pushed away from its prior",
    ),
    (
        "(2.11)",
        "the gate in both factors",
        "features · sigmoid(gate)",
        "the paper it cites has two convolutions",
    ),
    (
        "(3.3)",
        "the matrix is called the inverse of Σ",
        "it is Σ",
        "the regions of figure 3.2 follow from this only",
    ),
    (
        "(3.7)",
        "max f of one component",
        "max of the mixture",
        "the mixture can lie below half of one component everywhere",
    ),
    (
        "(3.8)",
        "E(x), D(x) over what?",
        "each channel of each image",
        "the author's code has instance norm",
    ),
    (
        "(3.10)",
        "(1 - RoI), in the text 'inside RoI'",
        "inside",
        "outside, real and completed image agree",
    ),
    (
        "(3.10)",
        "the gradient of D(t), a vector",
        "of the mean of its scores",
        "a sum of 26 leaves each a slope of 1/26",
    ),
    (
        "(3.15)",
        "(c - μ)/σ² - log 2πσ",
        "(c - μ)²/σ² + log 2πσ²",
        "as printed it is no likelihood and has no minimum",
    ),
    (
        "figure 3.6",
        "a norm behind every convolution",
        "none behind Q's second",
        "its map has one pixel, which a norm makes 0",
    ),
    (
        "3.5, 3.6",
        "log σ² without bounds",
        "from -8 to 8 (style), from -6 to 3 (Q)",
        "keeps the exponential finite",
    ),
    (
        "3.8",
        "Adam's β, batch, masks",
        "0.5 and 0.999, 32, ellipses",
        "not printed; the author's code has these",
    ),
)
_SMALL = dict(n_noise=32, n_discrete=3, n_categories=4)
PROFILES = {
    "smoke": dict(
        _SMALL,
        width=0.125,
        encoder_width=0.5,
        steps=12,
        batch=4,
        log_every=2,
        grid_every=6,
        checkpoint_every=6,
    ),
    "laptop": dict(_SMALL, width=0.375, encoder_width=3.0, deep_width=2.0),
    "thesis": dict(recipe="thesis", width=1.0, encoder_width=1.0, steps=500_000, batch=32),
}


def load_config(profile: str = "laptop", **overrides) -> Config:
    """The configuration of a profile, with overrides.

    Args: profile: smoke | laptop | thesis, which sets sizes and steps. overrides: any field of Config, by name; `recipe`
    brings its architecture and, unless overridden, its losses and rates; `start` the architecture that it holds.
    Raises RoiganError for an unknown profile, an unknown field or a value that cannot work.
    """
    if profile not in PROFILES:
        raise RoiganError(
            f"There is no profile {profile!r}; {suggest(profile, PROFILES)}choose one of "
            f"{', '.join(PROFILES)}."
        )
    known = {f.name for f in fields(Config)} - {"profile"}
    for name in overrides:
        if name not in known:
            raise RoiganError(
                f"There is no parameter {name!r}; {suggest(name, known)}`python -m roigan_lib train "
                f"--help` lists them all."
            )
    overrides = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in overrides.items()}
    if "seed" in overrides:
        overrides["seed"] = check_seed(overrides["seed"], 2**32)  # a training multiplies it
    values = dict(PROFILES[profile])
    recipe = overrides.get("recipe", values.get("recipe", "improved"))
    if recipe not in RECIPES:
        raise RoiganError(f"There is no recipe {recipe!r}; choose one of {', '.join(RECIPES)}.")
    values |= RECIPES[recipe] | TRAINING[recipe]
    if overrides.get("start"):
        values |= _architecture(overrides["start"], recipe)
    cfg = replace(Config(), profile=profile, **(values | overrides))
    _check(cfg)
    return cfg


def _architecture(start, recipe):
    """The model's fields of the checkpoint, or the shipped model, that a run starts from; none where it cannot be read or
    follows another recipe: `Trainer.load` says so.
    """
    import torch

    from .inpainter import load_model

    try:
        saved = (
            torch.load(start, weights_only=True, map_location="cpu", mmap=True)["config"]
            if Path(start).is_file()
            else load_model(start).card["training"]
        )
    except Exception:
        return {}
    known = {f.name for f in fields(ModelConfig)}
    return (
        {k: v for k, v in saved.items() if k in known}
        if saved.get("recipe", recipe) == recipe
        else {}
    )


def label_names(labels: str | None) -> list[str]:
    """The factors that `Config.labels` names, in the order of the sliders that they become."""
    return [name.strip() for name in labels.split(",")] if labels else []


def _check_labels(cfg):
    from .data.synthfaces import FACTORS

    names, known = label_names(cfg.labels), [f.name for f in FACTORS if f.kind == "continuous"]
    if cfg.dataset != "synthfaces" or not cfg.own_reader or cfg.path_b == 1:
        raise RoiganError(
            "labels are factors of synthfaces' own pictures, shown on path A; give dataset='synthfaces', the "
            "improved recipe and path_b below 1, or leave labels out."
        )
    for name in names:
        if name not in known:
            raise RoiganError(
                f"labels names {name!r}; {suggest(name, known)}choose continuous factors of synthfaces: "
                f"{', '.join(known)}."
            )
    if len(set(names)) < len(names) or len(names) > cfg.n_continuous:
        raise RoiganError(
            f"labels names {len(names)} factors for {cfg.n_continuous} continuous codes; name each once, and "
            f"no more than there are codes."
        )
    if cfg.mirror > 0:
        raise RoiganError(
            "mirror asks the same picture of a code in a mirrored face, where a label such as gaze turns round; "
            "leave mirror at 0 with labels."
        )


def _check(cfg: Config) -> None:
    for f in fields(cfg):
        value, kinds = (
            getattr(cfg, f.name),
            {"int": int, "float": (int, float), "bool": bool}.get(f.type, object),
        )
        if not isinstance(value, kinds) or (isinstance(value, bool) and f.type in ("int", "float")):
            what = {"int": "a whole number", "float": "a number", "bool": "True or False"}[f.type]
            raise RoiganError(f"{f.name} is {value!r}; it has to be {what}.")
        if f.type in ("int", "float") and (not math.isfinite(value) or value < 0):
            raise RoiganError(
                f"{f.name} is {value!r}; it has to be a finite number that is not negative."
            )
    if cfg.size not in (32, 64, 128, 256):
        raise RoiganError(f"size is {cfg.size}; the networks take 32, 64, 128 or 256 pixels.")
    for name in (
        "width",
        "encoder_width",
        "deep_width",
        "steps",
        "batch",
        "lr_g",
        "lr_d",
        "log_every",
        "grid_every",
        "checkpoint_every",
        "n_continuous",
        "n_categories",
        "penalty_every",
        "accumulate",
    ):
        if getattr(cfg, name) <= 0:
            raise RoiganError(f"{name} is {getattr(cfg, name)}; it has to be greater than 0.")
    if cfg.shift >= cfg.size // 2 or cfg.soften > 0.3:
        raise RoiganError(
            f"shift is {cfg.shift} and soften {cfg.soften}; shift has to stay below {cfg.size // 2}, half an "
            f"image, and soften below 0.3."
        )
    for name in ("path_b", "warmup", "ramp", "decay", "ema"):
        if not 0 <= getattr(cfg, name) <= 1:
            raise RoiganError(f"{name} is {getattr(cfg, name)}; it has to lie between 0 and 1.")
    if cfg.siblings == 0 and (cfg.apart > 0 or cfg.faint > 0):
        raise RoiganError(
            "apart and faint compare siblings; give siblings=4 as well, or leave both at 0."
        )
    if cfg.siblings and not 2 <= cfg.siblings <= cfg.n_codes + 1:
        raise RoiganError(
            f"siblings is {cfg.siblings}; it has to be 0, or from 2 to {cfg.n_codes + 1}, one more than there are "
            f"codes."
        )
    if cfg.labels:
        _check_labels(cfg)
    if (cfg.projected > 0 or cfg.style > 0) and (
        cfg.perceptual == 0 or cfg.perceptual_net == "none"
    ):
        raise RoiganError(
            "projected and style look through the perceptual network; give perceptual > 0 and a "
            "perceptual_net, or leave both at 0."
        )
    if cfg.smooth_colour and not cfg.residual:
        raise RoiganError(
            "smooth_colour smooths what a residual generator adds, and this one is not residual; leave it at "
            "False."
        )
    if cfg.reduction not in ("sum", "mean", "relative"):
        raise RoiganError(f"reduction is {cfg.reduction!r}; choose sum, mean or relative.")
    if cfg.recipe == "published" and (cfg.accumulate > 1 or cfg.penalty_every > 1):
        raise RoiganError(
            "The published step matches the features of a batch's first image and has its penalty in every step; "
            "leave accumulate and penalty_every at 1."
        )
    if cfg.norm not in ("layer", "instance"):
        raise RoiganError(f"norm is {cfg.norm!r}; choose layer or instance.")
    if cfg.precision not in ("fp32", "bf16"):
        raise RoiganError(f"precision is {cfg.precision!r}; choose fp32 or bf16.")
    if cfg.perceptual_net not in ("factors", "vgg16", "vgg19", "vgg11_bn", "none"):
        raise RoiganError(
            f"perceptual_net is {cfg.perceptual_net!r}; choose factors, vgg16, vgg19, vgg11_bn or none."
        )
