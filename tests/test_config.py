"""The configuration: no silent typos, no value that cannot work, the thesis' constants."""

import json
import pickle
from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from roigan_lib.config import (
    ARCHITECTURES,
    PROFILES,
    WEIGHTS,
    Config,
    ModelConfig,
    flat,
    load_config,
    model_config,
)
from roigan_lib.errors import RoiganError
from roigan_lib.recipes import read_recipe, recipe_names

WAYS = ("improved", "thesis", "thesis-scaled", "published")


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("recipe", [None, *recipe_names()])
def test_every_profile_and_recipe_loads(profile, recipe):
    cfg = load_config(profile, **({"recipe": recipe} if recipe else {}))
    assert cfg.run.profile == profile and cfg.run.recipe == (
        recipe or PROFILES[profile].get("recipe", "improved")
    )
    for part in ("model", "data", "objective", "optimisation", "run"):
        for name, value in read_recipe(cfg.run.recipe).get(part, {}).items():
            assert getattr(getattr(cfg, part), name) == value
    assert cfg.model.n_codes == cfg.model.n_continuous + cfg.model.n_discrete
    with pytest.raises(FrozenInstanceError):
        cfg.optimisation.steps = 3
    with pytest.raises(FrozenInstanceError):
        cfg.optimisation = None


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(profile="laptpo"), ("'laptpo'", "did you mean 'laptop'", "smoke, laptop, thesis")),
        (dict(profile="zzz"), ("'zzz'", "choose one of")),
        (dict(profile="celeba"), ("is a recipe", "recipe='celeba'")),
        (dict(step=5), ("'step'", "did you mean 'steps'")),
        (dict(batchsize=5), ("'batchsize'", "no parameter")),
        (dict(recipe="improvd"), ("'improvd'", "did you mean 'improved'", "thesis, thesis-scaled")),
        (dict(reduction="total"), ("'total'", "sum, mean or relative")),
        (dict(recipe="published", penalty_every=4), ("in every step", "penalty_every at 1")),
        (dict(size=96), ("96", "32, 64, 128 or 256")),
        (dict(size=64.0), ("size", "64.0", "whole number")),
        (dict(size="64"), ("size", "'64'")),
        (dict(width=0), ("width", "greater than 0")),
        (dict(width="wide"), ("width", "'wide'", "number")),
        (dict(width=float("nan")), ("width", "nan")),
        (dict(steps=-1), ("steps", "greater than 0")),
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
        (dict(architecture="thesus"), ("architecture", "improved, grown, thesis or published")),
        (dict(residual=False), ("'residual'", "no parameter")),
        (dict(weights={}), ("'weights'", "no parameter")),
        (dict(perceptual_net="vgg18"), ("perceptual_net", "vgg16")),
        (dict(flip="yes"), ("flip", "'yes'")),
        (dict(learns="nothing"), ("learns", "reader, classifier or shells")),
        (dict(recipe="thesis", learns="reader"), ("Q sits on the discriminator",)),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    with pytest.raises(RoiganError) as error:
        load_config(**({"profile": "smoke"} | arguments))
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and all(word in text for word in words), text


def test_whole_numbers_pass_for_fractions():
    assert load_config("smoke", width=1, penalty=5).model.width == 1
    assert load_config("smoke", n_discrete=0, n_noise=0, n_continuous=1).model.n_codes == 1


def test_paths_become_text_that_a_checkpoint_can_hold(tmp_path):
    assert load_config("smoke", root=tmp_path).data.root == str(tmp_path)


def test_overrides_win_over_profile_and_recipe():
    cfg = load_config("smoke", recipe="thesis", lr_g=1e-3, own_reader=True, steps=7, kl=0.25)
    opt, smoke = cfg.optimisation, PROFILES["smoke"]
    assert (opt.lr_g, opt.lr_d, opt.steps, cfg.model.own_reader) == (1e-3, 1e-4, 7, True)
    assert cfg.objective.weights == load_config("thesis").objective.weights | {"kl": 0.25}
    assert (cfg.model.n_discrete, cfg.model.width) == (smoke["n_discrete"], smoke["width"])


def test_replace_leaves_the_original_alone():
    cfg = Config()
    new = cfg.replace(kl=9.0, steps=5, dataset="cats")
    assert (new.objective.weight("kl"), new.optimisation.steps, new.data.dataset) == (9, 5, "cats")
    assert cfg == Config() and new != cfg
    assert cfg.replace() == cfg and cfg.objective.weight("style") == 0


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
        assert cfg.replace(**{name: value}).hash() == cfg.hash(), name
    matters = dict(
        steps=13, seed=1, width=0.25, lr_g=1e-3, dataset="folder", mask_family="mixed", crop="full"
    )
    changed = [cfg.replace(**{name: value}).hash() for name, value in matters.items()]
    assert len({cfg.hash(), *changed}) == 1 + len(matters)


def test_describe_shows_what_was_changed():
    text = load_config("smoke", beta2=0.9, style=0.1, zero=0.0).describe()
    assert "beta2 = 0.9  (default 0.99)" in text and "steps = 12" in text
    assert "style = 0.1  (default 0.0)" in text and "zero = 0.0  (default 0.0001)" in text
    assert "decay" not in text
    assert load_config("smoke", beta2=0.9, style=0.1, zero=0.0).hash() in text.splitlines()[0]


def test_model_part_is_the_architecture_only():
    model = load_config("smoke", n_noise=9).model
    assert type(model) is ModelConfig and model.n_noise == 9 and not hasattr(model, "steps")
    assert pickle.loads(pickle.dumps(model)) == model and model.residual is True
    assert {name: getattr(model, name) for name in ARCHITECTURES["improved"]} == ARCHITECTURES[
        "improved"
    ]


def test_a_stored_configuration_is_read_nested_and_as_the_first_version_wrote_it():
    for recipe in WAYS:
        cfg = load_config("smoke", recipe=recipe, n_noise=9)
        stored = json.loads(json.dumps(asdict(cfg)))
        assert model_config(stored) == model_config(stored["model"]) == cfg.model
        fields = flat(stored)
        assert fields["steps"] == 12 and fields["kl"] == cfg.objective.weight("kl")
        first = {k: v for k, v in fields.items() if k != "architecture"}  # it had the recipe only
        assert model_config(first) == cfg.model and flat(first) == first


def test_thesis_profile_has_the_constants_of_the_thesis():
    cfg = load_config("thesis")
    model, o, opt = cfg.model, cfg.objective, cfg.optimisation
    found = {name: o.weight(name) for name in WEIGHTS if o.weight(name)}
    generator = dict(adversarial=1, variation=0.5, perceptual=5, matching=1, kl=0.5, info=0.5)
    assert found == generator | dict(penalty=5.0, zero=1e-4)  # (3.18), (3.19); 3.7: no L1 at last
    assert (opt.lr_g, opt.lr_d) == (3e-4, 1e-4) and model.equalized  # 3.8
    assert o.perceptual_net == "vgg16" and model.size == 64
    assert model.width == model.encoder_width == 1
    assert cfg.data.mask_family == "elliptic" and o.path_b == 1
    assert not (model.residual or model.unit_gain or model.spectral or model.own_reader)
    assert model.encoder_norm and model.literal and not model.late
    assert o.reduction == "sum" and not cfg.data.flip and opt.ema == 0
    assert opt.warmup == opt.ramp == opt.decay == 0 and o.code_noise == 0
    assert (model.n_noise + model.n_continuous + model.n_discrete * model.n_categories) == 256
    other = load_config("smoke", recipe="thesis")
    assert other.objective == o and (other.optimisation.lr_g, other.optimisation.lr_d) == (
        3e-4,
        1e-4,
    )


def test_the_published_recipe_trains_with_the_constants_of_the_release():
    cfg = load_config("thesis", recipe="published")
    o, opt = cfg.objective, cfg.optimisation
    assert (opt.lr_g, opt.lr_d, o.perceptual_net) == (1e-4, 3e-4, "vgg19")
    found = {name: o.weight(name) for name in WEIGHTS if o.weight(name)}
    assert found == dict(
        adversarial=1.0,
        matching=1.0,
        perceptual=5.0,
        variation=0.5,
        kl=1.0,
        info=1.0,
        penalty=5.0,
        zero=1e-4,
    )
    assert load_config("smoke", recipe="published").optimisation.lr_d == 3e-4


def test_a_recipe_brings_its_losses_into_every_profile():
    free = {"steps", "batch", "precision"}  # what a profile, or a shipped recipe, may choose
    for recipe in WAYS:
        tables = read_recipe(recipe)
        for profile in PROFILES:
            cfg = load_config(profile, recipe=recipe)
            for part in ("objective", "optimisation"):
                want = asdict(getattr(Config(), part)) | tables.get(part, {})
                got = asdict(getattr(cfg, part))
                assert {k for k in want if want[k] != got[k]} <= free, (profile, recipe)
            assert cfg.model.architecture == tables.get("model", {}).get("architecture", "improved")
    literal, scaled = (
        flat(asdict(load_config("thesis", recipe=name))) for name in ("thesis", "thesis-scaled")
    )
    assert {k for k in literal if literal[k] != scaled[k]} == {"recipe", "reduction"}
    assert scaled["reduction"] == "mean"


def test_defaults_of_the_class_are_a_working_configuration():
    assert load_config("laptop").model.architecture == Config().model.architecture == "improved"
    assert read_recipe("improved").keys() <= {"note", "profile"}  # every value is a default


def test_the_improved_recipe_hears_each_of_its_terms():
    weights = load_config("laptop").objective.weights
    terms = "adversarial matching perceptual perceptual_prior l1_hole l1_outside l1_prior l1_border"
    assert weights.keys() == {*terms.split(), "tone", "variation", "kl", "info", "prior", "zero"}
    assert all(weight > 0 for weight in weights.values())


def test_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "thesis"\n[model]\nwidth = 0.25\n[objective.weights]\nkl = 1.0\ninfo = 2.0\n'
    )
    cfg = load_config("smoke", recipe=path)
    assert cfg.model.architecture == "thesis" and cfg.model.width == 0.25
    assert cfg.objective.weights == {"kl": 1.0, "info": 2.0}  # a table of weights is the whole one
    assert cfg.optimisation.lr_d == 1e-4 and cfg.run.recipe == str(path)
    for text, words in (
        ("[modle]\nwidth = 1", ("'modle'", "did you mean 'model'")),
        ("[model]\nwidht = 1", ("'widht'", "did you mean 'width'")),
        ("[model]\nsteps = 1", ("table model has 'steps'",)),
        ("[objective.weights]\nstile = 1", ("'stile'", "did you mean 'style'")),
        ("[model]\nwidth = ", ("cannot be read",)),
        ('[model]\nwidth = "wide"', ("width", "'wide'", "number")),
    ):
        path.write_text(text)
        with pytest.raises(RoiganError) as error:
            load_config("smoke", recipe=str(path))
        message = str(error.value)
        assert all(word in message for word in words) and message.endswith("."), message


def test_there_are_at_most_fifty_fields_each_of_one_name():
    found = [f for part in fields(Config()) for f in fields(getattr(Config(), part.name))]
    assert len(found) == len({f.name for f in found}) <= 50
