"""The discriminator with its local and global heads and the Q network (thesis 3.6, figure 3.6)."""

from __future__ import annotations

import torch
from torch import nn

from .additions import shrunk
from .fast import FastSpectralConv
from .generator import scaled
from .layers import SLOPE, conv, instance_norm, leaky, linear

DOWN = (128, 64, 32, 16)  # widths of the halving layers, from 16×16 outwards


class CodeHead(nn.Module):
    """(n, n_in) -> μ, log σ² (n, n_continuous), and logits (n, n_discrete, n_categories)."""

    def __init__(self, n_in, cfg, literal=False):
        super().__init__()
        self.cfg = cfg
        self.mean, self.logvar = (linear(n_in, cfg.n_continuous, literal) for _ in range(2))
        n_logits = cfg.n_discrete * cfg.n_categories
        self.logits = linear(n_in, n_logits, literal) if n_logits else None
        # Four times the logits make the first, untrained choice of a category depend on the image:
        # a code that begins as noise is ignored before it can mean anything. Not in the thesis.
        self.gain = 1.0 if literal else 4.0

    def forward(self, y):
        logits = y.new_zeros(len(y), 0) if self.logits is None else self.gain * self.logits(y)
        logits = logits.view(len(y), self.cfg.n_discrete, self.cfg.n_categories)
        return self.mean(y), self.logvar(y).clamp(-6, 3), logits


class Discriminator(nn.Module):
    """D(x, RoI): 25 local scores and a global one, and LeakyReLU maps for feature matching (3.11).

    forward(images, masks): (n, 3, S, S) in [-1, 1] and (n, 1, S, S) -> scores (n, 26), list of 4 or
    more maps. Only the layers before 16×16 halve the resolution (thesis 3.6: 64 → 32 → 16), three
    unpadded 4×4 convolutions follow: 16 → 13 → 10 → 7.
    """

    def __init__(self, cfg):
        super().__init__()
        norm = FastSpectralConv if cfg.spectral else nn.Identity()
        equalized = cfg.equalized and not cfg.spectral  # the division undoes (3.20)
        self.instance = not cfg.spectral
        self.global_norm = cfg.literal and self.instance

        def layer(c_in, c_out, k, stride=1, bias=True):
            return norm(conv(c_in, c_out, k, stride, stride - 1, bias, equalized))

        halving = DOWN[: cfg.size.bit_length() - 5][::-1]
        w = [scaled(c, cfg.width) for c in halving + (256, 512, 256)]
        strides, c, middle = [2] * len(halving) + [1] * 3, w[-1], scaled(128, cfg.width)
        trunk = zip([4] + w, w, strides)
        self.main = nn.ModuleList(layer(a, b, 4, s, cfg.spectral) for a, b, s in trunk)
        self.local_head = layer(c, 1, 3)
        self.global_head = nn.ModuleList([layer(c, middle, 4), layer(middle, 1, 4)])
        self.q = None if cfg.own_reader else QNetwork(c, cfg)

    def maps(self, images, masks):
        """The LeakyReLU maps of D_main, the last one (n, 256·w, 7, 7)."""
        out = [leaky(self.first(images, masks))]
        for layer in list(self.main)[1:]:
            y = layer(out[-1])
            out.append(leaky(instance_norm(y) if self.instance else y))
        return out

    def first(self, images, masks):
        """The first map, before its LeakyReLU."""
        y = torch.cat([images, masks], 1).contiguous(memory_format=torch.channels_last)
        return next(iter(self.main))(y)

    def forward(self, images, masks):
        maps = self.maps(images, masks)
        local = self.local_head(maps[-1]).flatten(1)  # (n, 25)
        whole = self.global_head[0](maps[-1])
        whole = leaky(instance_norm(whole) if self.global_norm else whole)
        whole = self.global_head[1](whole).flatten(1)  # (n, 1)
        return torch.cat([local, whole], 1).float(), maps


class QNetwork(nn.Module):
    """Q(c | x) on D_main's last map (thesis 3.6), (n, c, 7, 7): two 4×4 convolutions, CodeHead."""

    def __init__(self, c_in, cfg):
        super().__init__()
        a, b = scaled(128, cfg.width), scaled(64, cfg.width)
        self.first = conv(c_in, a, 4, equalized=cfg.equalized)
        self.second = conv(a, b, 4, equalized=cfg.equalized)
        self.head = CodeHead(b, cfg, cfg.literal)

    def forward(self, last_map):
        y = leaky(instance_norm(self.first(last_map)))
        return self.head(leaky(self.second(y)).flatten(1).float())


class Reader(nn.Module):
    """Q(c | x) with a trunk of its own (improved recipe): reads codes from the content of the hole.

    forward(images, masks, fill): all (n, ·, S, S) -> μ, log σ², logits as in CodeHead. It sees what
    the hole holds beyond its smooth fill and its mean colour: codes say what the surroundings
    cannot, and never a tone.
    """

    def __init__(self, cfg):
        super().__init__()
        wide = max(0.125, min(1.0, cfg.width))
        w = [scaled(c, wide) for c in (48, 96, 128, 192)]
        self.layers = nn.ModuleList(conv(a, b, 4, 2, 1) for a, b in zip([7] + w, w))
        self.dense = linear(w[-1] * (min(cfg.size, 64) >> len(w)) ** 2, scaled(256, wide))
        self.head = CodeHead(scaled(256, wide), cfg)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)

    def forward(self, images, masks, fill):
        fill, (images, masks) = shrunk(fill, masks)[0], shrunk(images, masks)
        new = (images - fill) * masks
        mean = new.sum((2, 3), keepdim=True) / masks.sum((2, 3), keepdim=True).clamp_min(1)
        y = torch.cat([new - mean * masks, images * (1 - masks), masks], 1)
        y = y.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            y = leaky(layer(y))
        return self.head(leaky(self.dense(y.flatten(1))).float())
