"""The losses that the improved recipe adds to those of the thesis; conventions as in `losses`."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from . import parallel
from .errors import RoiganError


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
        seen = [(maps * share.sqrt()).flatten(2) for maps in (real, fake)]
        real, fake = ((y @ y.transpose(1, 2)).float() / area for y in seen)
        level = parallel.average(real.abs().mean()).clamp_min(1e-6)
        total = total + (real - fake).abs().mean() / level
    return total


def projected_discriminator(found):
    """Hinge loss (1.17) of `ProjectedHeads` for real, then as many completed images: their mean.

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
    """Hinge loss (1.17) of the generator on the heads' scores that look at the region."""
    return -sum((y * w).sum() / w.sum().clamp_min(1) for y, w in found) / len(found)


def tone(a, b, masks, patch=8):
    """Mean |difference| of patch means: `masked_l1` of the averages over the region in a patch.

    It fixes colour and shading and leaves what is drawn with them free.
    """
    difference = F.avg_pool2d((a - b) * masks, patch)
    area = parallel.average(3 * F.avg_pool2d(masks, patch).sum()).clamp_min(1e-6)
    return difference.abs().sum() / area


def border_band(masks, radius=4):
    """The part of the region (n, 1, H, W) within `radius` pixels of its border."""
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
    the region as a share of the range, as in `visible_change`.
    """
    area = 3 * masks.sum((1, 2, 3)).clamp_min(1)
    visible = (differences * masks[:, None]).abs().sum((2, 3, 4)) / 2 / area[:, None]  # (n, k)
    return F.relu(1 - visible / wanted).mean()


def visible_change(stack, masks):
    """Mean in-hole |difference| of all pairs of v settings, stack (v, n, 3, H, W): (n,).

    A share of the value range: 0 nothing moves, 1 every pixel of the hole goes from black to white.
    """
    first, second = torch.triu_indices(len(stack), len(stack), 1)
    if not len(first):
        raise RoiganError("A change needs two settings or more of the code: this stack has one.")
    area = masks.sum((1, 2, 3)).clamp(min=1) * stack.shape[2]  # (n,) or (1,)
    gaps = ((stack[i] - stack[j]).abs() * masks for i, j in zip(first, second))
    return torch.stack([gap.sum((1, 2, 3)) / 2 / area for gap in gaps]).mean(0)


def match_uniform(codes):
    """How far codes (n, L_c) are from independent U(−1, 1): 1-D Wasserstein² + correlation.

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
    """log k − H(mean p): how unevenly categories are used; probabilities p (n, L_d, k)."""
    if probabilities.shape[1] == 0:
        return probabilities.sum()
    mean = parallel.gather(probabilities).mean(0).clamp_min(1e-6)
    return (math.log(mean.shape[-1]) + (mean * mean.log()).sum(-1)).mean()


def told(logits, wanted, weights):
    """Cross entropy between what a classifier sees, logits (n, k), and what it is to see, wanted
    (n, k) in [0, 1]: the mean over weights (n, k).
    """
    found = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (found * weights).sum() / parallel.average(weights.sum()).clamp_min(1e-6)
