"""The losses of thesis 3.7, one function an equation, and the two that the improved recipe adds.

Conventions: images (n, 3, H, W) in [-1, 1]; masks (n, 1, H, W), 1 = the region; scores (n, s); a
loss is a scalar to be minimized, also where the thesis writes a quantity to be maximized.
`reduction="sum"` sums over what belongs to one image (pixels, entries of a map, codes, style
numbers) and averages over the images, as the thesis prints; "mean" averages over all. A sum divided
by an area or a level takes that of the whole batch also where several processes share it
(`parallel`); with one process this changes nothing.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from . import parallel
from .errors import RoiganError


def complete(raw, images, masks):
    """Completed image (3.9): RoI · x_g + (1 − RoI) · x_r."""
    return masks * raw + (1 - masks) * images


def hinge_discriminator(real, fake):
    """Hinge loss of the discriminator (1.17): E max(0, 1 − D(x)) + E max(0, 1 + D(G))."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake):
    """Hinge loss of the generator (1.17): −E D(G)."""
    return -fake.mean()


def gradient_penalty(discriminator, real, completed, masks, alpha, inside=True):
    """Gradient penalty (3.10) at t = α x_r + (1 − α) x_c: E (‖M · ∇D(t)‖₂ − 1)².

    The thesis' text limits the gradient inside RoI (`inside=True`, M = RoI, the default), its
    formula prints M = 1 − RoI (`inside=False`). D is the mean of the scores: the gradient of their
    sum grows with their number. alpha (n, 1, 1, 1) in [0, 1].
    """
    t = (alpha * real + (1 - alpha) * completed).detach().requires_grad_()
    score = discriminator(t, masks)[0].mean(1).sum()
    (gradient,) = torch.autograd.grad(score, t, create_graph=True)
    gradient = gradient * (masks if inside else 1 - masks)
    return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


class _MeanAbsolute(torch.autograd.Function):
    """E |a − b| of two maps, summed in float32 whatever their type; b gets no gradient. Autocast
    would copy both maps to float32 and walk over them seven times, here three.
    """

    @staticmethod
    def forward(ctx, a, b):
        difference = a - b
        ctx.save_for_backward(difference)
        return mean_size(difference)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (difference,) = ctx.saved_tensors
        return difference.sign().mul_(grad / difference.numel()), None


def mean_size(x):
    """E |x| as a float32 scalar, in one pass."""
    return (
        torch.linalg.vector_norm(x, 1, dtype=torch.promote_types(x.dtype, torch.float32))
        / x.numel()
    )


def feature_matching(real_maps, fake_maps, reduction="mean"):
    """Feature matching (2.13, 3.11): absolute difference of D's LeakyReLU maps, summed over the
    layers.

    reduction: "sum", the printed L1 norm of each image's maps; "mean" over the entries of a map.
    """
    return sum(
        _MeanAbsolute.apply(f, r.detach()) * _entries(f, reduction)
        for r, f in zip(real_maps, fake_maps)
    )


def _entries(x, reduction):
    """What turns the mean over a tensor (n, …) into the sum over each image's entries, or leaves it
    a mean.
    """
    return x[0].numel() if reduction == "sum" else 1


def perceptual(net, real_maps, images, relative=True, reduction="mean"):
    """One term of the perceptual loss (2.9, 3.12): Σ_l E |V_l(x_r) − V_l(images)|, with V_l(x_r)
    given.

    `relative` divides each layer's term by E |V_l(x_r)|, so that the weight does not depend on the
    network's scale; the printed equation is relative=False with reduction="sum".
    """
    return match_maps(real_maps, net(images), relative, reduction)


def match_maps(real_maps, fake_maps, relative=True, reduction="mean"):
    """`perceptual` of maps at hand: V_l(x_r) and those of the images that are judged."""
    return sum(
        _MeanAbsolute.apply(f, r)
        * _entries(f, reduction)
        / (parallel.average(mean_size(r)) if relative else 1.0)
        for r, f in zip(real_maps, fake_maps)
    )


def style(real_maps, fake_maps, masks):
    """Style loss inside the region (Gatys et al. 2016; in completion Liu et al. 2018): Σ_l E
    |G_l(x_r) − G_l(x_c)| / E |G_l(x_r)|.

    G_l (n, c, c) is the Gram matrix of the maps V_l over the region's pixels, divided by their
    number: which features occur together there, and how strongly, wherever they are. maps: [(n, c,
    h, w), …], masks (n, 1, H, W).
    """
    total = 0.0
    for real, fake in zip(real_maps, fake_maps):
        share = F.adaptive_avg_pool2d(masks, real.shape[-1]).to(real.dtype)
        area = share.float().sum((1, 2, 3))[:, None, None].clamp_min(1e-3)
        grams = [
            (y := (maps * share.sqrt()).flatten(2)) @ y.transpose(1, 2) for maps in (real, fake)
        ]
        real, fake = (gram.float() / area for gram in grams)
        total = total + (real - fake).abs().mean() / parallel.average(real.abs().mean()).clamp_min(
            1e-6
        )
    return total


def projected_discriminator(found):
    """Hinge loss (1.17) of `models.discriminator.ProjectedHeads` for real images, then as many
    completed: mean over heads.

    found: [(scores, looks at the region), …] of both together; scores that do not look at the
    region do not count.
    """
    n = len(found[0][0]) // 2
    sides = torch.ones(2 * n, 1, 1, 1, device=found[0][0].device)
    sides[n:] = -1
    return sum(
        2 * (F.relu(1 - sides * y) * w).sum() / w.sum().clamp_min(1) for y, w in found
    ) / len(found)


def projected_generator(found):
    """Hinge loss (1.17) of the generator on the heads' scores of completed images, those that look
    at the region.
    """
    return -sum((y * w).sum() / w.sum().clamp_min(1) for y, w in found) / len(found)


def zero_concentrator(real):
    """Zero concentrator (3.13): the mean squared score of real images."""
    return (real**2).mean()


def info_continuous(codes, mean, logvar, reduction="sum"):
    """−L_con (3.15): negative log-likelihood of codes (n, L_c) under N(μ, σ²), by default summed
    over the codes as printed.

    Printed (3.15) has (c − μ)/σ² − log 2πσ, which is unbounded and no likelihood; the square and
    the plus are meant.
    """
    nll = (
        0.5 * (codes - mean) ** 2 * torch.exp(-logvar) + 0.5 * logvar + 0.5 * math.log(2 * math.pi)
    )
    return nll.mean() * _entries(nll, reduction)


def info_discrete(indices, logits, reduction="mean"):
    """−L_dis (3.16): cross entropy of categories (n, L_d) under logits (n, L_d, k).

    reduction: "mean" over the variables, as printed; "sum", as the author's code has it.
    """
    if logits.shape[1] == 0:
        return logits.sum()
    return F.cross_entropy(logits.flatten(0, 1), indices.long().flatten()) * _entries(
        indices, reduction
    )


def kl_style(mean, logvar, reduction="mean"):
    """VAE loss (1.6): KL of N(μ, σ²) from N(0, 1), (n, 256·w) each; "sum" over the style vector is
    the KL as it is defined.
    """
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean() * _entries(mean, reduction)


def total_variation(completed, masks, reduction="mean"):
    """Total variation (2.10): |differences| between a pixel and its neighbours to the right and
    below.

    reduction: "sum" over the pixels of the region, as printed; "mean" over the pairs of which at
    least one lies in the region, so that a change across the border counts from both sides.
    """
    dx = (completed[..., 1:] - completed[..., :-1]).abs()
    dy = (completed[..., 1:, :] - completed[..., :-1, :]).abs()
    if reduction == "sum":
        return ((dx * masks[..., :-1]).sum() + (dy * masks[..., :-1, :]).sum()) / len(completed)
    wx, wy = (
        torch.maximum(masks[..., 1:], masks[..., :-1]),
        torch.maximum(masks[..., 1:, :], masks[..., :-1, :]),
    )
    return ((dx * wx).sum() + (dy * wy).sum()) / _area(wx.sum() + wy.sum())


def masked_l1(a, b, weights):
    """Mean absolute difference over the pixels where weights (n, 1, H, W) is 1: the L1 term of
    (2.8) and (2.12).
    """
    return ((a - b).abs() * weights).sum() / _area(weights.sum())


def _area(pixels):
    """Number of values in so many pixels, at least 1; under several processes their mean."""
    return parallel.average(3 * pixels).clamp_min(1)


def tone(a, b, masks, patch=8):
    """Mean absolute difference of patch means: like `masked_l1`, after averaging a − b over the
    region in each patch.

    It fixes colour and shading and leaves what is drawn with them free.
    """
    difference = F.avg_pool2d((a - b) * masks, patch)
    return difference.abs().sum() / parallel.average(
        3 * F.avg_pool2d(masks, patch).sum()
    ).clamp_min(1e-6)


def border_band(masks, radius=4):
    """The part of the region at most `radius` pixels from its border, (n, 1, H, W): there the
    surroundings decide.
    """
    return F.max_pool2d(1 - masks, 2 * radius + 1, 1, radius) * masks


def overlap(differences, patch=4):
    """How far different codes move the same places: mean cosine of any two of k change maps, 0 … 1.

    differences (n, k, 3, H, W): what each of k codes changes in one picture. A change map is the
    mean |difference| over patches. 0: no place is moved by two codes; 1: all codes move the same
    places, whatever they do there. The size of a change does not count.
    """
    n, k = differences.shape[:2]
    energy = F.avg_pool2d(differences.abs().mean(2).flatten(0, 1)[:, None], patch).view(n, k, -1)
    unit = energy / (energy.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    total = unit.sum(1).square().sum(-1) - unit.square().sum((1, 2))
    return (total / (k * (k - 1))).mean()


def faint(differences, masks, wanted):
    """How far changes fall short of the wanted one: mean of max(0, 1 − V / wanted), 0 … 1.

    differences (n, k, 3, H, W) in a range of 2, masks (n, 1, H, W); V is the mean |difference| over
    the region as a share of the range, as in `losses.visible_change`.
    """
    area = 3 * masks.sum((1, 2, 3)).clamp_min(1)
    visible = (differences * masks[:, None]).abs().sum((2, 3, 4)) / 2 / area[:, None]  # (n, k)
    return F.relu(1 - visible / wanted).mean()


def match_uniform(codes):
    """How far codes (n, L_c) are from independent U(−1, 1): squared 1-D Wasserstein distance +
    correlation.

    In one dimension sorting solves the transport: each code is pulled to the quantile of its rank
    in the batch. The aggregated posterior follows the prior, as in Wasserstein autoencoders
    (Tolstikhin et al. 2018), so no single code is pushed towards saying nothing.
    """
    codes = parallel.gather(codes)
    n = len(codes)
    quantiles = (codes.detach().argsort(0).argsort(0) + 0.5) / n * 2 - 1
    distance = ((codes - quantiles) ** 2).mean()
    centred = codes - codes.mean(0)
    covariance = centred.T @ centred / n * 3  # U(−1, 1) has variance 1/3
    # a weak penalty leaves ten readings of one thing: with 0.05 the codes correlated by 0.98 after
    # 2,000 steps
    return distance + ((covariance - torch.diag(torch.diagonal(covariance))) ** 2).mean()


def match_categories(probabilities):
    """log k − H(mean p): how unevenly the categories of a sample are used; probabilities (n, L_d,
    k).
    """
    if probabilities.shape[1] == 0:
        return probabilities.sum()
    mean = parallel.gather(probabilities).mean(0).clamp_min(1e-6)
    return (math.log(mean.shape[-1]) + (mean * mean.log()).sum(-1)).mean()


def visible_change(stack, masks):
    """Mean in-hole |difference| over all pairs of the v settings in stack (v, n, 3, H, W), per
    image: (n,).

    A share of the value range: 0 nothing moves, 1 every pixel of the hole goes from black to white.
    """
    first, second = torch.triu_indices(len(stack), len(stack), 1)
    if not len(first):
        raise RoiganError("A change needs two settings or more of the code: this stack has one.")
    area = masks.sum((1, 2, 3)).clamp(min=1) * stack.shape[2]  # (n,) or (1,)
    pairs = [
        ((stack[i] - stack[j]).abs() * masks).sum((1, 2, 3)) / 2 / area
        for i, j in zip(first, second)
    ]
    return torch.stack(pairs).mean(0)
