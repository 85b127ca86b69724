"""Fréchet distance between the feature clouds of two image sets (thesis eq. 4.1; Heusel et al. 2017)."""

import torch

from ..errors import RoiganError


def _checked(features, name):
    features = torch.as_tensor(features)
    if features.ndim != 2 or len(features) < 2:
        shape = tuple(features.shape)
        raise RoiganError(
            f"The {name} features must be (n, dims) of at least 2 images, not {shape}."
        )
    features = features.to(torch.float64)
    if not torch.isfinite(features).all():
        raise RoiganError(
            f"The {name} features hold NaN or infinity: the weight file has no values for these "
            f"{features.shape[1]} dims, or the images were not finite; use 64, 192 or 768 dims."
        )
    return features


def frechet_from_moments(mean1, cov1, mean2, cov2):
    """Eq. (4.1) for two Gaussians: means (d,), covariances (d, d), any float type. Returns a float, at least 0.

    Tr (S1 S2)^½ is the sum of the roots of the eigenvalues of S1^½ S2 S1^½, which is symmetric: no complex matrix
    root, so a singular covariance (fewer images than dims) is no special case and SciPy's version does not matter.
    """
    mean1, cov1, mean2, cov2 = (
        torch.as_tensor(t).to(torch.float64) for t in (mean1, cov1, mean2, cov2)
    )
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T  # S1^½
    product = root @ cov2 @ root
    values = torch.linalg.eigvalsh((product + product.T) / 2)
    # rounding noise around a zero eigenvalue would enter as its root, thus large: below the noise floor it is a zero
    floor = values.abs().max() * len(values) * torch.finfo(torch.float64).eps
    return _distance(mean1, mean2, cov1.trace() + cov2.trace(), values[values > floor].sqrt().sum())


def _distance(mean1, mean2, traces, trace_root):
    return max(float((mean1 - mean2).square().sum() + traces - 2 * trace_root), 0.0)


def frechet_distance(real, fake):
    """Eq. (4.1) from features, real (n, d) and fake (m, d). Returns a float; 0 = the same mean and covariance.

    Covariances divide by n - 1, as pytorch-fid does. The estimate is biased upwards at small n (see `small_n_note`).
    Raises RoiganError for fewer than 2 images, unequal dims or features that are not finite.
    """
    real, fake = _checked(real, "real"), _checked(fake, "fake")
    dims = real.shape[1]
    if dims != fake.shape[1]:
        raise RoiganError(
            f"Real features have {dims} dims and fake ones {fake.shape[1]}: use one network."
        )
    means = real.mean(0), fake.mean(0)
    if max(len(real), len(fake)) > dims:
        return frechet_from_moments(
            *(
                part
                for x, mean in zip((real, fake), means)
                for part in (mean, torch.cov(x.T).reshape(dims, dims))
            )
        )
    # S = AᵀA of centred features A: the roots wanted are the singular values of A₁A₂ᵀ, and with few images that is small
    first, second = ((x - mean) / (len(x) - 1) ** 0.5 for x, mean in zip((real, fake), means))
    return _distance(
        *means,
        first.square().sum() + second.square().sum(),
        torch.linalg.svdvals(first @ second.T).sum(),
    )


def small_n_note(n, dims):
    """The warning that belongs beside a Fréchet distance of n images and so many dims, or None."""
    if n < dims:
        return (
            f"{n} images for {dims} dims: the covariance is singular and the distance biased upwards; "
            f"compare only at equal n"
        )
    if n < 2048:
        return f"{n} images, below 2,048: biased upwards; compare only at equal n"
    return None
