"""What of the codes arrives in each layer of a generator."""

import contextlib

import torch
from torch.nn import functional as F

from ..errors import RoiganError


def traces(gan, images, masks, seed=0):
    """How much of each layer of a RoIGAN follows the codes: {source: {layer: share, 0 … 1}}.

    Sources: "continuous", "discrete" and "noise", drawn anew one at a time; the share is their
    `total_effect` over the channels and positions in the region. Layers: "z 1" to "z 3", "8×8" to
    "S×S", "x_g" (the raw output). images: (n, 3, S, S), 16 or more; masks: one region for all, (1,
    1, S, S). Raises RoiganError for the author's release.
    """
    generator, n, k = gan.generator, len(images), gan.n_continuous
    if not hasattr(generator, "refine"):
        raise RoiganError(
            "Traces are taken in the kit's own generator; the release's layers have other names."
        )
    layers = {f"z {i + 1}": layer for i, layer in enumerate(generator.dense)}
    layers |= {f"{8 << i}×{8 << i}": layer for i, layer in enumerate(generator.refine)}

    def drawn(codes, noise):
        found = {name: [] for name in layers}
        with contextlib.ExitStack() as hooks:  # each is a context that removes itself
            for name, layer in layers.items():
                keep = lambda _, __, y, parts=found[name]: parts.append(y.cpu().clone())
                hooks.enter_context(layer.register_forward_hook(keep))
            found["x_g"] = [gan.generate(images, masks, codes=codes, noise=noise)]
        return {name: _inside(torch.cat(parts), masks) for name, parts in found.items()}

    codes, others = gan.sample_codes(n, seed), gan.sample_codes(n, seed + 1)
    noise, other_noise = gan.sample_noise(n, seed), gan.sample_noise(n, seed + 1)
    base = drawn(codes, noise)
    sources = {
        "continuous": (torch.cat([others[:, :k], codes[:, k:]], 1), noise),
        "discrete": (torch.cat([codes[:, :k], others[:, k:]], 1), noise),
        "noise": (codes, other_noise),
    }
    return {
        source: {name: total_effect(base[name], y) for name, y in drawn(*changed).items()}
        for source, changed in sources.items()
    }


def _inside(y, masks):
    """The values (n, …) of a layer that lie in the region, (n, units)."""
    if y.ndim == 2:
        return y
    return y.flatten(2)[..., F.adaptive_avg_pool2d(masks, y.shape[-2:]).flatten() > 0.5].flatten(1)


def total_effect(y, redrawn):
    """Jansen's (1999) total effect of a source: E (y − y')² / 2 Var(y), y (n, units)."""
    variance = (y - y.mean(0)).square().sum() * len(y) / (len(y) - 1)
    return float((y - redrawn).square().sum() / 2 / variance.clamp_min(1e-12))
