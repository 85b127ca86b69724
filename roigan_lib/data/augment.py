"""Training images as another camera would have made them."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def augment(images, shift, soften, generator):
    """images (n, 3, S, S), moved and blurred, each by a random amount; 0 leaves them alone.

    shift: by up to so many whole pixels along both axes, mirrored at the frame. soften: blurred
    with [a, 1 - 2a, a] along both axes, a ~ U(soften / 2, 3 soften / 2).
    """
    n, size = len(images), images.shape[-1]
    if shift:
        corners = torch.randint(0, 2 * shift + 1, (n, 2), generator=generator).tolist()
        wide = F.pad(images, (shift,) * 4, "reflect")
        images = torch.stack([x[:, i : i + size, j : j + size] for x, (i, j) in zip(wide, corners)])
    if soften:
        a = soften * (0.5 + torch.rand(n, 1, 1, 1, generator=generator))
        with_edges = torch.arange(-1, size + 1).clamp(0, size - 1)  # first and last pixel twice
        for axis in (2, 3):
            wide = images.index_select(axis, with_edges)
            beside = wide.narrow(axis, 0, size) + wide.narrow(axis, 2, size)
            images = (1 - 2 * a) * images + a * beside
    return images
