"""The discriminator with its local and global heads and the Q network (thesis 3.6, figure 3.6)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .generator import scaled
from .layers import SLOPE, SpectralConv, conv, instance_norm, linear

DOWN = (128, 64, 32, 16)  # widths of the halving layers, from 16×16 outwards


class CodeHead(nn.Module):
    """μ (n, n_continuous), log σ² (n, n_continuous) and logits (n, n_discrete, n_categories) from a feature vector."""

    def __init__(self, n_in, cfg, literal=False):
        super().__init__()
        self.cfg = cfg
        self.mean = linear(n_in, cfg.n_continuous, literal)
        self.logvar = linear(n_in, cfg.n_continuous, literal)
        self.logits = (
            linear(n_in, cfg.n_discrete * cfg.n_categories, literal) if cfg.n_discrete else None
        )
        # Four times the logits make the first, untrained choice of a category depend on the image: a code that begins as
        # noise is ignored before it can mean anything. The thesis has no such factor.
        self.gain = 1.0 if literal else 4.0

    def forward(self, y):
        shape = (len(y), self.cfg.n_discrete, self.cfg.n_categories)
        logits = (
            (self.gain * self.logits(y)).view(shape)
            if self.logits is not None
            else y.new_zeros(shape)
        )
        return self.mean(y), self.logvar(y).clamp(-6, 3), logits


class Discriminator(nn.Module):
    """D(x, RoI): 25 local scores and a global one; D also returns its LeakyReLU maps for feature matching (3.11).

    forward(images, masks) -> scores (n, 26), list of 4 or more feature maps. Only the layers before 16×16 halve the
    resolution (thesis 3.6: 64 → 32 → 16), three unpadded 4×4 convolutions follow: 16 → 13 → 10 → 7.
    """

    def __init__(self, cfg):
        super().__init__()
        n_down = cfg.size.bit_length() - 5
        w = [scaled(c, cfg.width) for c in DOWN[:n_down][::-1] + (256, 512, 256)]
        norm = SpectralConv if cfg.spectral else (lambda layer: layer)
        equalized = cfg.equalized and not cfg.spectral  # the division undoes (3.20)
        self.instance = not cfg.spectral
        self.global_norm = cfg.literal and self.instance
        layers, c = [], 4
        for i, c_out in enumerate(w):
            down = i < n_down
            layer = conv(
                c,
                c_out,
                4,
                2 if down else 1,
                1 if down else 0,
                bias=cfg.spectral,
                equalized=equalized,
            )
            layers.append(norm(layer))
            c = c_out
        self.main = nn.ModuleList(layers)
        middle = scaled(128, cfg.width)
        self.local_head = norm(conv(c, 1, 3, equalized=equalized))
        self.global_head = nn.ModuleList(
            [
                norm(conv(c, middle, 4, equalized=equalized)),
                norm(conv(middle, 1, 4, equalized=equalized)),
            ]
        )
        self.q = None if cfg.own_reader else QNetwork(c, cfg)

    def maps(self, images, masks):
        """The LeakyReLU maps of D_main, the last one (n, 256·w, 7, 7)."""
        y = torch.cat([images, masks], 1).contiguous(memory_format=torch.channels_last)
        out = []
        for i, layer in enumerate(self.main):
            y = layer(y)
            if self.instance and i > 0:
                y = instance_norm(y)
            y = F.leaky_relu(y, SLOPE)
            out.append(y)
        return out

    def forward(self, images, masks):
        maps = self.maps(images, masks)
        local = self.local_head(maps[-1]).flatten(1)  # (n, 25)
        whole = self.global_head[0](maps[-1])
        whole = F.leaky_relu(instance_norm(whole) if self.global_norm else whole, SLOPE)
        whole = self.global_head[1](whole).flatten(1)  # (n, 1)
        return torch.cat([local, whole], 1).float(), maps


class ProjectedHeads(nn.Module):
    """Discriminators on the maps of a frozen network (Projected GANs, Sauer et al. 2021), one for each map and one for
    the deepest map with a wider view. What the frozen network tells apart they need not learn first.

    shapes: [(channels, side), …] of the maps. forward(maps, masks) -> for each head its scores (n, 1, s, s), and which of
    them look at the region (n, 1, s, s) in {0, 1}: elsewhere a completed image is the real one, and nothing is to be told.
    """

    def __init__(self, shapes):
        super().__init__()
        least = min(side for _, side in shapes)
        heads = [(c, side, least) for c, side in shapes] + [(*shapes[-1], least // 4)]
        self.heads = nn.ModuleList(self._head(*head) for head in heads)

    def _head(self, c, side, least):
        layers, width = [], max(48, min(128, 3 * c // 4))
        c += 1
        for _ in range(2):
            down = side > least
            layers.append(SpectralConv(conv(c, width, 4 if down else 3, 2 if down else 1, 1)))
            side, c = side // 2 if down else side, width
        return nn.ModuleList(layers + [SpectralConv(conv(c, 1, 3, 1, 1))])

    def forward(self, maps, masks):
        found = []
        for (first, second, last), y in zip(self.heads, [*maps, maps[-1]]):
            share = F.adaptive_avg_pool2d(masks, y.shape[-1]).to(y.dtype)
            y = torch.cat([y, share], 1).contiguous(memory_format=torch.channels_last)
            y = last(F.leaky_relu(second(F.leaky_relu(first(y), SLOPE)), SLOPE)).float()
            found.append((y, F.adaptive_max_pool2d(masks, y.shape[-1])))
        return found


class QNetwork(nn.Module):
    """Q(c | x) on D_main's last map (thesis 3.6): two 4×4 convolutions, then the code head. (n, c, 7, 7) -> codes."""

    def __init__(self, c_in, cfg):
        super().__init__()
        a, b = scaled(128, cfg.width), scaled(64, cfg.width)
        self.first, self.second = (
            conv(c_in, a, 4, equalized=cfg.equalized),
            conv(a, b, 4, equalized=cfg.equalized),
        )
        self.head = CodeHead(b, cfg, cfg.literal)

    def forward(self, last_map):
        y = F.leaky_relu(instance_norm(self.first(last_map)), SLOPE)
        return self.head(F.leaky_relu(self.second(y), SLOPE).flatten(1).float())


class Reader(nn.Module):
    """Q(c | x) with a trunk of its own (improved recipe): reads the codes of the content inside the region.

    forward(images, masks, fill): all (n, ·, S, S) -> μ, log σ², logits as in CodeHead. It sees what the hole holds
    beyond its smooth fill and beyond its mean colour: codes say what the surroundings cannot, and never a tone.
    """

    def __init__(self, cfg):
        super().__init__()
        wide = max(0.125, min(1.0, cfg.width))
        w = [scaled(c, wide) for c in (48, 96, 128, 192)]
        strides = [2] * 4
        if cfg.size > 64:
            extra = cfg.size.bit_length() - 7
            w, strides = [w[0]] * extra + w, [2] * extra + strides
        cs = [7] + w
        self.layers = nn.ModuleList(conv(a, b, 4, 2, 1) for a, b in zip(cs, cs[1:]))
        side = cfg.size >> len(w)
        self.dense = linear(w[-1] * side * side, scaled(256, wide))
        self.head = CodeHead(scaled(256, wide), cfg)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)

    def forward(self, images, masks, fill):
        new = (images - fill) * masks
        mean = new.sum((2, 3), keepdim=True) / masks.sum((2, 3), keepdim=True).clamp_min(1)
        y = torch.cat([new - mean * masks, images * (1 - masks), masks], 1)
        y = y.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            y = F.leaky_relu(layer(y), SLOPE)
        y = F.leaky_relu(self.dense(y.flatten(1)), SLOPE)
        return self.head(y.float())
