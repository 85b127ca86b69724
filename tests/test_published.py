"""The released variant: parameter counts, checkpoint layout, and the output of its description."""

import copy
from math import isfinite

import pytest
import torch
import yardstick

from roigan_lib import checkpoint
from roigan_lib import training as T
from roigan_lib.config import load_config
from roigan_lib.data import ImageSet
from roigan_lib.errors import RoiganError
from roigan_lib.masks import sample_masks
from roigan_lib.models import PublishedDiscriminator, PublishedGenerator, networks
from roigan_lib.stored import load_model


@pytest.fixture(scope="module")
def pair():
    """Generator and discriminator in eval mode, with statistics and biases as after training."""
    torch.manual_seed(0)
    cfg = load_config("thesis", recipe="published").model
    nets = [network(cfg).eval() for network in networks(cfg)]
    for net in nets:
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            with torch.no_grad():
                if name.endswith("running_var"):
                    tensor.uniform_(0.5, 2)
                elif name.endswith(("bias", "running_mean")):
                    tensor.normal_(std=0.1)
    return nets


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(1)
    return torch.rand(3, 3, 64, 64) * 2 - 1, torch.cat(
        [sample_masks(f, 1, 64, seed=2) for f in ("elliptic", "rectangular", "mixed-released")]
    )


def test_parameter_counts_are_those_of_the_release(pair):
    assert [sum(p.numel() for p in net.parameters()) for net in pair] == [6_525_383, 6_046_136]
    assert isinstance(pair[0], PublishedGenerator) and isinstance(pair[1], PublishedDiscriminator)


def test_the_layout_is_that_of_the_released_checkpoints(pair):
    generator, discriminator = (dict(net.state_dict()) for net in pair)
    conv = {f"encoder.layer_{i}.{c}.weight" for i in range(1, 6) for c in ("conv2d", "mask_conv2d")}
    blocks = {
        f"layer_{i}.{c}" for i in range(1, 5) for c in ("conv_left", "conv_right", "conv_last")
    }
    blocks |= {
        f"layer_{i}.spade_{s}.{part}"
        for i in range(1, 5)
        for s in ("left", "left_2", "right", "right_2", "last")
        for part in ("shared", "gamma", "beta", "dense_transform")
    }
    plain = blocks | {"encoder.mean", "encoder.logvar", "conv"} | {f"dense_{i}" for i in (1, 2, 3)}
    expected = conv | {f"{name}.{w}" for name in plain for w in ("weight", "bias")}
    expected |= {
        f"normalization_{i}.{w}"
        for i in (1, 2, 3)
        for w in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert set(generator) == expected
    assert generator["layer_1.spade_left.gamma.weight"].shape == (80, 128, 3, 3)
    assert generator["layer_4.conv_left.weight"].shape == (64, 72, 3, 3)
    expected = {f"net.{i}.weight_{w}" for i in (0, 2, 5, 8, 11) for w in ("orig", "u", "v")}
    expected |= {"head_local.0.weight", "head_global.0.weight", "head_global.3.weight"}
    expected |= {
        f"q_net.{name}.{w}"
        for name in ("main.0", "main.1", "main.3", "main.4", "mean", "var", "disc")
        for w in ("weight", "bias")
    }
    expected |= {
        f"q_net.main.{i}.{w}"
        for i in (1, 4)
        for w in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert set(discriminator) == expected


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_that_layout_loads_and_draws_what_the_description_draws(
    pair, batch, prefix, tmp_path
):
    state = pair[0].state_dict()
    path = tmp_path / "gen_100.chkp"
    torch.save(
        {
            "model": {prefix + k: v for k, v in state.items()},
            "optimizer": {},
            "epoch": 100,
            "iter": 7,
        },
        path,
    )
    gan = load_model(path)
    assert (gan.n_noise, gan.n_continuous, gan.n_discrete, gan.n_categories) == (146, 10, 10, 10)
    x, m = batch
    codes, noise = gan.sample_codes(3), torch.randn(3, 146)
    z = gan.generator.join_codes(codes, noise)
    with torch.no_grad():
        ours = gan.generator(x, m, z)
        plain = yardstick.generate(
            {k: v.double() for k, v in state.items() if v.is_floating_point()},
            z.double(),
            x.double(),
            m.double(),
        )
        single = yardstick.generate(state, z, x, m)
        exact = copy.deepcopy(gan.generator).double()(x.double(), m.double(), z.double())
    for a, b in zip(exact, plain):
        assert (a - b).abs().max() < 1e-6  # in double precision but for the last cast: one function
    rounding = (single[0] - plain[0]).abs().max().item()  # what that costs the plain description
    for a, b in zip(ours, plain):
        assert (a - b).abs().max() < max(1e-5, 4 * rounding)
    done = gan.inpaint(x, m, seed=1)
    assert torch.equal(torch.where(m > 0, x, done), x)


def test_the_discriminator_and_q_agree_with_the_description(pair, batch):
    state = pair[1].state_dict()
    with torch.no_grad():
        scores, maps = pair[1](*batch)
        mean, logvar, logits = pair[1].q(maps[-1])
        plain_scores, plain_maps = yardstick.judge(state, *batch, training=False)
        plain = yardstick.read(state, plain_maps[-1])
    for a, b in zip(
        (scores, mean, logvar.exp(), logits.flatten(1), *maps), (plain_scores, *plain, *plain_maps)
    ):
        assert torch.allclose(a, b, atol=5e-5, rtol=1e-4)


def test_which_parameters_never_take_part(pair, batch):
    x, m = batch
    net = pair[0]
    net(x, m, torch.randn(3, 256))[0].sum().backward()
    idle = {k: p.numel() for k, p in net.named_parameters() if p.grad is None}
    assert all("spade_left_2" in k or "spade_right" in k for k in idle)
    spare = sum(n for k, n in idle.items() if "spade_left_2" in k or "spade_right_2" in k)
    assert spare == 1_883_280  # two spare denormalizations a block
    assert sum(
        n for k, n in idle.items() if "spade_right." in k and "dense_transform" in k
    ) == 4 * (256 * 256 + 256)
    assert sum(idle.values()) > 0.4 * 6_525_383
    net.zero_grad(set_to_none=True)


@pytest.mark.slow
def test_it_trains_and_continues_exactly(tmp_path):
    pixels = torch.randint(
        0, 256, (8, 3, 64, 64), generator=torch.Generator().manual_seed(4), dtype=torch.uint8
    )
    data = ImageSet("random", "train", 64, pixels)
    cfg = load_config("smoke", recipe="published", perceptual=0.0, steps=3, batch=4, width=0.125)
    whole, half = T.Trainer(cfg, data), T.Trainer(cfg, data)
    for _ in range(3):
        logs = whole.step()
    assert (
        all(isfinite(v) for v in logs.values()) and {"penalty", "info_c", "matching"} <= logs.keys()
    )
    kept, now = dict(whole.ema.named_buffers()), dict(whole.generator.named_buffers())
    assert all(torch.equal(kept[k], now[k]) for k in now)  # batch norm counts, averages or not
    assert any(k.endswith("running_mean") and v.abs().max() > 0 for k, v in now.items())
    half.step()
    checkpoint.save(half, tmp_path / "half.pt")
    second = T.Trainer(cfg, data)
    checkpoint.load(second, tmp_path / "half.pt")
    second.step(), second.step()
    for part in ("generator", "discriminator", "ema"):
        one, two = getattr(whole, part).state_dict(), getattr(second, part).state_dict()
        assert all(torch.equal(one[k], two[k]) for k in one), part


def test_other_files_get_a_sentence(pair, tmp_path):
    torch.save({"model": pair[1].state_dict(), "epoch": 1}, tmp_path / "dis.chkp")
    torch.save({"model": {"weight": torch.zeros(1)}, "epoch": 1}, tmp_path / "other.chkp")
    with pytest.raises(RoiganError, match="discriminator"):
        load_model(tmp_path / "dis.chkp")
    with pytest.raises(RoiganError, match="another project"):
        load_model(tmp_path / "other.chkp")
    with pytest.raises(RoiganError, match="64 pixels"):
        PublishedGenerator(load_config("thesis", recipe="published", size=128).model)
