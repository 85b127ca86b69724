"""Networks of 128 and 256 pixels around those of 64 (Karras et al. 2018, the thesis' [25]).

A `Shell` doubles the side: one gated convolution further out, one upsample block more. While it
fades in, the share of what it adds rises from 0 to 1, so that what was learned is never lost. Where
[25] blends two colour layers, the new one here adds to the drawing of the network within.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from . import fast
from .additions import Refinement, border_blend, shrunk, smooth_colour
from .discriminator import DOWN, Discriminator
from .generator import DECODER, ENCODER, Generator, pyramid_fill, scaled
from .layers import SLOPE, GatedConv, conv, enlarge, leaky

CORE = 64  # pixels of the network that the shells lie around


def core(cfg):
    """The configuration of the network within."""
    return replace(cfg, architecture="improved", size=CORE)


class Shell(nn.Module):
    """One doubling of the side: (n, c_in, S/2, S/2) and the image at S -> (n, c_out, S, S)."""

    def __init__(self, c_in, c_out, cfg):
        super().__init__()
        skip = scaled(ENCODER[-1], cfg.encoder_width)
        hidden, style = scaled(128, cfg.width), scaled(256, cfg.width)
        self.encoder = GatedConv(7, skip, cfg.encoder_norm, False)
        self.block = fast.FastUpsampleBlock(c_in + skip, c_out, hidden, style, cfg)
        self.refine = nn.Sequential(*(Refinement(c_out, False) for _ in range(cfg.refine)))
        self.fine = nn.Sequential(
            conv(7, c_out, 3, 1, 1), nn.LeakyReLU(SLOPE), conv(c_out, c_out, 3, 1, 1)
        )
        self.to_rgb = conv(c_out + 7, 3, 3, 1, 1)
        block = (self.block.conv_left, self.block.conv_right, self.block.conv_last)
        for layer in (*block, self.encoder.both):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        nn.init.normal_(self.to_rgb.weight, std=0.01)
        nn.init.zeros_(self.fine[2].weight)

    def features_of(self, images, masks):
        """What the sliders cannot change, as `Generator.features_of`."""
        seen = torch.cat([images * (1 - masks), masks, pyramid_fill(images, masks)], 1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        windows = {s: fast.MaskWindows(masks, s) for s in (masks.shape[-1] // 2, masks.shape[-1])}
        found = dict(seen=seen, masks=masks, windows=windows, skip=self.encoder(seen))
        return found | {"fine": self.fine(seen)}

    def forward(self, y, f, z):
        """The next map, and the colours that it adds: of f from `features_of` and the style z."""
        styles = fast.styles([self.block], z, f)
        y = self.refine(self.block(y, f["masks"], styles, f["windows"], f["skip"]) + f["fine"])
        return y, smooth_colour(self.to_rgb(torch.cat([y, f["seen"].to(y.dtype)], 1)).float())


class GrownGenerator(Generator):
    """A generator of 64 pixels and a shell for each doubling; interface as `Generator`.

    The names of the 64-pixel weights stay, so that a smaller model's load as they are.
    """

    def __init__(self, cfg):
        super().__init__(core(cfg))
        self.cfg, sides = cfg, (cfg.size // CORE).bit_length() - 1
        c = [scaled(c, cfg.width) for c in DECODER[3 : 4 + sides]]
        self.shells = nn.ModuleList(Shell(a, b, cfg) for a, b in zip(c, c[1:]))
        self.register_buffer("fade", torch.ones(()))

    def features_of(self, images, masks):
        """As `Generator.features_of`, with the features of each shell."""
        small = shrunk(images, masks, CORE)
        sides = (CORE << i for i in range(1, len(self.shells) + 1))
        levels = [s.features_of(*shrunk(images, masks, n)) for s, n in zip(self.shells, sides)]
        edge = border_blend(images, masks)
        return super().features_of(*small) | {"levels": levels, "masks": small[1], "edge": edge}

    def decode(self, f, masks, z):
        """As `Generator.decode`: each shell adds its colours to the enlarged drawing within.

        The first pixels inside the border continue what lies outside.
        """
        y, z = self.last_map(f, f["masks"], z)
        drawn = self.colours(f, y)
        for shell, level in zip(self.shells, f["levels"]):
            y, added = shell(y, level, z)
            share = self.fade if shell is self.shells[-1] else 1.0
            drawn = level["seen"][:, :3] + level["masks"] * enlarge(drawn) + share * added
        near, share = (self.fade * t for t in f["edge"])
        return drawn * (1 - share) + near


class GrownDiscriminator(Discriminator):
    """A discriminator of 64 pixels with layers further out; interface as `Discriminator`."""

    def __init__(self, cfg):
        super().__init__(core(cfg))
        self.cfg, sides = cfg, (cfg.size // CORE).bit_length() - 1
        w = [4, *(scaled(c, cfg.width) for c in DOWN[sides + 1 : 0 : -1])]
        self.outer = nn.ModuleList(
            fast.FastSpectralConv(conv(a, b, 4, 2, 1)) for a, b in zip(w, w[1:])
        )
        self.register_buffer("fade", torch.ones(()))

    def first(self, images, masks):
        """The first map before its LeakyReLU: of the shrunk image, and of what lies further out."""
        y = torch.cat([images, masks], 1).contiguous(memory_format=torch.channels_last)
        *outer, last = self.outer
        for layer in outer:
            y = leaky(layer(y))
        return super().first(*shrunk(images, masks, CORE)) + self.fade * last(y)
