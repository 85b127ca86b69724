"""One configuration: frozen dataclasses, the reason behind each default, and no silent typos.

A recipe (`recipes/*.toml`) brings networks, terms and rates that belong together, a profile the
size of the run; what neither names keeps the default below, that of the improved recipe.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace

from .checks import check_name
from .config_checks import check_config, check_overrides, check_tables, check_values, flat
from .errors import RoiganError
from .recipes import PARTS, RECIPES, read_recipe, read_toml

# What an architecture means to its layers; `ModelConfig` answers with these as attributes.
ARCHITECTURES = {
    "improved": dict(
        norm="instance",  # over what (3.8) takes E(x) and D(x): each channel of each image
        residual=True,  # output = smooth fill + residual; False: instance norm, then tanh (3.5)
        encoder_norm=False,  # instance norm in the encoder (3.5) erases the colour of the face
        shortcut=True,  # a 1×1 convolution past each upsample block: what norms erase gets through
        late=True,  # enlarge behind the branches of a block, not before: a quarter of the work
        unit_gain=True,  # (1 + gamma) and (1 + z1) in (3.8): a layer begins as the identity
        equalized=False,  # equalized learning rate (3.20)
        spectral=True,  # spectral norm in D; False: instance norm, as in figure 3.6
        literal=False,  # LeakyReLU behind gate and norm (3.5), a norm in D's global head (figure
        # 3.6), Q's heads equalized (3.20) and without the factor that wakes categories
    )
}
ARCHITECTURES["published"] = ARCHITECTURES["improved"] | dict(
    residual=False, encoder_norm=True, shortcut=False
)
ARCHITECTURES["grown"] = ARCHITECTURES["improved"]  # of 64 pixels, with a shell for each doubling
ARCHITECTURES["thesis"] = ARCHITECTURES["published"] | dict(
    late=False, unit_gain=False, equalized=True, spectral=False, literal=True
)


@dataclass(frozen=True)
class ModelConfig:
    """What the networks look like; the entries of ARCHITECTURES are attributes, too."""

    architecture: str = "improved"  # improved | grown | thesis | published (the author's)
    size: int = 64  # image side in pixels, a power of two from 32 to 256 (thesis: 64)
    width: float = 1.0  # multiplier on every decoder and discriminator width (thesis: 1)
    encoder_width: float = 1.0  # the encoder costs little: a narrow decoder affords a wide one
    deep_width: float = 1.0  # multiplies `width` in the decoder's maps of 8×8 and 16×16
    n_noise: int = 146  # incompressible noise z0 ~ N(0, 1)
    n_continuous: int = 10  # sliders c0 ~ U(-1, 1)
    n_discrete: int = 10  # drop-downs c1, uniform categories
    n_categories: int = 10  # values of each drop-down
    own_reader: bool = True  # Q has its own trunk and reads the hole; False: it sits on D (3.6)
    refine: int = 0  # residual blocks behind every upsample block: depth where it costs little
    fine: bool = False  # a skip connection at full resolution: lines go on across the border
    smooth_colour: bool = False  # a fixed low-pass on the colour, not the luma, of what is drawn

    def __getattr__(self, name):
        if name in ARCHITECTURES["improved"]:
            return ARCHITECTURES[self.architecture][name]
        raise AttributeError(f"ModelConfig has no {name!r}")

    @property
    def n_codes(self) -> int:
        """Columns of a code row: continuous values, then a category index for each drop-down."""
        return self.n_continuous + self.n_discrete


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and which regions of them."""

    dataset: str = "synthfaces"  # a name of roigan_lib.data.DATASETS
    root: str | None = None  # folder or zip of a data set made of files (else ROIGAN_DATA)
    crop: str | None = None  # how a photograph becomes a square: see roigan_lib.data.decode
    mask_family: str = "elliptic"  # the thesis trains on ellipses only; see masks.LAWS
    flip: bool = True  # mirror half of the images; the thesis does not
    shift: int = 0  # move each image by up to so many pixels: photographs are aligned less well
    soften: float = 0.0  # blur by [a, 1 - 2a, a], a about this, images sharper than those to come


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a step minimises: the weights of `objective.TERMS`, and what the terms are told."""

    weights: dict = field(
        default_factory=lambda: dict(
            adversarial=0.1,  # thesis 1; 0.3 gave specks
            matching=1.0,
            perceptual=0.3,  # thesis 5, there without the relative scale
            perceptual_prior=0.15,  # lighter: a face of random codes is to hold together, too
            l1_hole=2.0,
            l1_outside=3.0,  # keeps the raw output continuous across the border
            l1_prior=0.5,  # light: random codes stay plausible and can be heard
            l1_border=2.0,  # no seams (thesis' limitation 1)
            tone=1.0,  # no code may change a face's tone
            variation=0.1,  # thesis 0.5
            kl=0.05,  # thesis 0.5
            info=0.5,
            prior=1.0,
            zero=1e-4,
        )
    )
    reduction: str = "relative"  # (1.6), (2.10), (3.11), (3.12): sum, as printed | mean, over the
    # entries | relative: mean, (3.12) on x_c only and divided by the size of the real maps, so that
    # one weight fits any network. (3.15) is the sum over codes, as printed; relative: their mean
    path_b: float = 0.5  # share of the batch whose codes come from the prior
    code_noise: float = 0.15  # noise on codes read from images, so that a slider moves smoothly
    labels: str | None = None  # factors, comma-separated: the first sliders are told to be these
    siblings: int = 0  # path B in groups of so many rows: one face and noise, one code moved a row
    visible: float = 0.1  # wanted change of the hole from one end of a code to the other
    penalty_every: int = 1  # gradient penalty only every so many steps, so many times as strong
    perceptual_net: str = (
        "factors"  # factors (ships with the kit) | vgg16 | vgg19 | vgg11_bn | none
    )
    perceptual_weights: str | None = None  # file of VGG weights, where nothing can be downloaded

    def weight(self, term: str) -> float:
        """The weight of a term, 0 where the recipe does not have it."""
        return self.weights.get(term, 0.0)


@dataclass(frozen=True)
class OptimisationConfig:
    """Steps, rates and precision."""

    steps: int = 2800  # generator updates
    batch: int = 16  # larger batches do not learn faster per second on two cores
    learns: str = "all"  # all | discriminator | reader | classifier | shells: what a stage trains
    lr_g: float = 4e-4  # generator and Q; thesis 3e-4
    lr_d: float = 4e-4  # discriminator; thesis 1e-4
    beta2: float = 0.99  # Adam: a shorter memory than 0.999 suits short runs
    decay: float = 0.3  # the rates fall linearly to 2 % over this last share of the run
    ema: float = 0.999  # average of the generator's weights, the one that is shipped
    warmup: float = 0.25  # no discriminator in this share: first the codes, then sharpness
    ramp: float = 0.1  # after it the adversarial terms grow from 0 over this share
    precision: str = "fp32"  # fp32 | bf16, used where it is quicker: roigan_lib.precision


@dataclass(frozen=True)
class RunConfig:
    """Where a run comes from, and how often it speaks and saves."""

    profile: str = "laptop"
    recipe: str = "improved"
    start: str | None = None  # checkpoint.pt of another run, or celeba: begin with its networks
    seed: int = 0
    log_every: int = 20
    grid_every: int = 500
    checkpoint_every: int = 250
    stop_after_minutes: float = 0.0  # 0: never; else save and stop, and a later run goes on


@dataclass(frozen=True)
class Config:
    """Everything a run depends on, in five parts."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimisation: OptimisationConfig = OptimisationConfig()
    run: RunConfig = RunConfig()

    def replace(self, **changes) -> Config:
        """The same with other values of fields or weights, named as in `load_config`, unchecked."""
        parts, weights = {}, dict(self.objective.weights)
        for name, value in changes.items():
            if name in WEIGHTS:
                weights[name] = value
            else:
                check_name("parameter", name, HOME)
                parts.setdefault(HOME[name], {})[name] = value
        parts.setdefault("objective", {}).setdefault("weights", weights)
        return replace(self, **{k: replace(getattr(self, k), **v) for k, v in parts.items()})

    def changed(self) -> dict:
        """{name: (value, default)} of all fields and weights that differ from the defaults."""
        now, default = flat(asdict(self)), flat(asdict(Config()))
        return {
            k: (now.get(k, 0.0), default.get(k, 0.0))
            for k in {**default, **now}
            if now.get(k, 0.0) != default.get(k, 0.0)
        }

    def hash(self, *inputs) -> str:
        """Twelve hex digits that name the configuration: what differs from the defaults, and the
        inputs, such as the fingerprint of the data and the hash of the start.
        """
        differs = {k: v for k, (v, _) in self.changed().items() if k not in NOT_HASHED}
        text = json.dumps([differs, *inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def describe(self) -> str:
        """One line for each field and weight that differs: `name = value  (default …)`."""
        lines = [f"  {k} = {v!r}  (default {d!r})" for k, (v, d) in self.changed().items()]
        return "\n".join([f"config {self.hash()}, profile {self.run.profile}"] + lines)


# Every term that a recipe can weigh; `objective` has the equations.
WEIGHTS = (
    *Config().objective.weights,
    *("projected", "style", "mirror", "apart", "faint", "label", "penalty"),
)
HOME = {f.name: part.name for part in fields(Config) for f in fields(getattr(Config(), part.name))}
NOT_HASHED = (
    "root perceptual_weights start recipe profile stop_after_minutes log_every grid_every "
    "checkpoint_every"
).split()
PROFILES = read_toml(RECIPES / "profiles.toml")


def load_config(profile: str = "laptop", **overrides) -> Config:
    """The configuration of a profile, with overrides.

    Args: profile: smoke | laptop | thesis, which sets sizes and steps. overrides: any field of
    Config's parts, or the weight of a term, by name; `recipe` brings its networks together with its
    terms and rates. Raises RoiganError for an unknown profile, recipe or field and for a value that
    cannot work.
    """
    overrides = check_overrides(profile, PROFILES, overrides, (*HOME, *WEIGHTS))
    recipe = overrides.get("recipe", PROFILES[profile].get("recipe", "improved"))
    tables = read_recipe(recipe)
    check_tables(tables, HOME, WEIGHTS)
    found = {k: v for part in PARTS for k, v in tables.get(part, {}).items()}
    cfg = Config().replace(**PROFILES[profile] | {"profile": profile}).replace(**found)
    cfg = cfg.replace(**overrides | {"recipe": recipe})
    check_config(cfg)
    return cfg


def model_config(stored: dict) -> ModelConfig:
    """The architecture that a checkpoint's header names, also one of the kit's first version.

    RoiganError where that version's single switches make none of ARCHITECTURES.
    """
    stored = flat(stored)
    name = stored.get("architecture") or stored.get("recipe", "improved")
    known = {f.name for f in fields(ModelConfig)}
    model = ModelConfig(
        **{k: v for k, v in stored.items() if k in known}
        | {"architecture": name.removesuffix("-scaled")}
    )
    check_values(vars(model), {f.name: f.type for f in fields(ModelConfig)})
    for switch, value in ARCHITECTURES[model.architecture].items():
        if stored.get(switch, value) != value:
            raise RoiganError(
                f"The architecture {model.architecture} has {switch}={value!r}, and the stored one "
                f"{stored[switch]!r}, which this version of the kit does not have."
            )
    return model
