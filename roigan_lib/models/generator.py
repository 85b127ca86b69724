"""The generator (thesis 3.5, figure 3.5): gated encoder, style vector, upsample blocks with denormalization."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .layers import SLOPE, GatedConv, MaskWindows, UpsampleBlock, conv, linear

ENCODER = (128, 64, 32, 16, 8, 8, 8)  # widths from the 2×2 bottleneck outwards
DECODER = (100, 64, 64, 64, 32, 16)  # widths from 8×8 outwards
TABLE_FROM = 16  # below this side a plain convolution beats the table


def scaled(channels: int, width: float) -> int:
    """A width multiplier applied to a channel count: a multiple of 4, at least 4."""
    return max(4, int(round(channels * width / 4)) * 4)


def pyramid_fill(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Fill the hole smoothly from its surroundings (push-pull): the start that the residual generator improves on.

    images (n, 3, S, S), masks (n, 1, S, S), 1 = hole -> (n, 3, S, S), equal to the images outside the hole.
    """
    keep = 1 - masks
    levels, x, k = [], images * keep, keep
    while x.shape[-1] > 1:
        levels.append((x, k))
        x, k = F.avg_pool2d(x, 2), F.avg_pool2d(k, 2)
    fill = x / k.clamp_min(1e-6)
    for x, k in reversed(levels):
        up = F.interpolate(fill, scale_factor=2, mode="bilinear", align_corners=False)
        fill = x + (1 - k) * up
    return fill


def join_codes(cfg, codes, noise):
    """(z0, c0, one-hot c1) side by side: codes (n, n_codes), noise (n, n_noise) -> (n, z_dim)."""
    c0, c1 = codes[:, : cfg.n_continuous], codes[:, cfg.n_continuous :]
    hot = (
        (c1[:, :, None] == torch.arange(cfg.n_categories, device=codes.device))
        .flatten(1)
        .to(codes.dtype)
    )
    return torch.cat([noise, c0, hot], 1)


def smooth_colour(y):
    """Keep the luma (ITU-R BT.601) of (n, 3, H, W); smooth the colour by [1, 4, 6, 4, 1] / 16 (binomial) along both axes.

    Eyes and most losses hardly see fine colour, so a generator may leave stripes there; Inception's features see them.
    """
    luma = (y * y.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    colour = F.pad(y - luma, (2, 2, 2, 2), mode="replicate")
    for _ in range(4):
        colour = F.avg_pool2d(colour, 2, 1)
    return luma + colour


class Refinement(nn.Module):
    """Residual block behind an upsample block (He et al. 2016): (n, c, H, W) -> the same; it begins as the identity.

    An upsample block looks twice at 3×3 pixels: that is little depth for deciding what belongs into a large hole.
    """

    def __init__(self, channels, equalized):
        super().__init__()
        self.first = conv(channels, channels, 3, 1, 1, equalized=equalized)
        self.second = conv(channels, channels, 3, 1, 1, equalized=equalized)

    def forward(self, y):
        return y + self.second(F.leaky_relu(self.first(F.leaky_relu(y, SLOPE)), SLOPE))


class Generator(nn.Module):
    """G(z | x, RoI): redraws the image, with new content inside the region.

    forward(images, masks, z): images (n, 3, S, S) in [-1, 1], masks (n, 1, S, S) in {0, 1}, z (n, z_dim) from
    `join_codes` -> raw output (n, 3, S, S), mean and log-variance of the global style (n, 256·w) for (1.6).
    What lies under the mask never enters: the input is x · (1 − RoI).
    """

    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        levels = cfg.size.bit_length() - 2  # 64 px: 5 gated convolutions down to 2×2
        e = [scaled(c, cfg.encoder_width) for c in ENCODER[:levels]]
        if cfg.encoder_width > 1:
            e = [min(c, scaled(128, max(1.0, cfg.width))) for c in e]
        d = [
            scaled(c, cfg.width * (cfg.deep_width if i < 2 else 1))
            for i, c in enumerate(DECODER[: levels - 1])
        ]
        hidden, style = scaled(128, cfg.width), scaled(256, cfg.width)
        self.style_dim = style
        self.z_dim = cfg.n_noise + cfg.n_continuous + cfg.n_discrete * cfg.n_categories
        eq = cfg.equalized
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
            UpsampleBlock(a, b, hidden, style, cfg) for a, b in zip(c_in, d)
        )
        self.refine = nn.ModuleList(
            nn.Sequential(*(Refinement(c, eq) for _ in range(cfg.refine))) for c in d
        )
        self.fine = None
        if cfg.fine:
            self.fine = nn.Sequential(
                conv(c_image, d[-1], 3, 1, 1, equalized=eq),
                nn.LeakyReLU(SLOPE),
                conv(d[-1], d[-1], 3, 1, 1, equalized=eq),
            )
        self.to_rgb = conv(d[-1] + (c_image if cfg.residual else 0), 3, 3, 1, 1, equalized=eq)
        if not eq:
            self._initialise()

    def _initialise(self):
        nn.init.normal_(self.to_rgb.weight, std=0.01)
        nn.init.zeros_(self.to_rgb.bias)
        for module in self.modules():
            if (
                isinstance(module, (nn.Conv2d, nn.Linear))
                and module is not self.to_rgb
                and module.weight.shape[0] > 4
            ):
                if not getattr(module, "bias", None) is None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks:
            for layer in (block.conv_left, block.conv_right, block.conv_last):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        for module in self.refine.modules():
            if isinstance(module, Refinement):
                nn.init.zeros_(module.second.weight)
        if self.fine is not None:
            nn.init.zeros_(self.fine[2].weight)
        for layer in self.dense:
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        for layer in self.encoder:
            nn.init.kaiming_normal_(layer.both.weight, a=SLOPE)

    def join_codes(self, codes, noise):
        """(z0, c0, one-hot c1) side by side: codes (n, n_codes), noise (n, n_noise) -> (n, z_dim)."""
        return join_codes(self.cfg, codes, noise)

    def features_of(self, images, masks):
        """What the sliders cannot change: encoder maps, style (mean, logvar), fill and mask windows of the input. Without
        gradients `decode` adds what it makes of them before it looks at z.
        """
        x = images * (1 - masks)
        fill = pyramid_fill(images, masks) if self.cfg.residual else None
        seen = torch.cat([x, masks] + ([fill] if fill is not None else []), 1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        maps, y = [], seen
        for layer in self.encoder:
            y = layer(y)
            maps.append(y)
        flat = maps[-1].flatten(1)
        mean, logvar = self.mean(flat), self.logvar(flat).clamp(-8, 8)
        least = (
            TABLE_FROM if torch.is_grad_enabled() or len(masks) > 1 else 4
        )  # of one image, kept tables win everywhere
        with torch.no_grad():
            windows = {
                s: MaskWindows(masks, s)
                for s in (4 << i for i in range(len(self.blocks) + 1))
                if s >= least
            }
        fine = self.fine(seen) if self.fine is not None else 0.0
        return dict(
            maps=maps, mean=mean, logvar=logvar, fill=fill, seen=seen, fine=fine, windows=windows
        )

    def _styles(self, f, z):
        """What each block takes for z; without gradients z* of all its layers, from one product with the stacked weights."""
        if torch.is_grad_enabled():
            return [z] * len(self.blocks)
        if "affine" not in f:
            layers = [
                layer for block in self.blocks for layer in (block.norm_left, block.norm_last)
            ]
            one = torch.tensor([layers[0].one, 0.0], device=z.device)
            f["affine"] = (
                torch.cat([layer.affine.weight for layer in layers]),
                torch.cat(
                    [(layer.affine.bias.view(2, -1) + one[:, None]).flatten() for layer in layers]
                ),
            )
        z1, z2, z3, z4 = F.linear(z, *f["affine"]).unflatten(1, (len(self.blocks), 4, -1)).unbind(2)
        return [((z1[:, i], z2[:, i]), (z3[:, i], z4[:, i])) for i in range(len(self.blocks))]

    def decode(self, f, masks, z):
        """Redraw from features_of(images, masks) and z (n, z_dim): raw output (n, 3, S, S)."""
        for layer in self.dense:
            z = F.leaky_relu(layer(z), SLOPE)  # (n, style)
        w = z * torch.exp(0.5 * f["logvar"]) + f["mean"]  # σZ + μ
        y = F.pixel_shuffle(w[:, :, None, None], 4).contiguous(
            memory_format=torch.channels_last
        )  # (n, style/16, 4, 4)
        skips = f["maps"][-2::-1]  # 4×4, 8×8, … S/2
        fine = [0.0] * (len(self.blocks) - 1) + [f["fine"]]  # the encoder's own maps end at S/2
        for block, refine, skip, style, extra in zip(
            self.blocks, self.refine, skips, self._styles(f, z), fine
        ):
            y = refine(block(y, masks, style, f["windows"], skip) + extra)
        if not self.cfg.residual:
            return torch.tanh(F.instance_norm(self.to_rgb(y).float()))
        finish = smooth_colour if self.cfg.smooth_colour else lambda y: y
        if torch.is_grad_enabled():
            return f["fill"] + finish(self.to_rgb(torch.cat([y, f["seen"].to(y.dtype)], 1)).float())
        n, weight = y.shape[1], self.to_rgb.weight
        if "start" not in f:
            f["start"] = f["fill"] + finish(
                F.conv2d(f["seen"], weight[:, n:], self.to_rgb.bias, padding=1)
            )
        return f["start"] + finish(F.conv2d(y, weight[:, :n], padding=1).float())

    def forward(self, images, masks, z):
        f = self.features_of(images, masks)
        return self.decode(f, masks, z), f["mean"], f["logvar"]
