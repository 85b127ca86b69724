"""The configuration: no silent typos, no value that cannot work, and the thesis' constants in the thesis profile."""

from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from roigan_lib.config import (
    PROFILES,
    RECIPES,
    THESIS_TRAINING,
    TRAINING,
    Config,
    ModelConfig,
    load_config,
)
from roigan_lib.errors import RoiganError


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("recipe", [None, *RECIPES])
def test_every_profile_and_recipe_loads(profile, recipe):
    cfg = load_config(profile, **({"recipe": recipe} if recipe else {}))
    assert cfg.profile == profile and cfg.recipe == (
        recipe or PROFILES[profile].get("recipe", "improved")
    )
    for name, value in RECIPES[cfg.recipe].items():
        assert getattr(cfg, name) == value
    assert cfg.n_codes == cfg.n_continuous + cfg.n_discrete
    with pytest.raises(FrozenInstanceError):
        cfg.steps = 3


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(profile="laptpo"), ("'laptpo'", "did you mean 'laptop'", "smoke, laptop, thesis")),
        (dict(profile="zzz"), ("'zzz'", "choose one of")),
        (dict(step=5), ("'step'", "did you mean 'steps'")),
        (dict(batchsize=5), ("'batchsize'", "no parameter")),
        (dict(recipe="improvd"), ("'improvd'", "improved, thesis, thesis-scaled")),
        (dict(reduction="total"), ("'total'", "sum, mean or relative")),
        (dict(recipe="published", accumulate=2), ("first image", "penalty_every at 1")),
        (dict(recipe="published", penalty_every=4), ("in every step", "penalty_every at 1")),
        (dict(size=96), ("96", "32, 64, 128 or 256")),
        (dict(size=64.0), ("size", "64.0", "whole number")),
        (dict(size="64"), ("size", "'64'")),
        (dict(width=0), ("width", "greater than 0")),
        (dict(width="wide"), ("width", "'wide'", "number")),
        (dict(width=float("nan")), ("width", "nan")),
        (dict(steps=-1), ("steps", "not negative")),
        (dict(steps=2.5), ("steps", "2.5", "whole number")),
        (dict(batch=0), ("batch", "greater than 0")),
        (dict(n_noise=-1), ("n_noise", "-1")),
        (dict(n_discrete=-2), ("n_discrete", "-2")),
        (dict(lr_g=0.0), ("lr_g", "greater than 0")),
        (dict(lr_d=float("inf")), ("lr_d", "inf")),
        (dict(path_b=1.5), ("path_b", "between 0 and 1")),
        (dict(ema=1.1), ("ema", "between 0 and 1")),
        (dict(kl=-0.1), ("kl", "not negative")),
        (dict(batch=True), ("batch", "True")),
        (dict(precision="fp16"), ("precision", "fp32 or bf16")),
        (dict(recipe="thesis", smooth_colour=True), ("smooth_colour", "not residual")),
        (dict(norm="batch"), ("norm", "layer or instance")),
        (dict(perceptual_net="vgg18"), ("perceptual_net", "vgg16")),
        (dict(flip="yes"), ("flip", "'yes'")),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    with pytest.raises(RoiganError) as error:
        load_config(**({"profile": "smoke"} | arguments))
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and all(word in text for word in words), text


def test_whole_numbers_pass_for_fractions():
    assert load_config("smoke", width=1, penalty=5).width == 1
    assert load_config("smoke", n_discrete=0, n_noise=0, n_continuous=1).n_codes == 1


def test_paths_become_text_that_a_checkpoint_can_hold(tmp_path):
    assert load_config("smoke", root=tmp_path).root == str(tmp_path)


def test_overrides_win_over_profile_and_recipe():
    cfg = load_config("smoke", recipe="thesis", lr_g=1e-3, equalized=False, steps=7)
    assert (cfg.lr_g, cfg.equalized, cfg.steps, cfg.penalty) == (1e-3, False, 7, 5.0)
    assert (cfg.n_discrete, cfg.width) == (
        PROFILES["smoke"]["n_discrete"],
        PROFILES["smoke"]["width"],
    )


def test_hash_names_what_matters():
    cfg = load_config("smoke")
    assert len(cfg.hash()) == 12 and cfg.hash() == load_config("smoke").hash()
    for name, value in dict(
        root="/somewhere",
        perceptual_weights="w.pth",
        stop_after_minutes=3.0,
        log_every=7,
        grid_every=9,
        checkpoint_every=11,
    ).items():
        assert replace(cfg, **{name: value}).hash() == cfg.hash(), name
    matters = dict(
        steps=13, seed=1, width=0.25, lr_g=1e-3, dataset="folder", mask_family="mixed", crop="full"
    )
    changed = [replace(cfg, **{name: value}).hash() for name, value in matters.items()]
    assert len({cfg.hash(), *changed}) == 1 + len(matters)


def test_describe_shows_what_was_changed():
    text = load_config("smoke", beta1=0.4).describe()
    assert "beta1 = 0.4  (default 0.5)" in text and "steps = 12" in text
    assert "beta2" not in text and load_config("smoke", beta1=0.4).hash() in text.splitlines()[0]


def test_model_part_is_the_architecture_only():
    cfg = load_config("smoke", n_noise=9)
    model = cfg.model()
    assert type(model) is ModelConfig and model.n_noise == 9 and not hasattr(model, "steps")


def test_thesis_profile_has_the_constants_of_the_thesis():
    cfg = load_config("thesis")
    generator = (cfg.adversarial, cfg.variation, cfg.perceptual, cfg.matching, cfg.kl, cfg.info)
    assert generator == (1.0, 0.5, 5.0, 1.0, 0.5, 0.5)  # (3.18)
    assert (cfg.penalty, cfg.zero) == (5.0, 1e-4)  # (3.19)
    assert (cfg.lr_g, cfg.lr_d) == (3e-4, 1e-4) and cfg.equalized  # 3.8
    assert cfg.l1_hole == cfg.l1_outside == 0  # 3.7: switched off in the last experiments
    assert cfg.perceptual_net == "vgg16" and cfg.size == 64 and cfg.width == cfg.encoder_width == 1
    assert cfg.mask_family == "elliptic" and cfg.prior == 0 and cfg.path_b == 1
    assert (
        not (cfg.residual or cfg.unit_gain or cfg.spectral or cfg.own_reader)
        and cfg.encoder_norm
        and cfg.literal
    )
    assert cfg.reduction == "sum" and cfg.code_sums and not cfg.flip and cfg.ema == 0
    assert (cfg.n_noise + cfg.n_continuous + cfg.n_discrete * cfg.n_categories) == 256
    other = load_config("smoke", recipe="thesis")
    for name in (
        "variation",
        "perceptual",
        "kl",
        "info",
        "penalty",
        "zero",
        "lr_g",
        "lr_d",
        "l1_hole",
        "path_b",
    ):
        assert getattr(other, name) == getattr(cfg, name), name


def test_the_published_recipe_trains_with_the_constants_of_the_release():
    cfg = load_config("thesis", recipe="published")
    assert (cfg.lr_g, cfg.lr_d, cfg.perceptual_net, cfg.info, cfg.penalty_inside) == (
        1e-4,
        3e-4,
        "vgg19",
        1.0,
        False,
    )
    assert (cfg.variation, cfg.kl, cfg.penalty, cfg.zero) == (0.5, 1.0, 5.0, 1e-4)
    assert load_config("smoke", recipe="published").lr_d == 3e-4


def test_a_recipe_brings_its_losses_into_every_profile():
    for profile in PROFILES:
        for recipe, losses in TRAINING.items():
            cfg = load_config(profile, recipe=recipe)
            for name, value in (asdict(Config()) | losses).items():
                if name in THESIS_TRAINING:
                    assert getattr(cfg, name) == value, (profile, recipe, name)
    literal, scaled = (
        asdict(load_config("thesis", recipe=name)) for name in ("thesis", "thesis-scaled")
    )
    assert {k for k in literal if literal[k] != scaled[k]} == {"recipe", "reduction"} and scaled[
        "reduction"
    ] == "mean"


def test_defaults_of_the_class_are_a_working_configuration():
    assert load_config("laptop").model().recipe == Config().recipe == "improved"
