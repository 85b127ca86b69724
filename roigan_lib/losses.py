"""The losses of thesis 3.7, one function an equation.

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
from .models.fast import MeanAbsolute, mean_size


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


def feature_matching(real_maps, fake_maps, reduction="mean"):
    """Feature matching (2.13, 3.11): Σ_l |difference| of D's LeakyReLU maps.

    reduction: "sum", the printed L1 norm of each image's maps; "mean" over the entries of a map.
    """
    return sum(
        MeanAbsolute.apply(f, r.detach()) * _entries(f, reduction)
        for r, f in zip(real_maps, fake_maps)
    )


def _entries(x, reduction):
    """What makes of the mean over a tensor (n, …) the sum over each image's entries, or 1."""
    return x[0].numel() if reduction == "sum" else 1


def perceptual(net, real_maps, images, relative=True, reduction="mean"):
    """One term of the perceptual loss (2.9, 3.12), V_l(x_r) given: Σ_l E |V_l(x_r) − V_l(images)|.

    `relative` divides each layer's term by E |V_l(x_r)|, so that the weight does not depend on the
    network's scale; the printed equation is relative=False with reduction="sum".
    """
    return match_maps(real_maps, net(images), relative, reduction)


def match_maps(real_maps, fake_maps, relative=True, reduction="mean"):
    """`perceptual` of maps at hand: V_l(x_r) and those of the images that are judged."""
    return sum(
        MeanAbsolute.apply(f, r)
        * _entries(f, reduction)
        / (parallel.average(mean_size(r)) if relative else 1.0)
        for r, f in zip(real_maps, fake_maps)
    )


def zero_concentrator(real):
    """Zero concentrator (3.13): the mean squared score of real images."""
    return (real**2).mean()


def info_continuous(codes, mean, logvar, reduction="sum"):
    """−L_con (3.15): negative log-likelihood of codes (n, L_c) under N(μ, σ²), summed over them.

    Printed (3.15) has (c − μ)/σ² − log 2πσ, which is unbounded and no likelihood; the square and
    the plus are meant.
    """
    squares = 0.5 * (codes - mean) ** 2 * torch.exp(-logvar)
    nll = squares + 0.5 * logvar + 0.5 * math.log(2 * math.pi)
    return nll.mean() * _entries(nll, reduction)


def info_discrete(indices, logits, reduction="mean"):
    """−L_dis (3.16): cross entropy of categories (n, L_d) under logits (n, L_d, k).

    reduction: "mean" over the variables, as printed; "sum", as the author's code has it.
    """
    if logits.shape[1] == 0:
        return logits.sum()
    entropy = F.cross_entropy(logits.flatten(0, 1), indices.long().flatten())
    return entropy * _entries(indices, reduction)


def kl_style(mean, logvar, reduction="mean"):
    """VAE loss (1.6): KL of N(μ, σ²) from N(0, 1), (n, 256·w) each; "sum" is the KL as defined."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean() * _entries(mean, reduction)


def total_variation(completed, masks, reduction="mean"):
    """Total variation (2.10): |differences| of pixels and their neighbours to the right and below.

    reduction: "sum" over the pixels of the region, as printed; "mean" over the pairs of which at
    least one lies in the region, so that a change across the border counts from both sides.
    """
    dx = (completed[..., 1:] - completed[..., :-1]).abs()
    dy = (completed[..., 1:, :] - completed[..., :-1, :]).abs()
    if reduction == "sum":
        return ((dx * masks[..., :-1]).sum() + (dy * masks[..., :-1, :]).sum()) / len(completed)
    wx = torch.maximum(masks[..., 1:], masks[..., :-1])
    wy = torch.maximum(masks[..., 1:, :], masks[..., :-1, :])
    return ((dx * wx).sum() + (dy * wy).sum()) / _area(wx.sum() + wy.sum())


def masked_l1(a, b, weights):
    """Mean |a − b| over the pixels where weights (n, 1, H, W) is 1: L1 of (2.8) and (2.12)."""
    return ((a - b).abs() * weights).sum() / _area(weights.sum())


def _area(pixels):
    """Number of values in so many pixels, at least 1; under several processes their mean."""
    return parallel.average(3 * pixels).clamp_min(1)
