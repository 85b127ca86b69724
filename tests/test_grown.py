"""Networks of 128 pixels that lie around those of 64 (the thesis' [25])."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import roigan_lib as rg
from roigan_lib import checkpoint
from roigan_lib.config import load_config
from roigan_lib.data import ImageSet
from roigan_lib.ensemble import Enlarged
from roigan_lib.making import make
from roigan_lib.models import Classifier, Generator, Reader, networks
from roigan_lib.models.additions import border_blend, shrunk
from roigan_lib.models.grown import CORE
from roigan_lib.training import Trainer, train


@pytest.fixture(scope="module")
def small():
    return load_config("smoke", recipe="photographs", size=CORE).model


@pytest.fixture(scope="module")
def pair(small):
    torch.manual_seed(0)
    return torch.rand(2, 3, 128, 128) * 2 - 1, rg.sample_masks("elliptic", 2, 128, seed=1)


def images(size, n=8):
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0))
    return ImageSet("noise", "train", size, pixels.to(torch.uint8))


def grow(network, cfg):
    grown = networks(cfg)[0](cfg).eval()
    left = grown.load_state_dict(network.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert all(key.startswith(("shells", "fade")) for key in left.missing_keys)
    return grown


@pytest.mark.parametrize("size", [128, 256])
def test_before_it_fades_in_a_shell_only_enlarges_what_the_core_draws(small, size):
    core = Generator(small).eval()
    grown = grow(core, replace(small, architecture="grown", size=size))
    x, z = torch.rand(1, 3, size, size) * 2 - 1, torch.randn(1, core.z_dim)
    m = rg.sample_masks("elliptic", 1, size, seed=2)
    grown.fade.fill_(0.0)
    for shell in grown.shells:
        torch.nn.init.zeros_(shell.to_rgb.weight), torch.nn.init.zeros_(shell.to_rgb.bias)
    with torch.no_grad():
        drawn, wanted = grown(x, m, z)[0], core(*shrunk(x, m), z)[0]
        for side in range(1, len(grown.shells) + 1):
            known, hole = shrunk(x, m, CORE << side)
            wanted = F.interpolate(wanted, scale_factor=2, mode="bilinear", align_corners=False)
            wanted = known * (1 - hole) + wanted * hole
    torch.testing.assert_close(drawn, wanted, atol=1e-5, rtol=0)


def test_the_first_pixels_inside_the_border_continue_what_lies_outside():
    x, m = torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    m[..., 2:7, 2:7] = 1
    colours, share = border_blend(x, m, shares=(0.5, 0.25))
    rings = torch.tensor([0, 0, 0.5, 0.25, 0, 0.25, 0.5, 0])
    torch.testing.assert_close(share[0, 0, 4], rings)
    torch.testing.assert_close(share[0, 0, 2], torch.tensor([0, 0, *[0.5] * 5, 0]))
    near = x[0, :, 3:6, 1].mean(1)  # the three known neighbours of a pixel at the left border
    torch.testing.assert_close(colours[0, :, 4, 2], 0.5 * near)
    again = torch.full_like(x, 0.3)  # one colour goes on as that colour
    torch.testing.assert_close(border_blend(again, m)[0], again * border_blend(again, m)[1])


@pytest.mark.slow
def test_a_grown_generator_draws_with_kept_tables_what_it_draws_in_training(small, pair):
    cfg = replace(small, architecture="grown", size=128)
    grown = networks(cfg)[0](cfg)
    x, m, z = *pair, torch.randn(2, grown.z_dim)
    learning = grown(x, m, z)[0]
    with torch.no_grad():
        f = grown.features_of(x, m)
        torch.testing.assert_close(grown.decode(f, m, z), learning, atol=2e-5, rtol=0)
        other = grown.decode(f, m, -z)  # a slider moves: the features stay
        torch.testing.assert_close(grown(x, m, -z)[0], other, atol=2e-5, rtol=0)


def test_readers_see_in_a_large_image_what_they_see_in_the_shrunk_one(small, pair):
    large = replace(small, architecture="grown", size=128)
    x, m = pair
    fill = torch.zeros_like(x)
    for kind in (Reader, lambda cfg: Classifier(cfg, 3)):
        torch.manual_seed(3)
        one = kind(small).eval()
        other = kind(large).eval()
        other.load_state_dict(one.state_dict())
        more = (fill,) if isinstance(one, Reader) else ()
        less = (fill[..., ::2, ::2],) if more else ()
        found, wanted = other(x, m, *more), one(*shrunk(x, m), *less)
        found, wanted = (t[0] if more else t for t in (found, wanted))
        torch.testing.assert_close(found, wanted)


@pytest.mark.slow
def test_a_run_of_128_pixels_starts_from_one_of_64_and_fades_in(tmp_path):
    opts = dict(n_continuous=4, width=0.125, batch=4, log_every=1, perceptual_net="none")
    opts |= dict(refine=1, fine=True)
    first = train(load_config("smoke", size=64, steps=2, **opts), tmp_path / "64", images(64), None)
    start = first.folder / "checkpoint.pt"
    large = dict(opts, architecture="grown", size=128, start=str(start), steps=4, warmup=0.0)
    cfg = checkpoint.with_start(load_config("smoke", ramp=0.5, **large))
    trainer = Trainer(cfg, images(128))
    checkpoint.load(trainer, start, start=True)
    kept = first.model.generator.state_dict()
    assert torch.equal(trainer.ema.dense[0].weight, kept["dense.0.weight"])
    run = train(load_config("smoke", ramp=0.5, **large), tmp_path / "128", images(128), None)
    assert run.finished and run.model.size == 128 and run.model.generator.fade == 1
    assert trainer.step() and trainer.generator.fade == 0.5  # one step of two
    again = rg.load_model(tmp_path / "128" / "model.safetensors")
    x, m = torch.zeros(1, 3, 128, 128), rg.sample_masks("elliptic", 1, 128)
    torch.testing.assert_close(again.inpaint(x, m), run.model.inpaint(x, m), atol=0.02, rtol=0)


@pytest.mark.parametrize("change", [dict(size=64), dict(size=32)])
def test_a_size_that_cannot_be_grown_is_refused(change):
    with pytest.raises(rg.RoiganError, match="grown generator has 128 or 256"):
        load_config("smoke", architecture="grown", **change)


def test_a_larger_model_does_not_shrink(tmp_path):
    opts = dict(width=0.125, batch=4, architecture="grown", size=128, steps=1)
    run = train(load_config("smoke", **opts), tmp_path / "128", images(128), None)
    opts |= dict(architecture="improved", size=64, start=str(run.folder / "checkpoint.pt"))
    with pytest.raises(rg.RoiganError, match="architecture"):
        train(load_config("smoke", **opts), tmp_path / "64", images(64), None)


SHELLS = """
base = "improved"
profile = "smoke"
note = "A shell around faces."
[model]
architecture = "grown"
size = 128
[objective]
perceptual_net = "none"
[optimisation]
warmup = 0.0
batch = 2
[[stages]]
name = "shell"
[stages.run]
start = "celeba_found"
[stages.optimisation]
learns = "shells"
steps = 2
"""


@pytest.mark.slow
def test_shells_alone_learn_and_ship_beside_the_model_within(tmp_path, monkeypatch):
    recipe = tmp_path / "shells.toml"
    recipe.write_text(SHELLS)
    run = make(str(recipe), tmp_path / "run", progress=None, data=images(128))
    core = rg.load_model("celeba_found")
    for name, kept in core.generator.state_dict().items():
        assert torch.equal(run.model.generator.state_dict()[name], kept), name
    path = run.folder / "model.safetensors"
    assert path.stat().st_size < 2**21 and run.model.card["core"]["name"] == "celeba_found"
    stored = checkpoint.read(run.folder / "checkpoint.pt")["generator"]
    moved = [k for k, v in stored.items() if k.startswith("shells") and k.endswith("to_rgb.weight")]
    assert moved and all(stored[k].abs().sum() > 0 for k in moved)
    core.checkpoint_hash = "another"
    load_model = rg.load_model
    monkeypatch.setattr("roigan_lib.stored.load_model", lambda name: core)
    with pytest.raises(rg.RoiganError, match="lies around celeba_found"):
        load_model(path)


def test_shells_without_a_grown_generator_are_refused():
    with pytest.raises(rg.RoiganError, match="architecture='grown'"):
        load_config("smoke", learns="shells")


def test_a_smaller_model_enlarged_is_pasted_into_the_large_picture(pair):
    gan, (x, m) = rg.load_model("celeba_found"), pair
    codes = gan.sample_codes(2, seed=4)
    done = Enlarged(gan).inpaint(x, m, codes, seed=5)
    assert torch.equal(torch.where(m > 0, x, done), x)
    small = gan.generate(*shrunk(x, m), codes, seed=5)
    inside = F.max_pool2d(1 - m, 9, 1, 4) == 0  # far from the border
    assert inside.any()
    wanted = F.avg_pool2d(F.interpolate(small, scale_factor=2, mode="bilinear"), 2)
    deep = F.avg_pool2d(inside.float(), 2) == 1
    assert ((F.avg_pool2d(done, 2) - wanted) * deep).abs().max() < 1e-5
