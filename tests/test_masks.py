import inspect
import math

import numpy as np
import pytest
import torch
from PIL import Image

from roigan_lib import RoiganError, check_pair, load_mask, mixtures, sample_masks
from roigan_lib import masks as M

FAMILIES = ("rectangular", "elliptic", "mixed", "mixed-released")


def areas(masks):
    return masks.mean((1, 2, 3)).double()


def within(values, expected, errors=4):
    """The mean of a sample is its expectation, within so many standard errors."""
    return abs(values.mean() - expected) < errors * values.std() / math.sqrt(len(values))


# ---- the laws


def test_families_are_the_documented_ones():
    assert M.FAMILIES == FAMILIES
    assert all(f"\n{family} " in inspect.getdoc(sample_masks) for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [8, 64, (48, 80)])
def test_shape_values_and_determinism(family, size):
    height, width = (size, size) if isinstance(size, int) else size
    masks = sample_masks(family, 300, size, seed=3)
    assert masks.shape == (300, 1, height, width) and masks.dtype == torch.float32
    assert set(masks.unique().tolist()) == {0, 1}
    assert 0 < areas(masks).min() and areas(masks).max() < 1
    assert torch.equal(masks, sample_masks(family, 300, size, seed=3))
    assert not torch.equal(masks, sample_masks(family, 300, size, seed=4))


@pytest.mark.parametrize("family", FAMILIES)
def test_generator_moves_on_and_the_global_state_does_not(family):
    generator = torch.Generator().manual_seed(5)
    before = torch.get_rng_state()
    first, second = (sample_masks(family, 4, 32, generator=generator) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, sample_masks(family, 4, 32, seed=5)) and not torch.equal(
        first, second
    )


def test_never_empty_never_full_over_20000():
    for family in FAMILIES:  # at 8 pixels, where an ellipse can miss the frame
        area = areas(sample_masks(family, 20_000, 8))
        assert area.min() > 0 and area.max() < 1, family


def test_rectangles_follow_3_1():
    n, size = 8_000, 32
    masks = sample_masks("rectangular", n, size)[:, 0]
    columns, rows = masks.amax(1), masks.amax(2)  # (n, 64) each
    assert torch.equal(
        masks, rows[:, :, None] * columns[:, None]
    )  # an outer product of single runs
    assert all(
        (side.diff(dim=1).abs().sum(1) + side[:, 0] + side[:, -1] == 2).all()
        for side in (columns, rows)
    )
    # |a - b| of two distinct edges out of 0…N has mean (N + 2) / 3; the sides are independent
    assert within(columns.sum(1), (size + 2) / 3) and within(rows.sum(1), (size + 2) / 3)
    assert within(areas(masks[:, None]), ((size + 2) / (3 * size)) ** 2)
    # pixel i lies between the corners with probability 2 (i + 1)(N - i) / (N (N + 1))
    i = torch.arange(size)
    expected = 2 * (i + 1) * (size - i) / (size * (size + 1))
    assert (columns.mean(0) - expected).abs().max() < 5 * 0.5 / math.sqrt(n)


def test_ellipse_area_and_centre_follow_3_2_to_3_5():
    n, size = 400, 256
    masks = sample_masks("elliptic", n, size, seed=1)[:, 0].double()
    mean, sigma, rho, _ = (
        p[:, 0] for p in M.gaussians("elliptic", n, size, size, torch.Generator().manual_seed(1))
    )
    inside = (
        masks[:, 0].sum(1) + masks[:, -1].sum(1) + masks[:, :, 0].sum(1) + masks[:, :, -1].sum(1)
    ) == 0
    assert inside.sum() > 100
    area = masks.sum((1, 2))
    closed = 2 * math.pi * math.log(2) * sigma.prod(1) * (1 - rho**2).sqrt()
    assert ((area / closed - 1)[inside].abs() < 0.02).all()
    x = torch.arange(size, dtype=torch.float64)
    centre = torch.stack([(masks.sum(1) * x).sum(1), (masks.sum(2) * x).sum(1)], 1) / area[:, None]
    assert (centre - mean)[inside].abs().max() < 0.5
    # the laws of the parameters themselves
    mean, sigma, rho, _ = (
        p[:, 0] for p in M.gaussians("elliptic", 20_000, size, size, torch.Generator())
    )
    assert (
        within(mean[:, 0], size / 2) and abs(mean.std() / math.sqrt(size) - 1) < 0.03
    )  # (3.2), a covariance
    assert (
        size / 5 <= sigma.min()
        and sigma.max() <= size / 3
        and within(sigma[:, 1], size * (1 / 5 + 1 / 3) / 2)
    )
    assert (
        -0.8 <= rho.min()
        and rho.max() <= 0.8
        and within(rho, 0)
        and abs(rho.std() - 1.6 / math.sqrt(12)) < 0.02
    )


def test_mean_areas_are_those_of_the_laws():
    """Ellipse: E[σ]² E[√(1-ρ²)] 2π ln 2 bounds it from above, for the frame cuts."""
    mean = {family: areas(sample_masks(family, 1_500, 64)).mean().item() for family in FAMILIES}
    root = (0.8 * math.sqrt(1 - 0.64) + math.asin(0.8)) / 1.6
    uncut = 2 * math.pi * math.log(2) * (4 / 15) ** 2 * root
    assert 0.97 * uncut < mean["elliptic"] < uncut
    assert abs(mean["elliptic"] - 0.27) < 0.01 and abs(mean["rectangular"] - 0.12) < 0.01
    assert abs(mean["mixed-released"] - 0.11) < 0.01
    assert mean["mixed"] > mean["elliptic"]


def test_wide_ellipses_are_also_small_and_far_from_the_centre():
    wide, plain = (
        sample_masks(family, 3_000, 64)[:, 0] for family in ("elliptic-wide", "elliptic")
    )
    assert (areas(wide[:, None]) < 0.05).float().mean() > 0.15 and areas(
        plain[:, None]
    ).min() > 0.05
    assert (
        wide.mean() < 0.55 * plain.mean()
        and wide[:, 4:12, 4:12].mean() > 1.1 * plain[:, 4:12, 4:12].mean()
    )
    assert set(wide.unique().tolist()) == {0, 1} and wide.sum((1, 2)).min() > 0
    broad = sample_masks("elliptic-broad", 3_000, 64)
    assert (areas(broad) > 0.3).float().mean() > 2 * (areas(wide[:, None]) > 0.3).float().mean()
    assert (areas(broad) < 0.02).float().mean() > 0.02 and areas(broad).max() < 0.9


def test_frames_that_are_not_square_put_x_along_the_width():
    masks = sample_masks("elliptic", 500, (40, 120), seed=2)[:, 0]
    assert masks.amax(1).sum(1).mean() > 2 * masks.amax(2).sum(1).mean()
    assert masks.mean(0)[20, 60] > 0.8


# ---- against the equations as they stand, one pixel at a time in float64


def literal(family, size, seed, n):
    generator = torch.Generator().manual_seed(seed)
    mean, sigma, rho, weight = (p.numpy() for p in M.gaussians(family, n, size, size, generator))
    y, x = np.mgrid[:size, :size]
    result = np.zeros((n, 1, size, size), np.float32)
    for i in range(n):
        f, highest = np.zeros((size, size)), 0.0
        for (mx, my), (sx, sy), r, w in zip(mean[i], sigma[i], rho[i], weight[i]):
            covariance = np.array([[sx * sx, r * sx * sy], [r * sx * sy, sy * sy]])  # (3.3)
            inverse, determinant = np.linalg.inv(covariance), np.linalg.det(covariance)
            d = np.stack([x - mx, y - my], -1)
            density = np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", d, inverse, d)) / (
                2 * np.pi * np.sqrt(determinant)
            )
            f += w * density  # (3.4), (3.6)
            highest = 1 / (2 * np.pi * np.sqrt(determinant))
        result[i, 0] = f > (highest if len(mean[i]) == 1 else f.max()) / 2  # (3.5), (3.7)
    return result


@pytest.mark.parametrize("family", FAMILIES[1:])
@pytest.mark.parametrize("size", [24, 64])
def test_masks_equal_the_literal_transcription_bit_for_bit(family, size):
    assert np.array_equal(
        sample_masks(family, 100, size, seed=11).numpy(), literal(family, size, 11, 100)
    )


def test_mixture_weights_are_convex():
    *_, weight = M.gaussians("mixed", 100, 64, 64, torch.Generator().manual_seed(0))
    assert (
        weight.shape == (100, 15)
        and weight.min() > 0
        and torch.allclose(weight.sum(1), torch.ones(100).double())
    )
    assert (weight.amax(1) / weight.amin(1)).max() <= math.exp(2)
    # (3.6) with the released law: ln w is U(-1, 1) up to a number that a mask's Gaussians share
    *_, weight = M.gaussians("mixed", 20_000, 64, 64, torch.Generator().manual_seed(0))
    first, second = weight[:, :2].log().unbind(1)
    assert (first - second).std().item() == pytest.approx(math.sqrt(2 / 3), rel=0.02)
    assert 1.9 < (first - second).max() <= 2


def test_masks_do_not_depend_on_threads_or_on_the_batch():
    whole = sample_masks("mixed", 70, 64, seed=9)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(whole, sample_masks("mixed", 70, 64, seed=9))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(whole[:7], sample_masks("mixed", 7, 64, seed=9))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_the_same_on_the_device(family):
    here, there = (
        sample_masks(family, 2_000, 64, seed=1, device=device) for device in ("cpu", "cuda")
    )
    assert there.device.type == "cuda" and torch.equal(here, there.cpu())


@pytest.mark.parametrize("family", ["mixed", "mixed-released"])
def test_float32_noise_as_of_another_device_does_not_change_a_mask(family, monkeypatch):
    """Stands in for a second device: its rounding may differ, its masks may not."""
    expected = sample_masks(family, 300, 32, seed=2)
    exact = mixtures.mixture
    monkeypatch.setattr(
        mixtures,
        "mixture",
        lambda *a: (
            exact(*a)
            .mul_(1 + 1e-5 * (2 * torch.rand(()) - 1))
            .add_(exact(*a).mul_(1e-5 * torch.randn(()).clamp(-2, 2)))
        ),
    )
    assert torch.equal(expected, sample_masks(family, 300, 32, seed=2))


# ---- bad requests


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("eliptic", 4, 64), "did you mean 'elliptic'"),
        (("square", 4, 64), "rectangular, elliptic, mixed, mixed-released"),
        ((None, 4, 64), "unknown mask family None"),
        (("mixed", 0, 64), "whole number from 1"),
        (("mixed", 2.5, 64), "whole number from 1"),
        (("elliptic", 4, 4), "from 8 to 4096"),
        (("elliptic", 4, (64, 64, 64)), "from 8 to 4096"),
        (("elliptic", 4, 64.0), "from 8 to 4096"),
    ],
)
def test_bad_requests_say_what_to_do(arguments, words):
    with pytest.raises(RoiganError, match=words.replace("(", r"\(")) as caught:
        sample_masks(*arguments)
    assert "\n" not in str(caught.value) and str(caught.value).rstrip().endswith((".", ")."))


# ---- check_pair


def pair(n=2, size=16):
    images = torch.rand(n, 3, size, size) * 2 - 1
    masks = torch.zeros(n, 1, size, size)
    masks[..., 4:8, 4:8] = 1
    return images, masks


@pytest.mark.parametrize(
    "form",
    [
        lambda m: m,
        lambda m: m[:, 0],
        lambda m: m[0, 0],
        lambda m: m[:1],
        lambda m: m.bool(),
        lambda m: m.numpy(),
        lambda m: m.to(torch.uint8),
        lambda m: m[0, 0].numpy() > 0,
        lambda m: m.double() * (1 - 1e-8),
    ],
)
def test_check_pair_takes_every_sensible_form(form):
    images, masks = pair()
    checked_images, checked_masks = check_pair(images.double().numpy(), form(masks))
    assert checked_images.dtype == checked_masks.dtype == torch.float32
    assert torch.equal(checked_images, images) and torch.equal(checked_masks, masks)


def test_check_pair_takes_one_image():
    images, masks = pair(1)
    assert [t.shape for t in check_pair(images[0], masks[0, 0])] == [(1, 3, 16, 16), (1, 1, 16, 16)]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda i, m: (i, m[..., :8, :]), "masks are 8x16 but images are 16x16"),
        (lambda i, m: (i, m.expand(2, 3, 16, 16)), "masks have the shape"),
        (lambda i, m: (torch.cat([i, i]), m), "2 masks do not pair with 4 images"),
        (lambda i, m: (i.permute(0, 2, 3, 1), m), "channels second"),
        (lambda i, m: (i[0, 0], m), "must be \\(n, 3, H, W\\)"),
        (lambda i, m: (i[:0], m), "must be \\(n, 3, H, W\\)"),
        (lambda i, m: (((i + 1) * 127.5).to(torch.uint8), m), "images / 127.5 - 1"),
        (lambda i, m: ((i + 1) * 127.5, m), "must lie in \\[-1, 1\\]"),
        (lambda i, m: (i.where(i < 0.5, torch.tensor(math.nan)), m), "images hold NaN"),
        (lambda i, m: (i.where(i < 0.5, torch.tensor(math.inf)), m), "images hold NaN or infinite"),
        (lambda i, m: (i, m * 0.7), "soft.*threshold them with \\(mask > 0.5\\)"),
        (lambda i, m: (i, m * 255), "from 0 to 255.*mask > 127"),
        (lambda i, m: (i, (m * 255).to(torch.uint8)), "from 0 to 255.*mask > 127"),
        (lambda i, m: (i, -m), "from -1 to 0"),
        (lambda i, m: (i, m * math.nan), "masks hold NaN"),
        (lambda i, m: (i, m * torch.tensor([1.0, 0.0])[:, None, None, None]), "mask 1 is empty"),
        (lambda i, m: (i, torch.ones_like(m)), "mask 0 is full"),
        (lambda i, m: (i, 1 - m), "mask 0 looks inverted.*1 means the region to fill"),
        (lambda i, m: (i, "mask.png"), "must be a tensor or an array"),
        (lambda i, m: (None, m), "must be a tensor or an array"),
    ],
)
def test_check_pair_refuses_with_one_sentence(spoil, words):
    with pytest.raises(RoiganError, match=words) as caught:
        check_pair(*spoil(*pair()))
    assert "\n" not in str(caught.value)


# ---- load_mask


def drawn(mode, size=(20, 30)):
    """A picture of `mode` whose upper left quarter is marked."""
    marked = np.zeros(size, bool)
    marked[: size[0] // 2, : size[1] // 2] = True
    grey = np.where(marked, 255, 0).astype(np.uint8)
    if mode == "strokes":  # black ink on a transparent layer
        return Image.fromarray(np.stack([0 * grey] * 3 + [grey], -1)), marked
    if mode == "white strokes":
        return Image.fromarray(np.stack([0 * grey + 255] * 3 + [grey], -1)), marked
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257), marked
    return Image.fromarray(grey).convert(mode), marked


@pytest.mark.parametrize(
    "mode", ["L", "1", "RGB", "RGBA", "LA", "P", "I;16", "strokes", "white strokes"]
)
def test_load_mask_reads_every_kind_of_png(mode, tmp_path):
    image, marked = drawn(mode)
    image.save(tmp_path / "mask.png")
    mask = load_mask(tmp_path / "mask.png")
    assert mask.shape == (1, 1, 20, 30) and mask.dtype == torch.float32
    assert np.array_equal(mask[0, 0].numpy() == 1, marked)
    small = load_mask(tmp_path / "mask.png", size=(10, 15))
    assert small.shape == (1, 1, 10, 15) and set(small.unique().tolist()) == {0, 1}
    assert small[0, 0, :5, :8].all() and small.sum() == 40  # the eighth column by half
    with pytest.raises(RoiganError, match="30x20 pixels and would be stretched to 10x10"):
        load_mask(tmp_path / "mask.png", size=10)


def test_load_mask_names_what_is_too_faint_and_what_fills_when_it_shrinks(tmp_path):
    Image.new("L", (16, 16), 80).save(tmp_path / "mask.png")
    with pytest.raises(RoiganError, match="is empty, its lightest grey is 31%: paint the region"):
        load_mask(tmp_path / "mask.png")
    stripes = np.indices((32, 32)).sum(0) % 4 == 0
    Image.fromarray(stripes * np.uint8(255)).save(tmp_path / "mask.png")
    with pytest.raises(RoiganError, match="is full at 8x8 pixels: leave more of it black"):
        load_mask(tmp_path / "mask.png", 8)


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "There is no mask"),
        (b"not a picture", "cannot be read as a picture"),
        (0, "is empty"),
        (255, "is full"),
    ],
)
def test_load_mask_refuses_with_one_sentence(content, words, tmp_path):
    path = tmp_path / "mask.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        Image.new("L", (16, 16), content).save(path)
    with pytest.raises(RoiganError, match=words):
        load_mask(path, 16)


def test_two_families_take_turns():
    g = torch.Generator().manual_seed(4)
    broad = sample_masks("elliptic-broad", 3, 32, generator=g)
    faces = sample_masks("elliptic-face", 2, 32, generator=g)
    both = sample_masks("elliptic-broad+elliptic-face", 5, 32, seed=4)
    assert torch.equal(both[::2], broad) and torch.equal(both[1::2], faces)
    alone = sample_masks("elliptic-broad+elliptic-face", 1, 32, seed=4)
    assert torch.equal(alone, sample_masks("elliptic-broad", 1, 32, seed=4))
    with pytest.raises(RoiganError, match="unknown mask family 'eliptic': did you mean 'elliptic'"):
        sample_masks("eliptic+rectangular", 4, 32)
