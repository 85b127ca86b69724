"""Told sliders that are steered: what the ends mean, what they are found by, and what ships."""

import pytest
import torch

import roigan_lib as rg
from roigan_lib import RoiganError, making
from roigan_lib import training as T
from roigan_lib.cli import main
from roigan_lib.config import load_config
from roigan_lib.control import ends, sweep
from roigan_lib.control.directions import Directions
from roigan_lib.control.steering import Steered, Steering, load_steering, steer
from roigan_lib.data import open_dataset
from roigan_lib.data.labels import label_names
from roigan_lib.inpainter import RoIGAN
from roigan_lib.masks import FACE, region, sample_masks
from roigan_lib.models import Generator

LABELS = dict(labels="gaze,mouth_open", label=1.0, warmup=0.0, ramp=0.0)
SMALL = dict(size=32, steps=4, batch=4, perceptual=0.0, perceptual_prior=0.0, style=0.0)


@pytest.fixture(scope="module")
def people():
    return open_dataset("synthfaces", "train", 32, limit=14)


@pytest.fixture(scope="module")
def trainer(people):
    off = dict.fromkeys(("projected",), 0.0)
    return T.Trainer(load_config("smoke", recipe="improved", **SMALL, **LABELS, **off), people)


@pytest.fixture
def gan(trainer):
    torch.manual_seed(3)
    model = RoIGAN(Generator(trainer.cfg.model))
    with torch.no_grad():
        for p in model.generator.parameters():
            p.add_(0.03 * torch.randn(p.shape))
    return model


@pytest.fixture
def steering(gan):
    found = torch.randn(2, 2, gan.n_continuous, generator=torch.Generator().manual_seed(1))
    return Steering(found.half().float(), {"model": gan.checkpoint_hash})


def test_a_told_slider_goes_to_its_ends_and_the_others_stay_the_models(gan, steering):
    x, m = torch.rand(2, 3, 32, 32) * 2 - 1, sample_masks("elliptic", 2, 32)
    moved, n = Steered(gan, steering), gan.n_continuous
    rows = gan.sample_codes(1, 3)
    rows[:, :2] = 0
    assert torch.equal(moved.inpaint(x, m, rows, 5), gan.inpaint(x, m, rows, 5))
    for position, end in ((1.0, 0), (-1.0, 1), (0.5, 0), (-0.25, 1)):
        slid, own = rows.clone(), rows.clone()
        slid[:, 1] = position
        own[:, :n] += abs(position) * steering.ends[end, 1]
        done = moved.inpaint(x, m, slid, 5)
        assert torch.allclose(done, gan.inpaint(x, m, own, 5, reach=99), atol=1e-6)
        assert not torch.equal(done, gan.inpaint(x, m, slid, 5))
        assert torch.equal(torch.where(m > 0.5, x, done), x)
    drawn = moved.sample_codes(2, 4)
    assert torch.equal(drawn[:, 2:], gan.sample_codes(2, 4)[:, 2:])
    told = moved.sample_codes(2000, 4)[:, :2]
    assert 0.59 < told.max() < 0.6 and -0.6 < told.min() < -0.59 and told.mean().abs() < 0.02
    assert torch.equal(moved.inpaint(x, m, seed=4), moved.inpaint(x, m, drawn, seed=4))
    assert moved.size == 32 and moved.name == gan.name and moved.n_continuous == n
    assert moved.checkpoint_hash.startswith(f"{gan.checkpoint_hash}+")
    assert sweep(moved, x, m, ends(moved, 0)).shape == (2, 2, 3, 32, 32)
    assert rg.explore(moved, x).reach == 1.0 and rg.explore(gan, x).reach == 2.0
    rows[:, 0] = 1.5
    with pytest.raises(RoiganError, match="a slider ends at -1"):
        moved.inpaint(x, m, rows)


def test_sliders_add_up_and_go_no_farther_than_the_longest_end(gan, steering):
    x, m = torch.rand(1, 3, 32, 32) * 2 - 1, sample_masks("elliptic", 1, 32)
    slid, own = (torch.zeros(1, gan.n_continuous + gan.n_discrete) for _ in range(2))
    slid[:, 0], slid[:, 1] = -0.5, 0.75
    both = 0.5 * steering.ends[1, 0] + 0.75 * steering.ends[0, 1]
    own[:, : gan.n_continuous] = both
    done = Steered(gan, steering).inpaint(x, m, slid)
    assert torch.allclose(done, gan.inpaint(x, m, own, reach=99), atol=1e-6)
    slid[:, :2] = 1
    both, farthest = steering.ends[0].sum(0), steering.ends.norm(dim=2).max()
    assert both.norm() > 1.05 * farthest
    own[:, : gan.n_continuous] = both * farthest / both.norm()
    done = Steered(gan, steering).inpaint(x, m, slid)
    assert torch.allclose(done, gan.inpaint(x, m, own, reach=99), atol=1e-6)


def test_the_ends_are_found_by_the_classifier_and_nothing_else_changes(gan, trainer, people):
    before = gan.checkpoint_hash, [p.requires_grad for p in trainer.classifier.parameters()]
    said = []
    found = steer(gan, trainer, [0.01, 0.01], [0.1, 0.1], [0.1, 0.1], 60, said.append)
    assert [line.split("  ")[0] for line in said] == ["step 20/60", "step 40/60", "step 60/60"]
    assert found.ends.shape == (2, 2, gan.n_continuous)
    assert found.about["model"] == gan.checkpoint_hash == before[0]
    assert before[1] == [p.requires_grad for p in trainer.classifier.parameters()]
    x, m = people[:8], region(32, *FACE).expand(8, -1, -1, -1)
    for k in range(2):
        low, high = (trainer.classifier(done, m)[:, k] for done in sweep(gan, x, m, ends(gan, k)))
        more = sweep(Steered(gan, found), x, m, ends(gan, k))
        farther = [trainer.classifier(done, m)[:, k] for done in more]
        assert (farther[1] - farther[0]).mean() > (high - low).mean() + 1e-4
    stiff = steer(gan, trainer, [50.0, 50.0], [0.1, 0.1], [0.1, 0.1], 20)
    own = torch.eye(gan.n_continuous)[:2]
    way = [(s.ends - torch.stack([own, -own])).norm() for s in (stiff, found)]
    assert way[0] < 0.3 * way[1]
    again = steer(gan, trainer, [50.0, 50.0], [0.1, 0.1], [0.1, 0.1], 20)
    assert torch.equal(again.ends, stiff.ends)


def test_what_cannot_be_steered_is_refused(gan, trainer, people, steering):
    with pytest.raises(RoiganError, match="2 numbers"):
        steer(gan, trainer, [0.1], [1.0, 1.0], [1.0, 1.0], 2)
    with pytest.raises(RoiganError, match="2 numbers"):
        steer(gan, trainer, [0.1, 0.1], [1.0, -1.0], [1.0, 1.0], 2)
    plain = T.Trainer(load_config("smoke", size=32, batch=4), people)
    with pytest.raises(RoiganError, match="no classifier"):
        steer(gan, plain, [0.1], [1.0], [1.0], 2)
    with pytest.raises(RoiganError, match="steer it by itself"):
        Steered(gan, Steering(torch.zeros(2, 2, gan.n_continuous + 1)))


def test_steering_is_kept_in_a_file(gan, steering, tmp_path):
    path = steering.save(tmp_path / "mine.safetensors")
    again = load_steering(path)
    assert torch.equal(again.ends, steering.ends) and again.about == steering.about
    assert Steered(gan, again).checkpoint_hash == Steered(gan, steering).checkpoint_hash
    with pytest.raises(RoiganError, match="of celeba ship"):
        load_steering(tmp_path / "none.safetensors")
    with pytest.raises(RoiganError, match="not steering of this kit"):
        load_steering(Directions(*torch.zeros(3, 1, 1)).save(tmp_path / "directions.safetensors"))
    Steering(torch.zeros(3, 2)).save(path)
    with pytest.raises(RoiganError, match="holds no steering"):
        load_steering(path)


def test_a_recipe_says_how_stiff_a_slider_is(tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    for table, sentence in (
        ("Smilng = [0.1, 1, 1]", "did you mean 'Smiling'"),
        ("Smiling = 0.1", r"\[stiff, spill, real\]"),
        ("Smiling = [0.1, -1, 1]", "from 0 to 100"),
        ("Smiling = [0.1, true, 1]", "from 0 to 100"),
    ):
        recipe.write_text(f'base = "celeba"\n[steer]\n{table}\n')
        with pytest.raises(RoiganError, match=sentence):
            making.steering_trainer(str(recipe))
    with pytest.raises(RoiganError, match="no told sliders"):
        making.steering_trainer("improved")
    for told, sentence in (
        (["improved", "--out", str(tmp_path / "a.png")], "safetensors"),
        (["improved", "--model", "celeba"], "give --model, the folder of a run, and --networks"),
    ):
        assert main(["steer", *told]) == 2
        assert sentence in capsys.readouterr().err


def test_the_steering_that_ships_is_of_the_model_and_as_its_recipe_says():
    found, gan = load_steering("celeba"), rg.load_model("celeba")
    asked = making.read_recipe("celeba")["steer"]
    names = label_names(making.stages("celeba")[-1][1].objective.labels)
    assert found.about["model"] == gan.checkpoint_hash
    assert found.ends.shape == (2, len(names), gan.n_continuous)
    wanted = [list(asked.get(name, making.STEER)) for name in names]
    shipped = zip(*(found.about[cost] for cost in ("stiff", "spill", "real")))
    assert [list(costs) for costs in shipped] == wanted
    moved, large = rg.load_steered("celeba"), rg.load_steered("celeba128")
    assert torch.equal(moved.steering.ends, found.ends)
    longest, shorter = found.ends.norm(dim=2), large.steering.ends.norm(dim=2)
    assert longest.max() > 2 and torch.allclose(shorter, longest.clamp_max(1.6), atol=1e-5)
    assert large.size == 128 and list(large.slider_names)[:10] == list(moved.slider_names)
    with pytest.raises(RoiganError, match="no file of steering"):
        rg.load_steered("cats")
