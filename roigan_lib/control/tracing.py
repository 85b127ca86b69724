"""What of the codes arrives in each layer of a generator."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..errors import RoiganError


def traces(gan, images, masks, seed=0):
    """How much of each layer of a RoIGAN follows the codes: {source: {layer: share of its variance, 0 … 1}}.

    Sources: "continuous", "discrete" and "noise" are drawn anew, one at a time, everything else as it was; the share is
    the total effect of the source after Jansen (1999), E (y − y')² / 2 Var(y), summed over the channels and positions in
    the region, Var(y) over images (n, 3, S, S) that each have codes and noise of their own. Layers: "z 1" to "z 3",
    "8×8" to "S×S", "x_g" (the raw output). masks: one region for all, (1, 1, S, S); n of 16 or more.
    """
    generator, n, maps = gan.generator, len(images), {}
    if not hasattr(generator, "refine"):
        raise RoiganError(
            "Traces are taken in the kit's own generator; the release's layers have other names."
        )
    names = [f"z {i + 1}" for i in range(len(generator.dense))]
    names += [f"{8 << i}×{8 << i}" for i in range(len(generator.blocks))]
    layers = [*generator.dense, *generator.refine]

    def drawn(codes, noise):
        found = {name: [] for name in names}
        hooks = [
            layer.register_forward_hook(
                lambda _, __, y, name=name: found[name].append(y.cpu().clone())
            )
            for name, layer in zip(names, layers)
        ]
        try:
            found["x_g"] = [gan.generate(images, masks, codes=codes, noise=noise)]
        finally:
            for hook in hooks:
                hook.remove()
        return {name: _inside(torch.cat(parts), masks) for name, parts in found.items()}

    codes, others = gan.sample_codes(n, seed), gan.sample_codes(n, seed + 1)
    noise, k = gan.sample_noise(n, seed), gan.n_continuous
    base = drawn(codes, noise)
    sources = {
        "continuous": (torch.cat([others[:, :k], codes[:, k:]], 1), noise),
        "discrete": (torch.cat([codes[:, :k], others[:, k:]], 1), noise),
        "noise": (codes, gan.sample_noise(n, seed + 1)),
    }
    for source, changed in sources.items():
        maps[source] = {name: total_effect(base[name], y) for name, y in drawn(*changed).items()}
    return maps


def _inside(y, masks):
    """The values (n, …) of a layer that lie in the region, (n, units)."""
    if y.ndim == 2:
        return y
    return y.flatten(2)[..., F.adaptive_avg_pool2d(masks, y.shape[-2:]).flatten() > 0.5].flatten(1)


def total_effect(y, redrawn):
    """Jansen's (1999) total effect of a source: E (y − y')² / 2 Var(y), y (n, units), y' with that source drawn anew."""
    variance = (y - y.mean(0)).square().sum() * len(y) / (len(y) - 1)
    return float((y - redrawn).square().sum() / 2 / variance.clamp_min(1e-12))
