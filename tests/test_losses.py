"""Every loss against its equation in plain loops, or against torch.distributions."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from roigan_lib import losses as L
from roigan_lib import regularizers as R
from roigan_lib.errors import RoiganError
from roigan_lib.masks import sample_masks
from roigan_lib.models import ProjectedHeads
from roigan_lib.perceptual import PerceptualNet


@pytest.fixture
def pair():
    return (
        torch.rand(3, 3, 10, 10) * 2 - 1,
        torch.rand(3, 3, 10, 10) * 2 - 1,
        sample_masks("elliptic", 3, 10, seed=1),
    )


def test_complete_is_3_9(pair):
    real, raw, masks = pair
    done = L.complete(raw, real, masks)
    for n, c, i, j in np.ndindex(*real.shape):
        assert done[n, c, i, j] == (raw if masks[n, 0, i, j] else real)[n, c, i, j]


def test_hinge_is_1_17():
    real, fake = torch.randn(4, 26) * 2, torch.randn(4, 26) * 2
    want = np.mean([max(0, 1 - v) for v in real.flatten().tolist()]) + np.mean(
        [max(0, 1 + v) for v in fake.flatten().tolist()]
    )
    assert L.hinge_discriminator(real, fake).item() == pytest.approx(want, rel=1e-5)
    assert L.hinge_generator(fake).item() == pytest.approx(-np.mean(fake.tolist()), abs=1e-6)
    assert L.hinge_discriminator(torch.full((2, 3), 1.5), torch.full((2, 3), -1.0)) == 0


class LinearCritic(nn.Module):
    """26 scores, linear in the image: the gradient of their mean is the mean of the weights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(26, 3, 10, 10) * 0.3)

    def forward(self, images, masks):
        return torch.einsum("nchw,schw->ns", images, self.weight), []


@pytest.mark.parametrize("inside", [True, False])
def test_gradient_penalty_is_3_10(pair, inside):
    real, raw, masks = pair
    critic, alpha = LinearCritic(), torch.rand(3, 1, 1, 1)
    loss = L.gradient_penalty(critic, real, L.complete(raw, real, masks), masks, alpha, inside)
    gradient = critic.weight.detach().mean(0).numpy()
    total = 0.0
    for n in range(3):
        square = 0.0
        for c, i, j in np.ndindex(3, 10, 10):
            if bool(masks[n, 0, i, j]) == inside:
                square += float(gradient[c, i, j]) ** 2
        total += (math.sqrt(square) - 1) ** 2
    assert loss.item() == pytest.approx(total / 3, rel=1e-4)
    loss.backward()  # it trains D: a gradient of a gradient
    moved = critic.weight.grad.abs().sum((0, 1)) > 0
    some, every = masks[:, 0].amax(0) > 0, masks[:, 0].amin(0) > 0
    assert torch.equal(moved, some if inside else ~every)


def test_gradient_penalty_is_taken_between_real_and_completed(pair):
    real, raw, masks = pair
    done, alpha, seen = (
        L.complete(raw, real, masks),
        torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1),
        [],
    )

    def critic(images, masks):
        seen.append(images.detach().clone())
        return (images**2).flatten(1), []

    L.gradient_penalty(critic, real, done, masks, alpha)
    assert torch.allclose(seen[0][0], done[0]) and torch.allclose(seen[0][2], real[2])
    assert torch.allclose(seen[0][1], 0.25 * real[1] + 0.75 * done[1])


def test_feature_matching_is_3_11():
    real = [torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 5, 2, 2)]
    fake = [torch.randn_like(maps).requires_grad_() for maps in real]
    want = sum(
        np.mean([abs(a - b) for a, b in zip(r.flatten().tolist(), f.flatten().tolist())])
        for r, f in zip(real, fake)
    )
    loss = L.feature_matching(real, fake)
    assert loss.item() == pytest.approx(want, rel=1e-5)
    printed = (
        sum(
            abs(a - b)
            for r, f in zip(real, fake)
            for a, b in zip(r.flatten().tolist(), f.flatten().tolist())
        )
        / 2
    )
    assert L.feature_matching(real, fake, "sum").item() == pytest.approx(
        printed, rel=1e-5
    )  # two images
    loss.backward()
    assert real[0].grad is None and fake[0].grad is not None  # the real side is a target


def test_perceptual_is_3_12():
    net = lambda images: [images * 2, images.mean(1)]
    real, fake = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    terms = [np.abs(a.numpy() - b.numpy()).mean() for a, b in zip(net(real), net(fake))]
    sizes = [np.abs(a.numpy()).mean() for a in net(real)]
    assert L.perceptual(net, net(real), fake, relative=False).item() == pytest.approx(
        sum(terms), rel=1e-5
    )
    printed = sum(np.abs(a.numpy() - b.numpy()).sum() for a, b in zip(net(real), net(fake))) / 2
    assert L.perceptual(
        net, net(real), fake, relative=False, reduction="sum"
    ).item() == pytest.approx(printed, rel=1e-5)
    relative = L.perceptual(net, net(real), fake)
    assert relative.item() == pytest.approx(sum(t / s for t, s in zip(terms, sizes)), rel=1e-5)
    louder = lambda images: [maps * 100 for maps in net(images)]
    assert L.perceptual(louder, louder(real), fake).item() == pytest.approx(
        relative.item(), rel=1e-4
    )
    assert L.perceptual(net, net(real), real) == 0


def test_style_compares_gram_matrices_inside_the_region():
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, :, :4, 2:6], masks[1, :, 1:] = 1, 1  # half of a place of the small map
    real, fake = ([torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)] for _ in range(2))
    want = 0.0
    for r, f in zip(real, fake):
        share = F.avg_pool2d(masks, 8 // r.shape[-1]).numpy()
        grams = [
            np.einsum("nchw,ndhw,nhw->ncd", y, y, share[:, 0]) / share.sum((1, 2, 3))[:, None, None]
            for y in (r.numpy(), f.numpy())
        ]
        want += np.abs(grams[0] - grams[1]).mean() / np.abs(grams[0]).mean()
    assert R.style(real, fake, masks).item() == pytest.approx(want, rel=1e-4)
    moved = real[0].clone()
    moved[0, :, :4, 2:6] = real[0][0, :, :4, 2:6].flip(
        -1
    )  # the same texture, elsewhere in the region
    moved[0, :, 5:] = 9.0  # outside the region
    assert R.style(real[:1], [moved], masks).item() == pytest.approx(0, abs=1e-6)


def test_projected_hinge_counts_what_looks_at_the_region():
    scores = torch.tensor([0.5, 9.0, -2.0, 0.5]).view(4, 1, 1, 1)  # two real, two completed
    looks = torch.tensor([1.0, 0.0, 1.0, 1.0]).view(4, 1, 1, 1)
    looks = torch.cat([looks[2:], looks[2:]])
    want = ((1 - 0.5) + 0.0 + 0.0 + (1 + 0.5)) / 2  # per side the mean over two images
    assert R.projected_discriminator([(scores, looks)]).item() == pytest.approx(want)
    assert R.projected_generator(
        [(scores, torch.tensor([1.0, 0, 0, 1]).view(4, 1, 1, 1))]
    ).item() == pytest.approx(-0.5)


def test_projected_heads_look_at_the_region_at_every_scale():
    heads = ProjectedHeads([(4, 32), (6, 16), (8, 8)])
    masks = torch.zeros(2, 1, 32, 32)
    masks[:, :, 3:5, 20:22] = 1
    found = heads([torch.randn(2, c, s, s) for c, s in ((4, 32), (6, 16), (8, 8))], masks)
    assert [tuple(y.shape[1:]) for y, _ in found] == [(1, 8, 8), (1, 8, 8), (1, 8, 8), (1, 2, 2)]
    for y, looks in found:
        assert y.shape == looks.shape and 0 < looks.sum() < looks.numel()
    assert found[0][1][0].nonzero().tolist() == [[0, 0, 5], [0, 1, 5]]


@pytest.mark.parametrize("dtype, close", [(torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_the_mean_difference_of_maps_and_its_gradient(dtype, close):
    a = (
        torch.randn(2, 5, 6, 7, dtype=torch.float64)
        .to(dtype)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
    )
    b = torch.randn(2, 5, 6, 7, dtype=torch.float64).to(dtype)
    b[0] = a.detach()[0]  # no difference, no gradient
    got = L.feature_matching([b], [a])
    exact = a.detach().double().requires_grad_()
    want = (exact - b.double()).abs().mean()
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert got.item() == pytest.approx(want.item(), rel=close)
    (3 * got).backward(), (3 * want).backward()
    torch.testing.assert_close(a.grad.double(), exact.grad, rtol=close, atol=0)
    assert a.grad.is_contiguous(memory_format=torch.channels_last)


def test_zero_concentrator_is_3_13():
    scores = torch.randn(4, 26)
    want = np.mean([np.mean([v**2 for v in row]) for row in scores.tolist()])
    assert L.zero_concentrator(scores).item() == pytest.approx(want, rel=1e-5)


def test_info_continuous_is_3_15_by_a_loop_over_codes():
    codes, mean, logvar = torch.rand(6, 10) * 2 - 1, torch.randn(6, 10), torch.randn(6, 10)
    total = 0.0
    for c, mu, s in zip(codes.tolist(), mean.tolist(), logvar.tolist()):
        for i in range(10):  # the sum of (3.15); its square and its sign as meant
            total += 0.5 * (
                (c[i] - mu[i]) ** 2 / math.exp(s[i]) + math.log(2 * math.pi * math.exp(s[i]))
            )
    assert L.info_continuous(codes, mean, logvar).item() == pytest.approx(total / 6, rel=1e-5)
    want = -torch.distributions.Normal(mean, (logvar / 2).exp()).log_prob(codes)
    assert torch.allclose(L.info_continuous(codes, mean, logvar), want.sum(1).mean(), atol=1e-5)
    assert torch.allclose(L.info_continuous(codes, mean, logvar, "mean"), want.mean(), atol=1e-5)
    sure = torch.full_like(logvar, -4.0)
    assert L.info_continuous(codes, codes, sure) < L.info_continuous(
        codes, codes, logvar.clamp_min(-2)
    )


def test_info_discrete_is_3_16():
    indices, logits = torch.randint(0, 4, (6, 3)), torch.randn(6, 3, 4)
    want = -torch.distributions.Categorical(logits=logits).log_prob(indices).mean()
    assert torch.allclose(L.info_discrete(indices.float(), logits), want, atol=1e-6)
    total = (
        sum(
            math.log(sum(map(math.exp, row))) - row[k]
            for rows, ks in zip(logits.tolist(), indices.tolist())
            for row, k in zip(rows, ks)
        )
        / 6
    )  # per image the sum over its three variables
    assert L.info_discrete(indices, logits).item() == pytest.approx(total / 3, rel=1e-5)
    assert L.info_discrete(indices, logits, "sum").item() == pytest.approx(total, rel=1e-5)
    assert L.info_discrete(torch.zeros(6, 0), torch.zeros(6, 0, 4)) == 0


def test_kl_is_1_6():
    mean, logvar = torch.randn(5, 8), torch.randn(5, 8)
    want = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (logvar / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert torch.allclose(L.kl_style(mean, logvar), want.mean(), atol=1e-5)
    assert torch.allclose(L.kl_style(mean, logvar, "sum"), want.sum(1).mean(), atol=1e-5)
    assert L.kl_style(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_total_variation_is_2_10(pair):
    _, images, masks = pair
    total, pairs = 0.0, 0
    for n, i, j in np.ndindex(3, 10, 10):
        for di, dj in ((0, 1), (1, 0)):
            if i + di < 10 and j + dj < 10 and (masks[n, 0, i, j] or masks[n, 0, i + di, j + dj]):
                total += sum(
                    abs(float(images[n, c, i, j] - images[n, c, i + di, j + dj])) for c in range(3)
                )
                pairs += 1
    assert L.total_variation(images, masks).item() == pytest.approx(total / (3 * pairs), rel=1e-4)
    printed = 0.0
    for n, i, j in np.ndindex(3, 10, 10):  # (i, j) in RoI, neighbours to the right and below
        for k, l in ((i, j + 1), (i + 1, j)):
            if masks[n, 0, i, j] and k < 10 and l < 10:
                printed += sum(
                    abs(float(images[n, c, k, l] - images[n, c, i, j])) for c in range(3)
                )
    assert L.total_variation(images, masks, "sum").item() == pytest.approx(printed / 3, rel=1e-4)
    assert L.total_variation(torch.full_like(images, 0.3), masks) == 0


def test_masked_l1(pair):
    a, b, masks = pair
    differences = [
        abs(float(a[k] - b[k])) for k in np.ndindex(*a.shape) if masks[k[0], 0, k[2], k[3]]
    ]
    assert L.masked_l1(a, b, masks).item() == pytest.approx(np.mean(differences), rel=1e-4)
    assert L.masked_l1(a, b, torch.zeros_like(masks)) == 0


def test_border_band_by_loops():
    masks = sample_masks("mixed", 2, 24, seed=3)
    masks[0, 0, :6, :6] = 1  # the frame of the picture is no border
    for radius in (1, 3):
        band = R.border_band(masks, radius)
        for n, i, j in np.ndindex(2, 24, 24):
            near = masks[
                n, 0, max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1
            ]
            assert band[n, 0, i, j] == float(masks[n, 0, i, j] == 1 and near.min() == 0)


def quantiles(n, columns=1):
    """Codes that are exactly U(-1, 1) by rank, each column in an order of its own."""
    line = (torch.arange(n) + 0.5) / n * 2 - 1
    return torch.stack([line[torch.randperm(n)] for _ in range(columns)], 1)


def test_match_uniform_is_zero_for_uniform_codes_and_grows_as_they_collapse():
    exact = quantiles(64)
    assert R.match_uniform(exact).item() == pytest.approx(0, abs=1e-10)
    grows = [R.match_uniform(exact * share).item() for share in (1.0, 0.7, 0.3, 0.0)]
    assert grows == sorted(grows) and grows[1] > 0.01
    assert grows[-1] == pytest.approx(1 / 3, rel=0.01)  # E u²: all mass moved from 0 to U(-1, 1)
    codes = torch.randn(50, 1)
    line = codes.flatten().tolist()
    want = np.mean(
        [(c - ((sum(other < c for other in line) + 0.5) / 50 * 2 - 1)) ** 2 for c in line]
    )
    assert R.match_uniform(codes).item() == pytest.approx(want, rel=1e-3)


def test_match_uniform_punishes_codes_that_repeat_each_other():
    torch.manual_seed(1)
    apart, line = quantiles(256, 2), quantiles(256)
    twins = torch.cat([line, line], 1)
    assert R.match_uniform(twins) > 10 * R.match_uniform(apart)
    assert R.match_uniform(-twins) == R.match_uniform(twins)
    # two codes that say the same have correlation 1, in two of four places of the matrix
    assert R.match_uniform(twins).item() == pytest.approx(0.5 * (1 - 1 / 256**2) ** 2, rel=1e-4)


def test_match_uniform_by_ranks_and_numpy_s_covariance():
    codes = torch.rand(40, 3) * torch.tensor([0.6, 1.5, 0.2]) + 0.5  # far from centred
    found = codes.numpy().astype(float)
    ranks = found.argsort(0).argsort(0)
    distance = ((found - (2 * (ranks + 0.5) / 40 - 1)) ** 2).mean()
    correlation = 3 * np.cov(found.T, bias=True)
    np.fill_diagonal(correlation, 0)
    want = distance + (correlation**2).mean()
    assert R.match_uniform(codes).item() == pytest.approx(want, rel=1e-4)


def test_match_uniform_pulls_collapsed_codes_apart():
    codes = torch.full((16, 2), 0.9, requires_grad=True)
    (gradient,) = torch.autograd.grad(R.match_uniform(codes), codes)
    assert (
        gradient.isfinite().all() and (gradient > 0).float().mean() > 0.7
    )  # nearly all lie too high
    assert R.match_uniform(torch.zeros(1, 2)).isfinite()


def test_a_descent_on_match_uniform_ends_uniform():
    codes = (torch.randn(200, 2) * 0.1 + 0.5).requires_grad_()
    optimizer = torch.optim.Adam([codes], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        R.match_uniform(codes).backward()
        optimizer.step()
    assert abs(codes.mean()) < 0.03 and codes.std(0).sub(1 / math.sqrt(3)).abs().max() < 0.03


def test_match_categories():
    even, one = torch.eye(4).repeat(3, 1)[:, None], torch.eye(4)[[1] * 12][:, None]
    assert R.match_categories(even).item() == pytest.approx(0, abs=1e-5)
    assert R.match_categories(one).item() == pytest.approx(math.log(4), rel=1e-3)
    probabilities = torch.randn(20, 3, 4).softmax(-1)
    want = (
        math.log(4) - torch.distributions.Categorical(probs=probabilities.mean(0)).entropy().mean()
    )
    assert torch.allclose(R.match_categories(probabilities), want, atol=1e-5)
    assert R.match_categories(torch.zeros(5, 0, 4)) == 0


def test_perceptual_net_is_frozen_and_passes_gradients():
    net = PerceptualNet("factors")
    images = (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_()
    maps = net(images)
    assert (
        len(maps) >= 3 and not any(p.requires_grad for p in net.parameters()) and not net.training
    )
    (gradient,) = torch.autograd.grad(sum(m.abs().mean() for m in maps), images)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


@pytest.mark.parametrize(
    "name, letter, shapes",
    [
        ("vgg19", "E", [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]),
        (
            "vgg16",
            "D",
            [(64, 32)] * 2 + [(128, 16)] * 2 + [(256, 8)] * 3 + [(512, 4)] * 3 + [(512, 2)] * 3,
        ),
    ],
)
def test_vgg_as_the_thesis_and_as_the_release_read_it(name, letter, shapes, tmp_path, monkeypatch):
    vgg = pytest.importorskip("torchvision.models.vgg")
    from types import SimpleNamespace

    layers = lambda weights=None: SimpleNamespace(features=vgg.make_layers(vgg.cfgs[letter]))
    monkeypatch.setattr(f"torchvision.models.{name}", layers)
    features = layers().features.eval()
    torch.save(features.state_dict(), tmp_path / "vgg.pth")
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    maps = PerceptualNet(name, tmp_path / "vgg.pth")(images)
    assert [(m.shape[1], m.shape[2]) for m in maps] == shapes
    seen = (
        images
        if name == "vgg19"
        else ((images + 1) / 2 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        / (torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
    )  # the release hands its images over as they are
    rectified = []
    for layer in features:
        seen = layer(seen)
        if isinstance(layer, torch.nn.ReLU):
            rectified.append(seen.clone())
    wanted = rectified if name == "vgg16" else [rectified[i] for i in (0, 2, 4, 8, 12)]
    for ours, theirs in zip(maps, wanted):  # (3.12): all ReLUs, not a choice of them
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_perceptual_weights_from_a_file(tmp_path, monkeypatch):
    """vgg11_bn from a local .pth and .npz, however its keys are written; files that do not fit."""
    vgg = pytest.importorskip("torchvision.models.vgg")
    from types import SimpleNamespace

    layers = lambda weights=None: SimpleNamespace(
        features=vgg.make_layers(vgg.cfgs["A"], batch_norm=True)
    )
    monkeypatch.setattr(
        "torchvision.models.vgg11_bn", layers
    )  # without its classifier of half a gigabyte
    shapes = {"features." + k: v.shape for k, v in layers().features.state_dict().items()}
    state = {
        k: torch.rand(v) * 0.05
        for k, v in shapes.items()
        if k.startswith("features.") and int(k.split(".")[1]) <= PerceptualNet.TAPS["vgg11_bn"][-1]
    }
    torch.save(state, tmp_path / "vgg.pth")
    np.savez(
        tmp_path / "vgg.npz", **{k.removeprefix("features."): v.numpy() for k, v in state.items()}
    )
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    first, second = (
        PerceptualNet("vgg11_bn", tmp_path / name)(images) for name in ("vgg.pth", "vgg.npz")
    )
    assert len(first) == 3 and all(torch.equal(a, b) for a, b in zip(first, second))
    assert [m.shape[1] for m in first] == [64, 128, 256]
    state.pop("features.4.weight")
    torch.save(state, tmp_path / "less.pth")
    for name, words in (("less.pth", "does not hold vgg11_bn"), ("none.pth", "no weight file")):
        with pytest.raises(RoiganError, match=words):
            PerceptualNet("vgg11_bn", tmp_path / name)


def test_overlap_of_changes_is_the_mean_cosine_of_their_maps():
    left, right = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    left[..., :4], right[..., 4:] = 0.3, -0.7
    both = left - 5 * right
    assert R.overlap(torch.stack([left, right], 1)).item() == pytest.approx(0, abs=1e-6)
    assert R.overlap(torch.stack([left, -9 * left], 1)).item() == pytest.approx(1, abs=1e-5)
    maps = [
        np.abs(c[0].numpy()).mean(0).reshape(2, 4, 2, 4).mean((1, 3)).ravel()
        for c in (left, right, both)
    ]
    unit = [v / np.linalg.norm(v) for v in maps]
    want = (unit[0] @ unit[1] + unit[0] @ unit[2] + unit[1] @ unit[2]) / 3
    assert R.overlap(torch.stack([left, right, both], 1)).item() == pytest.approx(want, rel=1e-4)
    still = torch.zeros(1, 3, 3, 8, 8, requires_grad=True)
    R.overlap(still).backward()
    assert still.grad.isfinite().all()  # codes that do nothing yet


def test_faint_is_what_a_visible_change_lacks():
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, :2], masks[1, :, 0] = 1, 1
    differences = torch.stack(
        [0.04 * torch.ones(2, 3, 4, 4), 0.3 * torch.ones(2, 3, 4, 4)], 1
    )  # V: 0.02, 0.15
    assert R.faint(differences, masks, 0.05).item() == pytest.approx((0.6 + 0) / 2, rel=1e-5)
    assert (
        R.faint(differences * (1 - masks)[:, None], masks, 0.05) == 1
    )  # what lies outside does not count
