"""Precision and recall of image sets: quality and coverage apart (Kynkäänniemi et al. 2019)."""

import torch

from ..errors import RoiganError


def precision_recall(real, fake, k=3):
    """(precision, recall) of features real (n, d) and fake (m, d): floats from 0 to 1.

    A set's territory is the union of balls around its points that reach to the k-th nearest neighbour. Precision is the
    share of fakes inside the real territory, recall that of real images inside the fake one. RoiganError: unequal dims,
    features that are not finite, sets of k images or fewer, k below 1.
    """
    if k < 1:
        raise RoiganError(
            "Precision and recall reach to the k-th nearest neighbour, k of 1 or "
            f"more, not {k}: leave k out for 3."
        )
    real, fake = torch.as_tensor(real).float(), torch.as_tensor(fake).float()
    if (
        real.ndim != 2
        or fake.ndim != 2
        or real.shape[1] != fake.shape[1]
        or min(len(real), len(fake)) <= k
    ):
        raise RoiganError(
            f"Precision and recall take features (n, dims) of equal dims and more than {k} images a side, "
            f"not {tuple(real.shape)} and {tuple(fake.shape)}."
        )
    if not (torch.isfinite(real).all() and torch.isfinite(fake).all()):
        raise RoiganError(
            "The features for precision and recall hold NaN or infinity: use 64, 192 or 768 dims."
        )
    radius = [
        torch.cdist(x, x).kthvalue(k + 1, 1).values for x in (real, fake)
    ]  # each is its own nearest neighbour
    across = torch.cdist(real, fake)  # (n, m)
    inside_real, inside_fake = across <= radius[0][:, None], across <= radius[1]
    return float(inside_real.any(0).float().mean()), float(inside_fake.any(1).float().mean())
