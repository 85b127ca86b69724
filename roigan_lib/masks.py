"""Regions of interest (thesis 3.2): random binary masks, 1 = the region to fill, and the checks of masks given by hand."""
import difflib
import math

import numpy as np
import torch

from .errors import RoiganError

FAMILIES = ("rectangular", "elliptic", "mixed", "mixed-released")


def sample_masks(family, n, size, seed=0, device="cpu", generator=None):
    """n random masks (n, 1, H, W) float32 of {0, 1}. First version; see the laws below."""
    if family not in FAMILIES:
        close = difflib.get_close_matches(str(family), FAMILIES, n=1)
        hint = f"did you mean {close[0]!r}" if close else "choose one"
        raise RoiganError(f"unknown mask family {family!r}: {hint} (there are {', '.join(FAMILIES)}).")
    height, width = (size, size) if isinstance(size, int) else size
    gen = generator if generator is not None else torch.Generator().manual_seed(seed)
    y = torch.arange(height, dtype=torch.float64)[:, None]
    x = torch.arange(width, dtype=torch.float64)[None, :]
    out = torch.empty(n, 1, height, width)
    extent = torch.tensor([width, height], dtype=torch.float64)
    for i in range(n):
        while True:
            if family == "rectangular":
                x1, x2 = torch.randint(0, width + 1, (2,), generator=gen).sort().values
                y1, y2 = torch.randint(0, height + 1, (2,), generator=gen).sort().values
                mask = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
            else:
                k, narrow, wide, tilt = {"elliptic": (1, 5, 3, .8), "mixed": (3, 5, 3, .8), "mixed-released": (15, 10, 6, .9)}[family]
                mu = extent / 2 + extent.sqrt() * torch.randn(k, 2, generator=gen, dtype=torch.float64)
                sigma = extent * (1 / narrow + (1 / wide - 1 / narrow) * torch.rand(k, 2, generator=gen, dtype=torch.float64))
                rho = tilt * (2 * torch.rand(k, generator=gen, dtype=torch.float64) - 1)
                w = torch.softmax(2 * torch.rand(k, generator=gen, dtype=torch.float64) - 1, 0)
                u = (x - mu[:, 0, None, None]) / sigma[:, 0, None, None]
                v = (y - mu[:, 1, None, None]) / sigma[:, 1, None, None]
                r = rho[:, None, None]
                q = (u * u - 2 * r * u * v + v * v) / (1 - r * r)
                if k == 1:
                    mask = q[0] < 2 * math.log(2)
                else:
                    f = (torch.exp(-q / 2) * (w / (sigma.prod(1) * (1 - rho * rho).sqrt()))[:, None, None]).sum(0)
                    mask = f > f.max() / 2
            if 0 < mask.sum() < mask.numel():
                break
        out[i, 0] = mask
    return out.to(device)
