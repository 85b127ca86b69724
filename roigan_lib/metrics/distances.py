"""Distances between the features of two image sets, real (n, d) and fake (m, d).

Fréchet (thesis eq. 4.1; Heusel et al. 2017), kernel (Bińkowski et al. 2018, unbiased at any n),
precision and recall (Kynkäänniemi et al. 2019). All raise RoiganError for too few images, unequal
dims and features that are not finite.
"""

import torch

from ..checks import check_seed, check_whole, numbers
from ..errors import RoiganError


def _checked(real, fake, what, least, dtype=torch.float64):
    pair = [numbers("features", features).to(dtype) for features in (real, fake)]
    shapes = [tuple(features.shape) for features in pair]
    fits = [len(shape) for shape in shapes] == [2, 2] and shapes[0][1] == shapes[1][1] > 0
    if not fits or min(map(len, pair)) < least:
        raise RoiganError(
            f"{what} takes features (n, dims) of equal dims and at least {least} images a side, "
            f"not {shapes[0]} and {shapes[1]}."
        )
    if not all((features.abs() < 1e30).all() for features in pair):  # sixth powers stay finite
        raise RoiganError(
            "The features hold NaN, infinity or more than 1e30: the weight file has no values for "
            f"these {shapes[0][1]} dims, or the images were not finite; use 64, 192 or 768 dims."
        )
    return pair


def frechet_from_moments(mean1, cov1, mean2, cov2):
    """Eq. (4.1) for two Gaussians, means (d,) and covariances (d, d). A float, at least 0.

    Tr (S1 S2)^½ is the sum of the roots of the eigenvalues of S1^½ S2 S1^½, which is symmetric, so
    a singular covariance (fewer images than dims) is no special case.
    """
    moments = (mean1, cov1, mean2, cov2)
    mean1, cov1, mean2, cov2 = (torch.as_tensor(t).to(torch.float64) for t in moments)
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T  # S1^½
    product = root @ cov2 @ root
    values = torch.linalg.eigvalsh((product + product.T) / 2)
    # rounding noise around a zero eigenvalue would enter as its root, thus large
    floor = values.abs().max() * len(values) * torch.finfo(torch.float64).eps
    traces, of_root = cov1.trace() + cov2.trace(), values[values > floor].sqrt().sum()
    return max(float((mean1 - mean2).square().sum() + traces - 2 * of_root), 0.0)


def frechet_distance(real, fake):
    """Eq. (4.1) from features. A float; 0 = the same mean and covariance.

    Covariances divide by n - 1, as in pytorch-fid. Biased upwards at small n, see `small_n_note`.
    """
    real, fake = pair = _checked(real, fake, "A Fréchet distance", 2)
    dims, (mean1, mean2) = real.shape[1], (features.mean(0) for features in pair)
    if max(len(real), len(fake)) > dims:
        cov1, cov2 = (torch.cov(features.T).reshape(dims, dims) for features in pair)
        return frechet_from_moments(mean1, cov1, mean2, cov2)
    # S = AᵀA of centred A: the roots are the singular values of A₁A₂ᵀ, small for few images
    first, second = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in pair)
    traces = first.square().sum() + second.square().sum()
    of_root = torch.linalg.svdvals(first @ second.T).sum()
    return max(float((mean1 - mean2).square().sum() + traces - 2 * of_root), 0.0)


def small_n_note(n, dims):
    """The warning that belongs beside a Fréchet distance of n images and so many dims, or None."""
    if n >= max(dims, 2048):
        return None
    why = f" for {dims} dims: the covariance is singular and the distance" if n < dims else None
    return f"{n} images{why or ', below 2,048:'} biased upwards; compare only at equal n"


def _kernels(x, y):
    """The kernel (x·y / d + 1)³ within x (n, d), within y (m, d) and across."""
    return [(a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]


def _mmd2(within_x, within_y, across):
    """Unbiased squared MMD from the kernels; may fall below 0."""
    of_x, of_y = ((k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (within_x, within_y))
    return float(of_x + of_y - 2 * across.mean())


def kernel_distance(real, fake, subsets=50, size=None, seed=0):
    """KID: (mean, sd) of the squared MMD over random subsets, 0 = one distribution.

    size: images in a subset, default the paper's 1,000, but half of the smaller set at most, so
    that subsets differ. RoiganError also for a size below 2 and subsets below 1.
    """
    real, fake = _checked(real, fake, "KID", 4)
    size = 1000 if size is None else check_whole("size, images in a subset,", size, 2)
    subsets = check_whole("subsets", subsets, 1, 2**16)
    size = min(size, min(len(real), len(fake)) // 2)
    generator = torch.Generator().manual_seed(check_seed(seed))
    overlap = max(len(real), len(fake)) <= 3 * size  # all kernels once are then less work
    of_real, of_fake, across = _kernels(real, fake) if overlap else 3 * [None]
    scores = []
    for _ in range(subsets):
        drawn = (torch.randperm(len(t), generator=generator)[:size] for t in (real, fake))
        i, j = (k.to(real.device) for k in drawn)
        if overlap:
            scores.append(_mmd2(of_real[i][:, i], of_fake[j][:, j], across[i][:, j]))
        else:
            scores.append(_mmd2(*_kernels(real[i], fake[j])))
    scores = torch.tensor(scores, dtype=torch.float64)
    return float(scores.mean()), float(scores.std()) if subsets > 1 else 0.0


def precision_recall(real, fake, k=3):
    """(precision, recall): quality and coverage apart, floats from 0 to 1.

    Shares of fakes inside the balls around real points that reach to the k-th nearest neighbour,
    and the reverse. RoiganError also for sets of k images or fewer and k below 1.
    """
    k = check_whole("k", k, 1, 2**16)
    real, fake = pair = _checked(real, fake, "Precision and recall", k + 1, torch.float32)
    # each point is its own nearest neighbour
    of_real, of_fake = (torch.cdist(x, x).kthvalue(k + 1, 1).values for x in pair)
    across = torch.cdist(real, fake)  # (n, m)
    inside_real, inside_fake = across <= of_real[:, None], across <= of_fake
    return float(inside_real.any(0).float().mean()), float(inside_fake.any(1).float().mean())
