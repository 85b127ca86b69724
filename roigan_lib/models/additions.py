"""What recipes for photographs add to the networks: depth, calm colours, heads on frozen maps."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .fast import FastSpectralConv
from .layers import conv, leaky


def smooth_colour(y):
    """Keep the luma (BT.601) of (n, 3, H, W); smooth the colour by [1, 4, 6, 4, 1] / 16 both ways.

    Eyes and most losses hardly see fine colour, so a generator may leave stripes there;
    Inception's features see them.
    """
    luma = (y * y.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    colour = F.pad(y - luma, (2, 2, 2, 2), mode="replicate")
    for _ in range(4):
        colour = F.avg_pool2d(colour, 2, 1)
    return luma + colour


def shrunk(images, masks, side=64):
    """Images (n, 3, S, S) and masks at `side` pixels at most; the hole keeps what it touches."""
    k, of_mask = (max(1, t.shape[-1] // side) for t in (images, masks))
    return F.avg_pool2d(images, k), F.max_pool2d(masks, of_mask)


def border_blend(images, masks, shares=(0.25, 0.1)):
    """What lies next to the border, continued into the first pixels inside it, and where.

    Images (n, 3, S, S), masks (n, 1, S, S) -> (colours · share, share): a share of each ring of
    pixels, from the border inwards, is the mean of its known neighbours. A drawing d that becomes
    d · (1 - share) + colours · share has no seam there. The shares were chosen on valid faces.
    """
    known, share = 1 - masks, torch.zeros_like(masks)
    colours = images * known
    for weight in shares:
        near = F.avg_pool2d(known, 3, 1, 1)
        ring = (near > 0).to(masks.dtype) * (1 - known)
        colours = colours + ring * F.avg_pool2d(colours, 3, 1, 1) / near.clamp_min(1e-6)
        known, share = known + ring, share + weight * ring
    return colours * share, share


class Refinement(nn.Module):
    """Residual block behind an upsample block (He et al. 2016): (n, c, H, W) -> the same.

    An upsample block looks twice at 3×3 pixels: that is little depth for deciding what belongs
    into a large hole. It begins as the identity.
    """

    def __init__(self, channels, equalized):
        super().__init__()
        self.first = conv(channels, channels, 3, 1, 1, equalized=equalized)
        self.second = conv(channels, channels, 3, 1, 1, equalized=equalized)
        if not equalized:
            nn.init.zeros_(self.second.weight)

    def forward(self, y):
        return y + self.second(leaky(self.first(leaky(y))))


class ProjectedHeads(nn.Module):
    """Discriminators on the maps of a frozen network (Projected GANs, Sauer et al. 2021), one for
    each map and one for the deepest with a wider view: what that network knows they need not learn.

    shapes: [(channels, side), …] of the maps. forward(maps, masks) -> for each head its scores
    (n, 1, s, s), and which of them look at the region, (n, 1, s, s) in {0, 1}: none is to be told
    elsewhere.
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
            k, stride = (4, 2) if side > least else (3, 1)
            layers.append(FastSpectralConv(conv(c, width, k, stride, 1)))
            side, c = side // stride, width
        return nn.ModuleList(layers + [FastSpectralConv(conv(c, 1, 3, 1, 1))])

    def forward(self, maps, masks):
        found = []
        for (first, second, last), y in zip(self.heads, [*maps, maps[-1]]):
            share = F.adaptive_avg_pool2d(masks, y.shape[-1]).to(y.dtype)
            y = torch.cat([y, share], 1).contiguous(memory_format=torch.channels_last)
            y = last(leaky(second(leaky(first(y))))).float()
            found.append((y, F.adaptive_max_pool2d(masks, y.shape[-1])))
        return found
