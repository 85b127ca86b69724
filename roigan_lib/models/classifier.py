"""A classifier of what a hole holds (ControlGAN, thesis 2.2): it asks for the labels of sliders."""

from __future__ import annotations

import torch
from torch import nn

from .additions import shrunk
from .generator import scaled
from .layers import SLOPE, conv, leaky, linear

WIDTHS = (48, 96, 128, 192)  # of the maps of S/2, S/4, S/8 and S/16


class Classifier(nn.Module):
    """C(labels | content of the hole): a separate network, taught on real images.

    forward(images, masks): (n, 3, S, S) in [-1, 1] and (n, 1, S, S) -> logits (n, n_labels). What
    lies outside the region never enters, so that hair or a collar cannot answer for the face.
    """

    def __init__(self, cfg, n_labels):
        super().__init__()
        w = [scaled(c, max(0.25, min(1.0, 2 * cfg.width))) for c in WIDTHS]
        self.down = nn.ModuleList(conv(a, b, 4, 2, 1) for a, b in zip([4] + w, w))
        self.look = nn.ModuleList(conv(c, c, 3, 1, 1) for c in w)
        self.norms = nn.ModuleList(nn.GroupNorm(4, c) for c in w)
        self.dense = linear(w[-1] * (min(cfg.size, 64) >> len(w)) ** 2, w[-1])
        self.head = linear(w[-1], n_labels)
        for layer in (*self.down, *self.look):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)

    def forward(self, images, masks):
        images, masks = shrunk(images, masks)
        y = torch.cat([images * masks, masks], 1).contiguous(memory_format=torch.channels_last)
        for down, look, norm in zip(self.down, self.look, self.norms):
            y = down(y)
            y = leaky(y + look(leaky(norm(y))))
        return self.head(leaky(self.dense(y.flatten(1)))).float()
