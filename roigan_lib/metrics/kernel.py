"""Kernel Inception distance: unbiased at any number of images (Bińkowski et al. 2018, "Demystifying MMD GANs")."""

import torch

from ..checks import check_seed
from ..errors import RoiganError


def _kernels(x, y):
    """The kernel (x·y / d + 1)³ within x (n, d), within y (m, d) and across."""
    return [(a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]


def polynomial_mmd2(x, y):
    """Unbiased squared MMD of x (n, d) and y (m, d) under the kernel (x·y / d + 1)³.

    A float; may fall below 0. Raises RoiganError for fewer than 2 rows a side.
    """
    if min(len(x), len(y)) < 2:
        raise RoiganError(
            f"The kernel distance needs 2 rows or more a side, not {len(x)} and {len(y)}."
        )
    return _mmd2(*_kernels(x, y))


def _mmd2(within_x, within_y, across):
    n, m = across.shape
    value = (
        (within_x.sum() - within_x.trace()) / (n * (n - 1))
        + (within_y.sum() - within_y.trace()) / (m * (m - 1))
        - 2 * across.mean()
    )
    return float(value)


def kernel_distance(real, fake, subsets=50, size=None, seed=0):
    """KID of features real (n, d) and fake (m, d): (mean, sd) over `subsets` random subsets, 0 = one distribution.

    size: images in a subset (the paper's 1,000, but half of the smaller set at most, so that subsets differ).
    Raises RoiganError for fewer than 4 images, unequal dims or features that are not finite, for a
    size below 2 and subsets below 1.
    """
    real, fake = (torch.as_tensor(t).to(torch.float64) for t in (real, fake))
    if (
        real.ndim != 2
        or fake.ndim != 2
        or real.shape[1] != fake.shape[1]
        or min(len(real), len(fake)) < 4
    ):
        raise RoiganError(
            f"KID takes features (n, dims) of equal dims and at least 4 images a side, "
            f"not {tuple(real.shape)} and {tuple(fake.shape)}."
        )
    if not (torch.isfinite(real).all() and torch.isfinite(fake).all()):
        raise RoiganError(
            "The features for KID hold NaN or infinity: the weight file has no values for these "
            f"{real.shape[1]} dims, or the images were not finite; use 64, 192 or 768 dims."
        )
    size = 1000 if size is None else size
    if size < 2 or subsets < 1:
        raise RoiganError(
            "KID is a mean over 1 subset or more of 2 images or more, not over "
            f"{subsets} of {size}: leave both out for 50 of up to 1,000 images."
        )
    size = min(size, min(len(real), len(fake)) // 2)
    generator = torch.Generator().manual_seed(check_seed(seed))
    overlap = (
        max(len(real), len(fake)) <= 3 * size
    )  # then kernels of all pairs, once, are less work
    of_real, of_fake, across = _kernels(real, fake) if overlap else (None, None, None)
    scores = []
    for _ in range(subsets):
        i, j = (
            torch.randperm(len(t), generator=generator)[:size].to(t.device) for t in (real, fake)
        )
        scores.append(
            _mmd2(of_real[i][:, i], of_fake[j][:, j], across[i][:, j])
            if overlap
            else polynomial_mmd2(real[i], fake[j])
        )
    scores = torch.tensor(scores, dtype=torch.float64)
    return float(scores.mean()), float(scores.std()) if subsets > 1 else 0.0
