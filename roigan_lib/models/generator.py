"""The generator (thesis 3.5, figure 3.5): gated encoder, style vector, upsample blocks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from . import fast
from .additions import Refinement, smooth_colour
from .layers import SLOPE, GatedConv, conv, enlarge, leaky, linear

ENCODER = (128, 64, 32, 16, 8, 8, 8)  # widths from the 2×2 bottleneck outwards
DECODER = (100, 64, 64, 64, 32, 16)  # widths from 8×8 outwards
TABLE_FROM = 16  # below this side a plain convolution beats the table of `fast`


def scaled(channels: int, width: float) -> int:
    """A width multiplier applied to a channel count: a multiple of 4, at least 4."""
    return max(4, int(round(channels * width / 4)) * 4)


def pyramid_fill(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Fill the hole smoothly from its surroundings (push-pull): the residual generator's start.

    images (n, 3, S, S), masks (n, 1, S, S), 1 = hole -> (n, 3, S, S), equal to the images outside
    the hole.
    """
    k = 1 - masks
    levels, x = [], images * k
    while x.shape[-1] > 1:
        levels.append((x, k))
        x, k = F.avg_pool2d(x, 2), F.avg_pool2d(k, 2)
    fill = x / k.clamp_min(1e-6)
    for x, k in reversed(levels):
        fill = x + (1 - k) * enlarge(fill)
    return fill


class Generator(nn.Module):
    """G(z | x, RoI): redraws the image, with new content inside the region.

    forward(images, masks, z): images (n, 3, S, S) in [-1, 1], masks (n, 1, S, S) in {0, 1}, z
    (n, z_dim) from `join_codes` -> raw output (n, 3, S, S), mean and log-variance of the global
    style (n, 256·w) for (1.6). What lies under the mask never enters: the input is x · (1 − RoI).
    """

    def __init__(self, cfg):
        super().__init__()
        self.cfg, eq = cfg, cfg.equalized
        levels = cfg.size.bit_length() - 2  # 64 px: 5 gated convolutions down to 2×2
        e = [scaled(c, cfg.encoder_width) for c in ENCODER[:levels]]
        if cfg.encoder_width > 1:
            e = [min(c, scaled(128, max(1.0, cfg.width))) for c in e]
        wide = [cfg.deep_width] * 2 + [1] * levels
        d = [scaled(c, cfg.width * w) for c, w in zip(DECODER[: levels - 1], wide)]
        hidden, style = scaled(128, cfg.width), scaled(256, cfg.width)
        self.style_dim = style
        c_image = 7 if cfg.residual else 4  # masked image, mask and, with it, the fill
        self.encoder = nn.ModuleList(
            GatedConv(c_in, c_out, cfg.encoder_norm, eq, cfg.literal)
            for c_in, c_out in zip([c_image] + e[::-1], e[::-1])
        )
        self.mean = linear(4 * e[0], style, eq)
        self.logvar = linear(4 * e[0], style, eq)
        self.dense = nn.ModuleList(linear(n, style, eq) for n in (self.z_dim, style, style))
        c_in = [style // 16 + e[1]] + [d_i + e_i for d_i, e_i in zip(d, e[2:])]
        self.blocks = nn.ModuleList(
            fast.FastUpsampleBlock(a, b, hidden, style, cfg) for a, b in zip(c_in, d)
        )
        self.refine = nn.ModuleList(
            nn.Sequential(*(Refinement(c, eq) for _ in range(cfg.refine))) for c in d
        )
        self.fine = None
        if cfg.fine:
            first, second = (conv(c, d[-1], 3, 1, 1, equalized=eq) for c in (c_image, d[-1]))
            self.fine = nn.Sequential(first, nn.LeakyReLU(SLOPE), second)
        self.to_rgb = conv(d[-1] + (c_image if cfg.residual else 0), 3, 3, 1, 1, equalized=eq)
        if not eq:
            self._initialise()

    def _initialise(self):
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)) and len(module.weight) > 4:
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.to_rgb.weight, std=0.01)
        nn.init.zeros_(self.to_rgb.bias)
        if self.fine is not None:
            nn.init.zeros_(self.fine[2].weight)
        layers = [c for b in self.blocks for c in (b.conv_left, b.conv_right, b.conv_last)]
        for layer in (*layers, *self.dense, *(gated.both for gated in self.encoder)):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)

    @property
    def z_dim(self):
        """Numbers of noise, continuous codes and one-hot categories together."""
        cfg = self.cfg
        return cfg.n_noise + cfg.n_continuous + cfg.n_discrete * cfg.n_categories

    def join_codes(self, codes, noise):
        """(z0, c0, one-hot c1): codes (n, n_codes), noise (n, n_noise) -> (n, z_dim)."""
        c0, c1 = codes.split((self.cfg.n_continuous, self.cfg.n_discrete), 1)
        hot = c1[:, :, None] == torch.arange(self.cfg.n_categories, device=codes.device)
        return torch.cat([noise, c0, hot.flatten(1).to(codes.dtype)], 1)

    def features_of(self, images, masks):
        """What the sliders cannot change: encoder maps, style (mean, logvar), fill and mask windows
        of the input. Without gradients `decode` adds what it makes of them before it sees z.
        """
        fill = pyramid_fill(images, masks) if self.cfg.residual else None
        seen = [images * (1 - masks), masks] + ([] if fill is None else [fill])
        y = seen = torch.cat(seen, 1).contiguous(memory_format=torch.channels_last)
        maps = [y := layer(y) for layer in self.encoder]
        flat = maps[-1].flatten(1)
        slides = len(masks) == 1 and not torch.is_grad_enabled()  # kept tables win everywhere
        sides = (4 << i for i in range(len(self.blocks) + 1))
        return dict(
            maps=maps,
            mean=self.mean(flat),
            logvar=self.logvar(flat).clamp(-8, 8),
            fill=fill,
            seen=seen,
            fine=0.0 if self.fine is None else self.fine(seen),
            windows={s: fast.MaskWindows(masks, s) for s in sides if slides or s >= TABLE_FROM},
        )

    def decode(self, f, masks, z):
        """Redraw from features_of(images, masks) and z (n, z_dim): raw output (n, 3, S, S)."""
        return self.colours(f, self.last_map(f, masks, z)[0])

    def last_map(self, f, masks, z):
        """What `colours` reads, (n, c, S, S), and the vector (n, style) behind `dense`."""
        for layer in self.dense:
            z = leaky(layer(z))  # (n, style)
        w = z * torch.exp(0.5 * f["logvar"]) + f["mean"]  # σZ + μ
        y = F.pixel_shuffle(w[:, :, None, None], 4)  # (n, style/16, 4, 4)
        y = y.contiguous(memory_format=torch.channels_last)
        styles = fast.styles(self.blocks, z, f)
        skips = f["maps"][-2::-1]  # 4×4, 8×8, … S/2: the encoder's maps end there
        fine = [0.0] * (len(self.blocks) - 1) + [f["fine"]]
        for block, refine, skip, extra in zip(self.blocks, self.refine, skips, fine):
            y = refine(block(y, masks, styles, f["windows"], skip) + extra)  # twice the side
        return y, z

    def colours(self, f, y):
        """The last map (n, c, S, S) -> the raw output (n, 3, S, S)."""
        if not self.cfg.residual:
            return torch.tanh(F.instance_norm(self.to_rgb(y).float()))
        finish = smooth_colour if self.cfg.smooth_colour else lambda y: y
        return fast.residual(self.to_rgb, y, f, finish)

    def forward(self, images, masks, z):
        f = self.features_of(images, masks)
        return self.decode(f, masks, z), f["mean"], f["logvar"]
