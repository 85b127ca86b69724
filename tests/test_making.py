"""A model is what one recipe file makes: stages in turn, their mean, and the same after a stop."""

import json
from pathlib import Path

import pytest
import torch

from roigan_lib import RoiganError, load_config, load_model
from roigan_lib.checkpoint import read
from roigan_lib.cli import main
from roigan_lib.making import BY_HAND, check, make, recipe_hash, repeatable, stages
from roigan_lib.recipes import read_recipe, recipe_names
from roigan_lib.stored import save_model, shipped

RECIPE = """
base = "improved"
profile = "smoke"
average = ["first", "third"]

[model]
size = 32
n_noise = 4

[optimisation]
steps = 3
warmup = 0.0
ramp = 0.0

[objective]
perceptual_net = "none"

[[stages]]
name = "first"

[[stages]]
name = "second"
optimisation = { learns = "discriminator", steps = 2 }

[[stages]]
name = "third"
objective = { path_b = 0.25, weights = { tone = 3.0 } }
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_trained(name):
    for _, cfg in stages(name):
        assert cfg.run.recipe == name and len(cfg.hash()) == 12
    assert read_recipe(name)["note"].endswith(".")


def test_stages_lie_over_the_recipe(recipe):
    (first, a), (_, b), (_, c) = stages(recipe, steps=5)
    assert first == "1-first" and (a.model.size, a.run.profile) == (32, "smoke")
    assert (a.optimisation.learns, b.optimisation.learns) == ("all", "discriminator")
    assert [cfg.optimisation.steps for cfg in (a, b, c)] == [5, 5, 5]  # an override counts in all
    assert (c.objective.path_b, c.objective.weight("tone")) == (0.25, 3.0)
    assert c.objective.weight("l1_hole") == a.objective.weight("l1_hole") == 2.0


@pytest.mark.slow
def test_a_model_is_the_mean_of_its_stages_and_goes_on_after_a_stop(recipe, tmp_path, monkeypatch):
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    from roigan_lib.data import ImageSet

    data = ImageSet("folder", "train", 32, images)
    whole = make(recipe, tmp_path / "whole", data=data, progress=None)
    ema = [read(tmp_path / "whole" / s / "checkpoint.pt")["ema"] for s in ("1-first", "3-third")]
    second = read(tmp_path / "whole/2-second/checkpoint.pt")["ema"]
    state = whole.model.generator.state_dict()
    for key, value in state.items():
        mean = (ema[0][key].float() + ema[1][key].float()) / 2
        assert torch.equal(value, mean.half().float())
        assert torch.equal(second[key], ema[0][key])  # only the discriminator learned there
    assert any(not torch.equal(ema[0][k], ema[1][k]) for k in state)
    assert whole.model.card["recipe"] == {"name": Path(recipe).stem, "hash": recipe_hash(recipe)}

    from roigan_lib.training import Trainer

    step, made = Trainer.step, []

    def cut(self):
        made.append(1)
        if len(made) == 5:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Trainer, "step", cut)
    assert not make(recipe, tmp_path / "cut", data=data, progress=None).finished
    monkeypatch.setattr(Trainer, "step", step)
    again = make(recipe, tmp_path / "cut", data=data, progress=None)
    assert again.finished and again.model.checkpoint_hash == whole.model.checkpoint_hash


def test_an_unknown_stage_in_the_average_is_said_before_the_work(recipe, tmp_path):
    path = Path(recipe)
    path.write_text(path.read_text().replace('"third"]', '"thrid"]'))
    with pytest.raises(RoiganError, match="'thrid'; did you mean 'third'"):
        make(recipe, tmp_path / "run", progress=None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text, words",
    [
        ("[modle]\nsize = 32", ("'modle'", "did you mean 'model'")),
        ("[model]\nsise = 32", ("'sise'", "did you mean 'size'")),
        ("[objective.weights]\ntoen = 1.0", ("'toen'", "did you mean 'tone'")),
        ("[model", ("cannot be read",)),
        ('base = "improvd"', ("'improvd'", "did you mean 'improved'")),
        ("[model]\nsize = 33", ("33", "256")),
    ],
)
def test_bad_recipes_are_one_sentence(tmp_path, text, words):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(RoiganError) as error:
        stages(str(path))
    said = str(error.value)
    assert all(word in said for word in words) and "Traceback" not in said, said


@pytest.mark.slow
def test_shipped_models_say_how_they_were_made(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_FIGURES", str(Path(__file__).resolve().parent.parent / "figures"))
    rows, agree = check(shipped())
    found = {row["model"]: row for row in rows}
    assert agree and found["celeba_thesis"]["recipe"] == "recipe celeba_thesis, agrees"
    assert found["celeba"]["recipe"] == "recipe celeba, agrees"
    assert found["celeba_found"]["recipe"] == BY_HAND and all(row["rows"] for row in rows)
    assert main(["models", "--check"]) == 0 and BY_HAND in capsys.readouterr().out

    monkeypatch.setenv("ROIGAN_FIGURES", str(tmp_path))  # no rows here
    assert main(["models", "--check"]) == 1 and main(["models"]) == 0


def test_a_changed_recipe_is_seen(tmp_path):
    gan = load_model("celeba_thesis")
    card = json.loads(json.dumps(gan.card))
    card["training"]["lr_g"] = 1.0
    path = save_model(
        gan.generator.state_dict(), gan.config, tmp_path / "celeba_thesis.safetensors", card
    )
    assert repeatable(load_model(path)).endswith("changed since")
    card["recipe"] = {"name": "celeba_thesis", "hash": recipe_hash("celeba_thesis")}
    save_model(gan.generator.state_dict(), gan.config, path, card)
    assert repeatable(load_model(path)).endswith("agrees")
    assert recipe_hash("celeba_thesis") != recipe_hash("celeba_thesis", steps=7)
    assert load_config("thesis", recipe="improved").model.architecture == "improved"


@pytest.mark.slow
def test_told_sliders_are_lengthened_at_the_end(tmp_path):
    start = RECIPE.index("[[stages]]")
    text = RECIPE[:start].replace('average = ["first", "third"]\n', "")
    text = text.replace("[objective]", '[objective]\nlabels = "gaze,blush"').replace(
        "= 3\n", "= 1\n"
    )
    made = {}
    for stretch in (1.0, 1.5):
        path = tmp_path / f"at_{stretch}.toml"
        path.write_text(text + f"\n[stretch]\nblush = {stretch}\n")
        run = make(str(path), tmp_path / f"run_{stretch}", progress=None)
        made[stretch] = run.model.generator.state_dict()["dense.0.weight"]
    blush = 5  # the second told slider, behind four numbers of noise
    assert torch.allclose(made[1.5][:, blush], 1.5 * made[1.0][:, blush], atol=1e-3)
    made[1.5][:, blush] = made[1.0][:, blush]
    assert torch.equal(made[1.5], made[1.0])
    for line, words in (
        ("blush = 3", "blush is 3"),
        ("blus = 1.2", "'blus'; did you mean 'blush'"),
    ):
        path.write_text(text + f"\n[stretch]\n{line}\n")
        with pytest.raises(RoiganError, match=words):
            make(str(path), tmp_path / "run", progress=None)
    assert not (tmp_path / "run").exists()
