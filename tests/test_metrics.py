"""Metrics against closed forms, plain loops and reference libraries; the table as promised."""

import errno
import json
import math
import os
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from roigan_lib import metrics
from roigan_lib.baselines import telea
from roigan_lib.data import to_uint8
from roigan_lib.errors import RoiganError
from roigan_lib.masks import sample_masks
from roigan_lib.metrics import features as nets
from roigan_lib.metrics.distances import _kernels, _mmd2, small_n_note

FIGURES = Path(__file__).parents[1] / "figures"
needs_inception = pytest.mark.skipif(
    not metrics.inception_available(), reason=f"no FID Inception weights at {nets.inception_path()}"
)


@pytest.fixture
def pair():
    """12 smooth random images (n, 3, 32, 32), and elliptic holes."""
    images = torch.nn.functional.interpolate(
        torch.rand(12, 3, 6, 6) * 2 - 1, (32, 32), mode="bicubic"
    ).clamp(-1, 1)
    return images, sample_masks("elliptic", 12, 32, seed=1)


# ---- Fréchet distance, eq. (4.1)


def test_frechet_of_axis_aligned_gaussians_is_the_closed_form():
    a, b = torch.tensor([1.0, 4, 9]), torch.tensor([4.0, 1, 0])
    mean = torch.tensor([0.5, -2, 1])
    expected = float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert metrics.frechet_from_moments(torch.zeros(3), a.diag(), mean, b.diag()) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize("n, dims", [(200, 8), (500, 64), (1000, 1)])
def test_frechet_is_scipys_matrix_root(n, dims):
    linalg = pytest.importorskip("scipy.linalg")
    x = torch.randn(n, dims, dtype=torch.float64) @ torch.randn(dims, dims, dtype=torch.float64)
    y = torch.randn(n, dims, dtype=torch.float64) * 1.3 + 0.2
    s1, s2 = (np.atleast_2d(np.cov(t.numpy(), rowvar=False)) for t in (x, y))
    root = np.atleast_2d(linalg.sqrtm(s1 @ s2)).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(s1 + s2 - 2 * root)
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_frechet_with_fewer_images_than_dims():
    x = torch.randn(20, 100)
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(x, x + 3) == pytest.approx(900, rel=1e-6)
    y = torch.randn(30, 100)
    whole = [part for t in (x.double(), y.double()) for part in (t.mean(0), torch.cov(t.T))]
    assert metrics.frechet_distance(x, y) == pytest.approx(
        metrics.frechet_from_moments(*whole), rel=1e-7
    )
    assert metrics.frechet_distance(y, x) == pytest.approx(
        metrics.frechet_distance(x, y), rel=1e-12
    )
    assert "singular" in small_n_note(20, 100) and "2,048" in small_n_note(1000, 768)
    assert small_n_note(5000, 768) is None


@pytest.mark.parametrize("k", [0, -1])
def test_a_neighbour_begins_at_the_first(k):
    with pytest.raises(RoiganError, match=f"k is {k}; give a whole number from 1"):
        metrics.precision_recall(torch.randn(9, 4), torch.randn(9, 4), k)


@pytest.mark.parametrize("numbers", [{"size": 1}, {"size": 0}, {"size": -3}, {"subsets": 0}])
def test_kid_of_no_pair_is_one_sentence(numbers):
    x = torch.randn(40, 4)
    with pytest.raises(RoiganError, match="size, images in a subset, is|subsets is 0"):
        metrics.kernel_distance(x, x + 1, **numbers)


def test_bad_features_are_one_sentence():
    x = torch.randn(10, 4)
    broken = x.clone()
    broken[3, 1] = float("nan")
    for call in (metrics.frechet_distance, metrics.kernel_distance):
        with pytest.raises(RoiganError, match="NaN"):
            call(x, broken)
        with pytest.raises(RoiganError, match="1e30"):  # their squares would be infinite
            call(x, x.double() * 1e154)
        with pytest.raises(RoiganError, match="dims"):
            call(x, x[:, :3])
        with pytest.raises(RoiganError, match="at least"):
            call(x, x[:1])


# ---- KID


def mmd2_by_loops(x, y):
    """Bińkowski et al. (2018), eq. (4), with their kernel (x·y / d + 1)³, sum by sum."""

    def k(a, b):
        return (sum(float(p) * float(q) for p, q in zip(a, b)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def mmd2(x, y):
    return _mmd2(*_kernels(x, y))


def test_mmd_is_the_double_loop():
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64) + 1
    assert mmd2(x, y) == pytest.approx(mmd2_by_loops(x, y), rel=1e-10)


@pytest.mark.parametrize("n, m, size", [(21, 30, None), (40, 20, 5), (8, 8, 4), (9, 9, 2)])
def test_kid_is_the_mean_over_subsets(n, m, size):
    x, y = torch.randn(n, 5, dtype=torch.float64), torch.randn(m, 5, dtype=torch.float64) + 0.3
    gen, k = torch.Generator().manual_seed(4), size or min(n, m) // 2
    each = [
        mmd2_by_loops(*(t[torch.randperm(len(t), generator=gen)[:k]] for t in (x, y)))
        for _ in range(7)
    ]
    mean, sd = metrics.kernel_distance(x, y, subsets=7, size=size, seed=4)
    assert mean == pytest.approx(np.mean(each), rel=1e-9)
    assert sd == pytest.approx(np.std(each, ddof=1), rel=1e-9, abs=1e-12)


def test_kid_is_unbiased_and_repeatable():
    gen = torch.Generator().manual_seed(5)
    draws = [
        mmd2(torch.randn(40, 8, generator=gen), torch.randn(40, 8, generator=gen))
        for _ in range(200)
    ]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / math.sqrt(200) and min(draws) < 0
    x, y = torch.randn(100, 8), torch.randn(100, 8) + 0.5
    assert (
        metrics.kernel_distance(x, y)
        == metrics.kernel_distance(x, y)
        != metrics.kernel_distance(x, y, seed=1)
    )
    mean, sd = metrics.kernel_distance(x, y)
    assert mean > 3 * sd / math.sqrt(50) > 0


# ---- scores of completed images


def test_l1_hole_is_the_plain_loop(pair):
    images, masks = pair
    other = images.flip(0)
    sums, count = 0.0, 0
    for i in range(len(images)):
        inside = masks[i, 0] > 0.5
        errors = (images[i][:, inside] - other[i][:, inside]).abs().flatten() / 2
        sums, count = sums + float(errors.sum()), count + len(errors)
    assert metrics.l1_hole(other, images, masks) == pytest.approx(sums / count, rel=1e-5)
    black, white = torch.full_like(images, -1), torch.full_like(images, 1)
    assert metrics.l1_hole(black, white, masks) == 1


def test_l1_ignores_what_is_outside(pair):
    images, masks = pair
    raw = torch.where(masks > 0.5, images, -images)
    assert metrics.l1_hole(raw, images, masks) == 0
    assert metrics.outside_change(raw, images, masks) == pytest.approx(
        float((2 * images * (1 - masks)).abs().max()), rel=1e-6
    )
    assert metrics.outside_change(telea(images, masks), images, masks) == 0


@pytest.fixture
def bytes_pair(pair):
    """Pictures as scikit-image expects them, 8 bits (n, H, W, 3), and the same pair as the kit's.

    The originals reach from black to white; the others are darker and noisy.
    """
    shapes = pair[0].movedim(1, -1).numpy()
    noise = np.random.default_rng(0).normal(0, 12, shapes.shape)
    one = np.round((shapes + 1) * 127.5).astype(np.uint8)
    other = np.clip(np.round(0.8 * one + noise), 0, 255).astype(np.uint8)
    tensors = [torch.from_numpy(t).movedim(-1, 1).float() / 127.5 - 1 for t in (one, other)]
    return one, other, *tensors


@pytest.mark.slow
def test_psnr_is_scikit_images_on_8_bits(bytes_pair):
    peer = pytest.importorskip("skimage.metrics").peak_signal_noise_ratio
    one, other, images, completed = bytes_pair
    theirs = [peer(a, b, data_range=255) for a, b in zip(one, other)]
    assert metrics.psnr(completed, images).tolist() == pytest.approx(theirs, abs=1e-4)
    assert metrics.psnr(images, images).tolist() == [100.0] * 12


def test_ssim_is_scikit_images_on_8_bits_and_on_0_to_1(bytes_pair):
    peer = pytest.importorskip("skimage.metrics").structural_similarity
    one, other, images, completed = bytes_pair
    ours = metrics.ssim(completed, images)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for scale, data_range in ((1, 255), (255.0, 1)):
        theirs = [
            peer(
                a / scale if data_range == 1 else a,
                b / scale if data_range == 1 else b,
                data_range=data_range,
                channel_axis=-1,
                **wang,
            )
            for a, b in zip(one, other)
        ]
        assert ours.tolist() == pytest.approx(theirs, abs=1e-6)
    assert ours.dtype == images.dtype and 0.2 < ours.mean() < 0.95
    assert torch.allclose(metrics.ssim(images, images), torch.ones(12))


@pytest.mark.parametrize("a, b, expected", [(130, 125, 0.9992), (0, 10, 0.061), (255, 255, 1)])
def test_ssim_of_two_greys_is_the_closed_form(a, b, expected):
    x, y = (torch.full((1, 3, 16, 16), grey / 127.5 - 1, dtype=torch.float64) for grey in (a, b))
    c1 = (0.01 * 255) ** 2  # Wang et al. (2004), eq. (6): luminance
    closed_form = (2 * a * b + c1) / (a * a + b * b + c1)
    assert metrics.ssim(x, y).item() == pytest.approx(closed_form, abs=1e-9)
    assert closed_form == pytest.approx(expected, abs=1e-4)


def test_images_smaller_than_the_window_of_ssim_are_refused():
    with pytest.raises(RoiganError, match="11×11"):
        metrics.ssim(torch.zeros(2, 3, 10, 16), torch.zeros(2, 3, 10, 16))
    with pytest.raises(RoiganError, match="11×11"):
        metrics.compare({"telea": telea}, torch.zeros(4, 3, 10, 16), torch.ones(1, 1, 10, 16))


def test_border_ratio_is_the_plain_loop(pair):
    images, masks = pair
    done = torch.where(masks > 0.5, images + 0.5, images)

    def jump(x):
        total = 0.0
        for i in range(len(x)):
            for r in range(32):
                for c in range(32):
                    for r2, c2 in ((r + 1, c), (r, c + 1)):
                        if r2 < 32 and c2 < 32 and masks[i, 0, r, c] != masks[i, 0, r2, c2]:
                            total += float((x[i, :, r, c] - x[i, :, r2, c2]).abs().sum())
        return total

    images, masks, done = images[:2], masks[:2], done[:2]
    assert metrics.border_ratio(done, images, masks) == pytest.approx(
        jump(done) / jump(images), rel=1e-5
    )
    assert (
        metrics.border_ratio(done, images, masks) > 1.5
        and metrics.border_ratio(images, images, masks) == 1
    )
    flat = torch.zeros_like(images)
    assert (
        metrics.border_ratio(flat, flat, masks) == 1
        and metrics.border_ratio(done, flat, masks) == math.inf
    )


def test_diversity_is_the_mean_over_pairs(pair):
    images, masks = pair
    shifted = torch.stack([images, images + 0.2, images + 0.6])
    assert metrics.diversity(shifted, masks) == pytest.approx((0.1 + 0.3 + 0.2) / 3, abs=1e-5)
    assert metrics.diversity(torch.stack([images, images]), masks) == 0
    draws = torch.rand(4, 12, 3, 32, 32) * 2 - 1  # pixels count alike, holes by their size
    draws[:, 3] = 0
    sums, count = 0.0, 0
    for i in range(4):
        for j in range(i):
            for k in range(12):
                inside = masks[k, 0] > 0.5
                errors = (draws[i, k][:, inside] - draws[j, k][:, inside]).abs() / 2
                sums, count = sums + float(errors.sum()), count + errors.numel()
    assert metrics.diversity(draws, masks) == pytest.approx(sums / count, rel=1e-5)
    with pytest.raises(RoiganError, match="two completions"):
        metrics.diversity(images[None], masks)


# ---- features


def test_eight_bits_are_the_nearest():
    values = torch.arange(256) / 127.5 - 1
    assert torch.equal(to_uint8(values), torch.arange(256).byte())
    assert to_uint8(torch.tensor([-1.2, 1.7])).tolist() == [0, 255]


def test_missing_inception_weights_are_one_sentence(monkeypatch, tmp_path):
    pytest.importorskip("pytorch_fid")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(url, path, hash_prefix, progress):
        assert hash_prefix == "6726825d" and url.endswith(nets.INCEPTION_FILE)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    assert not metrics.inception_available()
    with pytest.raises(RoiganError, match=r"no network.*put pt_inception.*dims=None"):
        metrics.inception_features(torch.zeros(2, 3, 32, 32), dims=192)
    with pytest.raises(RoiganError, match="64, 192, 768, 2048"):
        metrics.inception_features(torch.zeros(2, 3, 32, 32), dims=500)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*official weight file")
@needs_inception
def test_our_faster_inception_is_pytorch_fids(tmp_path):
    from PIL import Image
    from pytorch_fid.fid_score import get_activations
    from pytorch_fid.inception import InceptionV3

    files, levels = [], torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    for k, picture in enumerate(levels):
        files.append(tmp_path / f"{k}.png")
        Image.fromarray(picture.numpy()).save(files[-1])
    net = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[192]])
    theirs = torch.from_numpy(get_activations(files, net, 3, 192, num_workers=0)).float()
    images = levels.movedim(-1, 1) / 127.5 - 1
    ours = metrics.inception_features(images, dims=192, batch=2)
    assert ours.shape == (3, 192) and torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)


# ---- the table


class Coloured:
    """A stand-in for a model: fills the hole with one random colour for each image and seed."""

    checkpoint_hash = "abc123def456"
    card = {"config_hash": "0123456789ab"}

    def inpaint(self, images, masks, codes=None, seed=0):
        gen = torch.Generator().manual_seed(seed)
        fill = torch.rand(len(images), 3, 1, 1, generator=gen) * 2 - 1
        return torch.where(masks > 0.5, fill.expand_as(images), images)


@pytest.fixture
def no_factors(monkeypatch):
    monkeypatch.setattr(nets, "factor_net", lambda: None)


def test_compare_rows(pair, no_factors):
    images, masks = pair
    table = metrics.compare(
        {"colour": Coloured(), "telea": telea, "itself": lambda x, m: x},
        images,
        {"elliptic": masks, "one": masks[:1]},
        data="noise",
        split="test",
        batch=5,
    )
    pivot = metrics.pivot(table)
    assert list(pivot["one"]) == list(pivot["elliptic"]) == ["colour", "telea", "itself"]
    assert set(pivot.index) == {*metrics.METRICS, "diversity"} and pivot.notna().all(axis=None)
    expected = metrics.l1_hole(telea(images, masks), images, masks)
    assert pivot["elliptic"].telea.l1_hole == pytest.approx(expected, rel=1e-6)
    assert pivot["elliptic"].telea.diversity == 0 < pivot["elliptic"].colour.diversity
    assert pivot["one"].itself.border_ratio == 1 and pivot["one"].itself.l1_hole == 0
    assert (pivot.loc["outside_change"] == 0).all()
    row = table.query("method == 'colour' and metric == 'psnr' and mask_law == 'elliptic'").iloc[0]
    assert (row["n_real"], row["n_fake"], row["dataset"], row["split"], row["seed"]) == (
        12,
        12,
        "noise",
        "test",
        0,
    )
    assert (row["checkpoint"], row["config"]) == ("abc123def456", "0123456789ab") and row[
        "spread"
    ] > 0
    assert len(row["mask_hash"]) == 12 and row["mask_hash"] == metrics.mask_hash(masks)
    assert row["versions"]["torch"] == torch.__version__.split("+")[0] and row["time"].endswith("Z")
    json.dumps(metrics.records(table), allow_nan=False)
    assert metrics.value(table, "psnr", "colour", "elliptic") == row["value"]
    with pytest.raises(RoiganError, match="no 'fid'"):
        metrics.value(table, "fid", "colour", "elliptic")


def test_batches_of_a_seeded_method_differ_and_repeat(pair):
    images, masks = (t[:1].expand(8, -1, -1, -1) for t in pair)
    done = metrics.complete("colour", Coloured(), images, masks, seed=3, batch=2)
    assert not torch.equal(done[0], done[2]) and not torch.equal(done[0], done[1])
    assert torch.equal(done, metrics.complete("colour", Coloured(), images, masks, seed=3, batch=2))


def test_a_method_that_works_in_place_spoils_nothing(pair, no_factors):
    images, masks = pair
    before = images.clone(), masks.clone()
    plain = {"telea": telea, "black": lambda x, m: torch.where(m > 0.5, -1.0, x)}
    buffer = torch.empty(5, 3, 32, 32)

    def in_place(x, m):
        answer = plain["black"](x, m)
        x.copy_(answer)
        m.fill_(1)
        return x

    def one_buffer(x, m):
        return buffer[: len(x)].copy_(plain["black"](x, m))

    vandals = {"in place": in_place, "one buffer": one_buffer}
    both = {"one": masks[:1], "each": masks}
    expected = metrics.pivot(metrics.compare(plain, images, both, batch=5))
    found = metrics.pivot(metrics.compare({**vandals, **plain}, images, both, batch=5))
    assert torch.equal(images, before[0]) and torch.equal(masks, before[1])
    for law in both:
        assert found[law][list(plain)].equals(expected[law])
        for name in vandals:
            assert found[law, name].equals(expected[law, "black"])


@pytest.mark.parametrize("numbers", [{"batch": 0}, {"diversity_images": 0}, {"diversity_seeds": 1}])
def test_numbers_that_leave_nothing_to_compare_are_refused_before_the_work(pair, numbers):
    def never(x, m):
        raise AssertionError("the method was called")

    with pytest.raises(RoiganError, match="is [01]; give a whole number from [12]"):
        metrics.compare({"never": never}, *pair, **numbers)
    with pytest.raises(RoiganError, match="batch is 0"):
        metrics.complete("never", never, *pair, batch=0)


def test_real_features_are_taken_once(pair, no_factors, monkeypatch):
    seen = []

    def features(images, dims):
        seen.append(len(images))
        return to_uint8(images).float().flatten(1)[:, :dims]

    monkeypatch.setattr(nets, "inception_features", features)
    monkeypatch.setattr(nets, "inception_hash", lambda: "6726825d0000")
    images, masks = pair
    lines = []
    table = metrics.compare(
        {"a": telea, "b": Coloured()},
        images,
        {"x": masks, "y": masks.flip(0)},
        dims=64,
        reference=images[:10],
        progress=lines.append,
    )
    assert seen == [10] + 4 * [12] and any("a: 12/12 images" in line for line in lines)
    row = table.query("metric == 'fid64_n12' and method == 'a' and mask_law == 'x'").iloc[0]
    expected = metrics.frechet_distance(
        features(images[:10], 64), features(telea(images, masks), 64)
    )
    assert row["value"] == pytest.approx(expected, rel=1e-9)
    assert row["n_real"] == 10 and row["weights"] == "6726825d0000" and "singular" in row["note"]
    assert (table[table.metric == "kid64_n12"].spread > 0).all() and row["reference"] == "other"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*official weight file")
def test_compare_with_the_networks_at_hand(pair):
    images = torch.nn.functional.interpolate(pair[0], (64, 64))
    masks = sample_masks("elliptic", 12, 64, seed=2)
    dims = 64 if metrics.inception_available() else None
    table = metrics.compare({"telea": telea, "itself": lambda x, m: x}, images, masks, dims=dims)
    names = set(table["metric"])
    assert ("fid64_n12" in names) == ("kid64_n12" in names) == (dims is not None)
    assert ("frechet_factors_n12" in names) == (nets.factor_net() is not None)
    for name in names:
        if name.startswith(("fid", "frechet")):
            itself, other = (metrics.value(table, name, m, "given") for m in ("itself", "telea"))
            assert itself == pytest.approx(0, abs=1e-6) and other > itself


def test_a_method_that_misbehaves_is_named(pair, no_factors):
    images, masks = pair
    wrong = {
        "shape": lambda x, m: x[:, :1],
        "nan": lambda x, m: x * float("nan"),
        "bytes": lambda x, m: x * 127 + 128,
        "nothing": lambda x, m: None,
        "list": [1, 2],
    }
    for name, method in wrong.items():
        with pytest.raises(RoiganError, match=f"Method '{name}'"):
            metrics.compare({name: method}, images, masks)
    with pytest.raises(RoiganError, match="dictionary"):
        metrics.compare(np.zeros((2, 2)), images, masks)
    with pytest.raises(RoiganError, match="dictionary"):
        metrics.compare({}, images, masks)
    with pytest.raises(RoiganError, match="images"):
        metrics.compare({"telea": telea}, images[0], masks)
    with pytest.raises(RoiganError, match="'given'"):
        metrics.compare({"telea": telea}, images, masks[:5])
    with pytest.raises(RoiganError, match="elliptic"):
        metrics.compare({"telea": telea}, images, "eliptic")


def row(metric, method, law, value, **more):
    return {
        "metric": metric,
        "method": method,
        "mask_law": law,
        "value": value,
        "spread": None,
        "dataset": "d",
        "split": "test",
        "seed": 0,
        "n_fake": 10,
        **more,
    }


def test_best_values_and_how_the_table_reads():
    table = metrics.frame(
        [
            row("fid768_n10", "a", "e", 0.3, note="10 images, few"),
            row("fid768_n10", "b", "e", 0.4),
            row("psnr", "a", "e", 20.0),
            row("psnr", "b", "e", 21.0),
            row("border_ratio", "a", "e", 1.2),
            row("border_ratio", "b", "e", 0.7),
            row("outside_change", "a", "e", 0.0),
            row("outside_change", "b", "e", 0.0),
            row("kid768_n10", "<b>", "r", 0.01, spread=0.002),
            row("fid768_n10", "b", "r", float("nan")),
        ]
    )
    best = metrics.best(table)
    assert {place: list(best.columns[line]) for place, line in best.iterrows() if line.any()} == {
        "fid768_n10": [("e", "a")],
        "psnr": [("e", "b")],
        "border_ratio": [("e", "a")],
    }
    lines = metrics.to_markdown(table).splitlines()
    assert lines[0] == "| metric | e: a | e: b | e: <b> | r: a | r: b | r: <b> |"
    assert "| fid768_n10 ↓ | **0.300** | 0.400 | – | – | – | – |" in lines
    assert "0.010 ± 0.002" in lines[-1] and len({line.count("|") for line in lines}) == 1
    page = metrics.show(table).to_html()
    assert "<b>0.300</b>" in page and "<b>0.400</b>" not in page and "&lt;b&gt;" in page
    assert "d test; bold: the best of its mask family; 10 images, few</caption>" in page
    assert page == metrics.show(metrics.records(table)).to_html()  # no random names in a notebook
    assert metrics.to_markdown([]) == "(no rows)" and metrics.show([]).to_html()


def test_rows_are_merged_by_key(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    metrics.write_rows(path, [row("psnr", "a", "e", 1.0), row("psnr", "b", "e", 2.0)])
    more = [row("psnr", "a", "e", 9.0, seed=1), row("ssim", "a", "e", float("inf"))]
    metrics.write_rows(path, metrics.frame([row("psnr", "a", "e", 3.0), *more]))
    back = metrics.load_rows(path)
    assert back["value"].tolist()[:3] == [3.0, 2.0, 9.0] and metrics.records(back)[3]["value"] != 0
    assert path.read_text().splitlines()[3].startswith('{"metric": "ssim", "method": "a"')
    assert '"value": null' in path.read_text().splitlines()[3]
    assert [p.name for p in path.parent.iterdir()] == ["rows.jsonl"]


def test_no_rows_have_the_columns_that_a_page_asks_of_rows():
    asked = {"metric", "method", "dataset", "value", "checkpoint", "mask_hash"}
    assert asked <= set(metrics.frame([]).columns)


def test_values_of_a_page_become_rows_that_share_what_they_are_about(tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_FIGURES", str(tmp_path))
    own = {"change": {"c1": torch.tensor([1.0, 3.0]), "c2": 0.5}, "wobble": [float("nan")] * 2}
    path = metrics.keep("page.jsonl", {"a": own}, dataset="d", seed=7, n_fake=2)
    assert path == tmp_path / "page.jsonl" and metrics.keep("page.jsonl", {}) == path
    found = [json.loads(line) for line in path.read_text().splitlines()]
    about = {"method": "a", "dataset": "d", "seed": 7, "n_fake": 2}
    assert found == [
        {"metric": "change_c1", "value": 2.0, "spread": math.sqrt(2)} | about,
        {"metric": "change_c2", "value": 0.5, "spread": None} | about,
    ]
    metrics.keep("page.jsonl", metrics.frame([row("psnr", "a", "e", 1.0)]))
    assert len(metrics.load_rows(path)) == 3


def test_a_row_keeps_its_keys_its_whole_numbers_and_its_nones():
    rows = [row("psnr", "a", "e", 1.5, note=None, steps=3), row("psnr", "b", "e", 2.0, versions={})]
    back = metrics.records(metrics.frame(rows))
    assert back == rows and [list(line) for line in back] == [list(line) for line in rows]
    assert [type(value) for value in back[0].values()] == [type(v) for v in rows[0].values()]


@pytest.mark.parametrize("file", sorted(FIGURES.glob("*.jsonl")), ids=lambda file: file.name)
def test_committed_rows_are_rewritten_byte_for_byte(file, tmp_path):
    if file.name.startswith("training_"):
        pytest.skip("a log of steps, which has no key to merge by")
    again = tmp_path / file.name
    shutil.copy(file, again)
    for rows in ([], metrics.load_rows(file)):
        metrics.write_rows(again, rows)
        assert again.read_bytes() == file.read_bytes()


def test_files_that_cannot_be_read_or_written(tmp_path, monkeypatch):
    with pytest.raises(RoiganError, match="Cannot read"):
        metrics.load_rows(tmp_path / "none.jsonl")
    path = tmp_path / "rows.jsonl"
    path.write_text('{"metric": 1}\n{"metr')
    with pytest.raises(RoiganError, match="Line 2"):
        metrics.load_rows(path)
    path.write_text(json.dumps(row("psnr", "a", "e", 1.0)) + "\n")
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RoiganError, match="no space is left"):
        metrics.write_rows(path, [row("psnr", "a", "e", 2.0)])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["rows.jsonl"]


def test_the_thesis_table():
    assert {k: min(v, key=v.get) for k, v in metrics.THESIS_TABLE_4_2.items()}[
        "RoI-GAN"
    ] == "rectangular"
    for law in ("elliptic", "rectangular", "mixed"):
        assert (
            min(metrics.THESIS_TABLE_4_2, key=lambda m: metrics.THESIS_TABLE_4_2[m][law])
            == "RoI-GAN"
        )


def test_precision_and_recall_of_known_sets():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(200, 4, generator=generator)
    assert metrics.precision_recall(real, real) == (1.0, 1.0)
    assert metrics.precision_recall(real, real + 100) == (0.0, 0.0)
    both = torch.cat([real, real + 100])
    assert metrics.precision_recall(both, real) == (
        1.0,
        0.5,
    )  # true to life, but half of life is missing
    assert metrics.precision_recall(real, both) == (
        0.5,
        1.0,
    )  # all of life, and as much again of nonsense


def test_precision_and_recall_by_loops():
    generator = torch.Generator().manual_seed(1)
    real, fake, k = (
        torch.randn(23, 3, generator=generator),
        1.5 * torch.randn(17, 3, generator=generator),
        2,
    )

    def covered(point, cloud):
        for one in cloud:
            reach = sorted(float((one - other).norm()) for other in cloud)[k]
            if float((one - point).norm()) <= reach + 1e-6:
                return True
        return False

    expected = (
        sum(covered(p, real) for p in fake) / len(fake),
        sum(covered(p, fake) for p in real) / len(real),
    )
    assert metrics.precision_recall(real, fake, k) == pytest.approx(expected)
    for wrong in (fake[:, :2], fake[:2], fake * float("nan")):
        with pytest.raises(RoiganError, match="Precision and recall|NaN"):
            metrics.precision_recall(real, wrong, k)


def test_bins_hold_the_scores_of_their_images(pair, no_factors):
    images = pair[0].repeat(2, 1, 1, 1)
    masks = torch.zeros(24, 1, *images.shape[2:])
    masks[:8, :, :4, :4], masks[8:20, :, :, :8], masks[20:, :, :, :16] = (
        1,
        1,
        1,
    )  # the last bin has too few
    share = float(masks[8].mean())
    table = metrics.compare(
        {"colour": Coloured()}, images, {"squares": masks}, bins=(0, share - 0.01, share, 1)
    )
    laws = list(table[table.metric == "l1_hole"].mask_law)
    assert (
        len(laws) == 3
        and laws[0] == "squares"
        and all(law.startswith("squares, ") for law in laws[1:])
    )
    done = metrics.complete("colour", Coloured(), images, masks, 0)
    for law, chosen in zip(laws, (slice(None), slice(0, 8), slice(8, 20))):
        row = table.query("metric == 'l1_hole' and mask_law == @law").iloc[0]
        assert row["value"] == metrics.l1_hole(done[chosen], images[chosen], masks[chosen])
        assert row["n_fake"] == row["n_real"] == len(images[chosen])
    assert len(table[table.metric == "diversity"]) == 1


@pytest.mark.slow
@needs_inception
@pytest.mark.filterwarnings("ignore:.*official weight file")
def test_several_depths_come_from_one_pass(pair):
    both = metrics.inception_features(pair[0], (192, 64))
    assert list(both) == [64, 192] and set(both) <= set(metrics.inception_dims())
    for d, features in both.items():
        assert torch.allclose(features, metrics.inception_features(pair[0], d), atol=1e-5)


def test_one_mask_serves_all_images():
    torch.manual_seed(0)
    x, y = torch.rand(2, 5, 3, 8, 8) * 2 - 1
    mask = (torch.rand(1, 1, 8, 8) > 0.5).float()
    every = mask.expand(5, -1, -1, -1)
    assert metrics.l1_hole(x, y, mask) == metrics.l1_hole(x, y, every) < 1
    assert metrics.diversity(torch.stack([x, y]), mask) == metrics.diversity(
        torch.stack([x, y]), every
    )
