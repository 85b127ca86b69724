"""FactorNet: shapes, gradients, the shipped weights, and whether they read what they claim."""

import pytest
import torch

from roigan_lib.data import open_dataset
from roigan_lib.data.synthfaces import FACTORS, sample_factors
from roigan_lib.data.synthfaces import reader as fn
from roigan_lib.errors import RoiganError


@pytest.fixture(scope="module")
def net():
    return fn.load_factor_net()


def test_shapes_at_any_size(net):
    for size in (64, 48, 128):
        x = torch.rand(2, 3, size, size) * 2 - 1
        out = net(x)
        assert out["continuous"].shape == (2, len(fn.CONTINUOUS))
        assert {k: v.shape for k, v in out["logits"].items()} == {
            k: (2, n) for k, n in fn.CATEGORICAL.items()
        }
        assert net.features(x).shape == (2, net.dims) and 64 <= net.dims <= 256
        assert [m.shape[1:] for m in net.maps(x)] == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    assert len(fn.CONTINUOUS) + len(fn.CATEGORICAL) == len(FACTORS)


def test_small_frozen_and_differentiable(net):
    assert 3e5 < sum(p.numel() for p in net.parameters()) < 6e5
    assert fn.WEIGHTS.stat().st_size < 1.5e6
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    x = torch.zeros(1, 3, 64, 64, requires_grad=True)
    sum(m.square().mean() for m in net.maps(x)).backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0


@pytest.mark.slow
def test_the_metadata_holds_on_test_images(net):
    meta = fn.factor_net_metadata()
    assert meta["steps"] > 0 and meta["seconds"] > 0 and meta["n_test"] >= 500
    images = open_dataset("synthfaces", "test", 64, limit=500)
    r2, accuracy = fn.measure(net, images[:], images.factors)
    assert set(r2) == set(meta["r2"]) == set(fn.CONTINUOUS) and set(accuracy) == set(
        meta["accuracy"]
    )
    for name, value in meta["r2"].items():
        assert abs(r2[name] - value) < 0.12, name  # half the images: sampling spread
    for name, value in meta["accuracy"].items():
        assert abs(accuracy[name] - value) < 0.05, name
    readable = [name for name, value in r2.items() if value > 0.5]
    assert len(readable) > 0.85 * len(r2) and {
        "gaze",
        "eye_colour",
        "beard",
        "light",
        "yaw",
        "tilt",
    } <= set(readable)


@pytest.mark.slow
def test_training_learns_and_saves_what_it_measured(tmp_path):
    data = open_dataset("synthfaces", "test", 64, limit=64)
    net, meta = fn.train_factor_net(steps=6, batch=16, train=data, test=data, log=None)
    assert (
        meta["steps"] == 6
        and set(meta["r2"]) == set(fn.CONTINUOUS)
        and set(meta["accuracy"]) == set(fn.CATEGORICAL)
    )
    fn.save_factor_net(net, meta, tmp_path / "net.safetensors")
    assert fn.factor_net_metadata(tmp_path / "net.safetensors") == meta
    again = fn.load_factor_net(tmp_path / "net.safetensors")
    assert torch.allclose(again(data[:4])["continuous"], net(data[:4])["continuous"], atol=1e-5)


def test_a_mirrored_face_reads_mirrored(net):
    rows = sample_factors(40, seed=12)
    from roigan_lib.data.synthfaces import render

    x = render(rows, 64)
    here, there = net(x)["continuous"], net(x.flip(-1))["continuous"]
    for name in ("yaw", "light", "tilt"):
        i = fn.CONTINUOUS.index(name)
        assert torch.corrcoef(torch.stack([here[:, i], there[:, i]]))[0, 1] < -0.8, name


def test_bad_input_is_one_sentence(net, tmp_path):
    with pytest.raises(RoiganError, match="shape"):
        net(torch.zeros(3, 64, 64))
    with pytest.raises(RoiganError, match="shape"):
        net.features(torch.zeros(2, 1, 64, 64))
    with pytest.raises(RoiganError, match="no FactorNet weights"):
        fn.load_factor_net(tmp_path / "absent.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(RoiganError, match="does not hold"):
        fn.load_factor_net(tmp_path / "junk.safetensors")
