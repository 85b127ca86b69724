"""Principal directions against known ones, and the directed model."""

from pathlib import Path

import pytest
import torch

import roigan_lib as rg
from roigan_lib import RoiganError
from roigan_lib.cli import main
from roigan_lib.config import load_config
from roigan_lib.control import sweep, visible_change_per_code
from roigan_lib.control.directions import Directed, load_directions, principal_directions
from roigan_lib.inpainter import RoIGAN
from roigan_lib.masks import FACE, region, sample_masks
from roigan_lib.metrics import load_rows
from roigan_lib.models import Generator
from roigan_lib.studies import discovered


class Linear:
    """Its hole is a sum of two fixed patterns, weighted by known mixtures of codes and noise."""

    size, n_continuous, n_discrete, n_categories, n_noise = 16, 3, 1, 2, 4
    mix = torch.zeros(2, 7)
    mix[0, [0, 1]] = 0.2  # the loud pattern: c1 + c2
    mix[1, 5] = 0.05  # the faint one: the third number of noise

    def sample_codes(self, n, seed=0):
        g = torch.Generator().manual_seed(seed)
        return torch.cat(
            [
                torch.rand(n, 3, generator=g) * 2 - 1,
                torch.randint(0, 2, (n, 1), generator=g).float(),
            ],
            1,
        )

    def sample_noise(self, n, seed=0):
        return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed + 1))

    def inpaint(self, images, masks, codes=None, seed=0, noise=None):
        z = torch.cat(
            [
                codes.reshape(-1, 4)[:, :3].expand(len(images), -1),
                noise.reshape(-1, 4).expand(len(images), -1),
            ],
            1,
        )
        patterns = torch.stack(
            [torch.ones(3, 16, 16), torch.ones(3, 16, 16) * torch.tensor([1, -1]).repeat(8)]
        )
        return torch.where(
            masks > 0.5, (z @ self.mix.T @ patterns.flatten(1)).unflatten(1, (3, 16, 16)), images
        )


@pytest.fixture
def scene():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    return torch.zeros(2, 3, 16, 16), mask


@pytest.mark.slow
def test_known_directions_are_found_loudest_first(scene):
    found = principal_directions(Linear(), *scene, k=2, samples=1200)
    loud = torch.cat([found.codes, found.noise], 1)
    # c1 + c2 has variance 2/3; two of its sd go with cov(c1, c1 + c2) / sd = 1/3 / sqrt(2/3), twice
    expected = 2 / 3 / (2 / 3) ** 0.5
    assert (loud[0, :2] - expected).abs().max() < 0.03 and loud[0, 2:].abs().max() < 0.15
    assert (loud[1].abs() - 2 * torch.eye(7)[5]).abs().max() < 0.15
    a, b = 0.2**2 * 2 / 3, 0.05**2
    assert abs(found.share[0] - a / (a + b)) < 0.01 and abs(found.share.sum() - 1) < 1e-4


@pytest.fixture(scope="module")
def gan():
    torch.manual_seed(0)
    return RoIGAN(Generator(load_config("smoke", size=32).model))


def test_noise_can_be_given(gan):
    x, m = torch.rand(2, 3, 32, 32) * 2 - 1, sample_masks("elliptic", 2, 32)
    row = gan.sample_codes(1)
    assert torch.equal(
        gan.inpaint(x, m, row, seed=4), gan.inpaint(x, m, row, noise=gan.sample_noise(2, 4))
    )
    assert torch.equal(
        gan.generate(x, m, row, noise=torch.zeros(gan.n_noise)),
        gan.generate(x, m, row, noise=torch.zeros(2, gan.n_noise)),
    )
    for bad in (
        torch.zeros(3, gan.n_noise),
        torch.zeros(2, 5),
        torch.full((2, gan.n_noise), torch.nan),
    ):
        with pytest.raises(RoiganError, match="sample_noise"):
            gan.inpaint(x, m, row, noise=bad)


def test_a_directed_model_is_the_model_until_a_direction_moves(gan):
    x, m = torch.rand(2, 3, 32, 32) * 2 - 1, sample_masks("elliptic", 2, 32)
    found = principal_directions(gan, x, m, k=2, samples=12)
    more = Directed(gan, found)
    assert more.n_continuous == gan.n_continuous + 2 and more.size == 32 and more.name == gan.name
    assert more.slider_names[f"c{gan.n_continuous + 1}"] == "direction 1"
    rows = more.sample_codes(2, 3)
    own = torch.cat([rows[:, : gan.n_continuous], rows[:, more.n_continuous :]], 1)
    assert torch.equal(more.inpaint(x, m, rows, seed=3), gan.inpaint(x, m, own, seed=3))
    assert torch.equal(more.inpaint(x, m, seed=3), gan.inpaint(x, m, seed=3))
    moved = rows.clone()
    moved[:, gan.n_continuous] = 1
    done = more.inpaint(x, m, moved, seed=3)
    assert not torch.equal(done, more.inpaint(x, m, rows, seed=3))
    assert torch.equal(torch.where(m > 0.5, x, done), x)
    assert sweep(more, x, m, torch.zeros(3, more.n_continuous + gan.n_discrete)).shape == (
        3,
        2,
        3,
        32,
        32,
    )
    assert (
        more.checkpoint_hash.startswith(gan.checkpoint_hash)
        and more.checkpoint_hash != gan.checkpoint_hash
    )
    with pytest.raises(RoiganError, match="directions"):
        more.inpaint(x, m, own)
    with pytest.raises(RoiganError, match="samples"):
        principal_directions(gan, x, m, k=4, samples=5)
    with pytest.raises(RoiganError, match="find its own"):
        Directed(Linear(), found)


def test_directions_are_kept_in_a_file(gan, tmp_path):
    x, m = torch.rand(1, 3, 32, 32) * 2 - 1, sample_masks("elliptic", 1, 32)
    found = principal_directions(gan, x, m, k=2, samples=12)
    again = load_directions(found.save(tmp_path / "mine.safetensors"))
    assert all(
        torch.equal(getattr(found, key), getattr(again, key)) for key in ("codes", "noise", "share")
    )
    assert Directed(gan, again).checkpoint_hash == Directed(gan, found).checkpoint_hash
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes()[:40])
    further = principal_directions(gan, x, m, k=2, samples=12, reach=3.0)
    assert torch.allclose(further.noise, 1.5 * found.noise, atol=1e-6)
    for name, words in (("none", "no file of directions at"), ("broken", "holds no directions")):
        with pytest.raises(RoiganError, match=words):
            load_directions(tmp_path / f"{name}.safetensors")


@pytest.mark.slow
def test_the_command_finds_directions(tmp_path, capsys):
    out = tmp_path / "own.safetensors"
    words = (
        "directions synthfaces --dataset synthfaces --split test --n 1 --count 2 --samples 8 --out"
    )
    assert main([*words.split(), str(out)]) == 0
    assert "2 directions of synthfaces" in capsys.readouterr().out
    assert load_directions(out).noise.shape == (2, 32)
    assert main([*words.split(), "x.png"]) == 2


def test_what_each_slider_shows_is_a_row(gan):
    data = rg.open_dataset("synthfaces", "test", 32, limit=4)
    found = principal_directions(gan, data[:2], sample_masks("elliptic", 2, 32), k=2, samples=12)
    directed = Directed(gan, found)
    seen = discovered.effects(directed, data, few=2)
    assert len(seen) == directed.n_continuous + gan.n_discrete + 1 and (seen["value"] > 0).any()
    assert {"direction 1", "direction 2", "z0"} <= set(seen["method"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cats", "cars"])
def test_each_found_slider_of_cats_and_cars_can_be_seen(name):
    gan = rg.load_model(name)
    rows = load_rows(Path(__file__).parents[1] / "figures" / "found.jsonl")
    rows = rows[(rows["checkpoint"] == gan.checkpoint_hash) & (rows["metric"] == "visible_change")]
    shown = rows.set_index("method")["value"]
    x = rg.open_dataset("synthfaces", "test", limit=2)[:]
    change = visible_change_per_code(gan, x, region(64, *FACE))
    for key in (f"c{k}" for k in range(1, gan.n_continuous + 1)):
        assert shown[key] >= 0.04, key  # on its own pictures
        assert change[key].mean() > 0.02, key  # on pictures of another kind
