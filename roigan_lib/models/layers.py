"""The building blocks of chapter 3 as the thesis has them: one class for each equation or figure.

What runs are the same layers in fewer operations, `fast`; tests hold both equal.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

SLOPE = 0.2


def leaky(x):
    """The LeakyReLU of every layer (thesis 3.4, 3.5)."""
    return F.leaky_relu(x, SLOPE)


class Equalized(nn.Module):
    """Equalized learning rate (3.20): weights from N(0, 1), times sqrt(2 / fan-in) at run time."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.scale = math.sqrt(2 / layer.weight[0].numel())
        nn.init.normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    weight = property(lambda self: self.layer.weight * self.scale)
    bias = property(lambda self: self.layer.bias)

    def forward(self, x):
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias, self.layer.stride, self.layer.padding)


def conv(c_in, c_out, k, stride=1, padding=0, bias=True, equalized=False):
    """A convolution (1.5), under the equalized learning rate where asked."""
    layer = nn.Conv2d(c_in, c_out, k, stride, padding, bias=bias)
    return Equalized(layer) if equalized else layer


def linear(n_in, n_out, equalized=False):
    """A fully connected layer (1.3), under the equalized learning rate where asked."""
    layer = nn.Linear(n_in, n_out)
    return Equalized(layer) if equalized else layer


def instance_norm(x):
    """Instance norm of (n, c, H, W), channels last: two layouts make backward steps crawl."""
    return F.instance_norm(x).contiguous(memory_format=torch.channels_last)


def full(x):
    """x in float32 where it came in bfloat16, so that outputs and losses keep their digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class SpectralConv(nn.Module):
    """A convolution (1.5) by W / σ(W), σ the largest singular value (Miyato et al. 2018), in D.

    σ = u·(W v), with a power iteration for u and v each pass in training, none in eval mode. Names
    as in the released checkpoints.
    """

    def __init__(self, layer):
        super().__init__()
        self.stride, self.padding = layer.stride, layer.padding
        self.bias, self.weight_orig = layer.bias, layer.weight
        n, fan_in = layer.weight.flatten(1).shape
        self.register_buffer("weight_u", F.normalize(torch.randn(n), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(fan_in), dim=0))
        for _ in range(15):
            self.iterate()

    @torch.no_grad()
    def iterate(self):
        """v = Wᵀu / |Wᵀu|, then u = W v / |W v|."""
        rows = self.weight_orig.flatten(1)
        self.weight_v.copy_(F.normalize(rows.T.mv(self.weight_u), dim=0))
        self.weight_u.copy_(F.normalize(rows.mv(self.weight_v), dim=0))

    def forward(self, x):
        if self.training:
            self.iterate()
        u, v = self.weight_u.clone(), self.weight_v.clone()  # the next pass changes them
        weight = self.weight_orig / u.dot(self.weight_orig.flatten(1).mv(v))
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class GatedConv(nn.Module):
    """Gated convolution (2.11): LeakyReLU(features) ⊙ sigmoid(gate), halving the resolution.

    (n, c_in, H, W) -> (n, c_out, H/2, W/2). The printed (2.11) has the gate in both factors; here
    features are one and the gate the other, as in the cited paper. `norm` and `activation`:
    instance norm behind the gate and LeakyReLU behind it, as thesis 3.5 has them.
    """

    def __init__(self, c_in, c_out, norm, equalized, activation=False):
        super().__init__()
        self.both = conv(c_in, 2 * c_out, 4, 2, 1, equalized=equalized)
        self.norm, self.activation = norm, activation
        self.gain = 1.0 if norm else 1.85  # a gate halves the signal: deep maps would fade

    def forward(self, x):
        feature, gate = self.both(x).chunk(2, 1)
        y = leaky(feature) * torch.sigmoid(gate)
        y = instance_norm(y) if self.norm else y * self.gain
        return leaky(y) if self.activation else y


class Denormalization(nn.Module):
    """Denormalization layer (3.8): normalize x, then scale and shift it by what mask and z say.

    x (n, c, H, W), mask (n, 1, H', W') in [0, 1], z (n, z_dim), None without style control
    -> (n, c, H, W). inside=False sees 1 − RoI. unit_gain: 1 + γ and 1 + z₁ begin as the identity.
    E(x) and D(x), of which (3.8) does not say over what, run over each channel of each image as in
    the release (norm="instance"), or over all channels of an image ("layer").
    """

    def __init__(self, channels, hidden, z_dim, unit_gain, equalized, norm="instance"):
        super().__init__()
        self.hidden, self.one, self.norm = hidden, float(unit_gain), norm
        self.inner = conv(1, hidden, 3, equalized=equalized)
        self.outer = conv(hidden, 2 * channels, 3, equalized=equalized)  # gamma and beta in one
        self.affine = linear(z_dim, 2 * hidden, equalized) if z_dim else None
        if not equalized:
            nn.init.normal_(self.outer.weight, std=0.7 / math.sqrt(9 * hidden))

    def style(self, z):
        """z* = A z + b: a factor z1 and an offset z2 for each hidden channel, (n, hidden) each."""
        z1, z2 = self.affine(z).chunk(2, 1)
        return z1 + self.one, z2

    def forward(self, x, mask, z=None, inside=True):
        h, w = x.shape[2:]
        roi = F.interpolate(mask, size=(h + 4, w + 4), mode="nearest")
        roi = leaky(self.inner(roi if inside else 1 - roi))  # (n, hidden, h+2, w+2)
        if self.affine is not None:
            z1, z2 = self.style(z)
            roi = roi * z1[:, :, None, None] + z2[:, :, None, None]
        gamma, beta = leaky(self.outer(roi)).chunk(2, 1)
        x = F.instance_norm(x) if self.norm == "instance" else F.group_norm(x, 1)
        return x * (gamma + self.one) + beta


def enlarge(x):
    """(n, c, H, W) -> (n, c, 2H, 2W), bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class UpsampleBlock(nn.Module):
    """Upsample block (figure 3.4): twice the resolution, two branches, one merge.

    The left branch generates inside RoI and listens to z, the right one restores 1 − RoI and does
    not; a last denormalization with z and a convolution take their sum. x (n, c_in, H, W), mask
    (n, 1, H', W'), z (n, z_dim) -> (n, c_out, 2H, 2W). The improved recipe adds a 1×1 convolution
    past it all (shortcut) and enlarges behind the branches (late): a quarter of the work.
    """

    denormalization = Denormalization

    def __init__(self, c_in, c_out, hidden, z_dim, cfg):
        super().__init__()
        make = dict(unit_gain=cfg.unit_gain, equalized=cfg.equalized, norm=cfg.norm)
        self.norm_left = self.denormalization(c_in, hidden, z_dim, **make)
        self.norm_right = self.denormalization(c_in, hidden, 0, **make)
        self.conv_left = conv(c_in, c_out, 3, 1, 1, equalized=cfg.equalized)
        self.conv_right = conv(c_in, c_out, 3, 1, 1, equalized=cfg.equalized)
        self.norm_last = self.denormalization(c_out, hidden, z_dim, **make)
        self.conv_last = conv(c_out, c_out, 3, 1, 1, equalized=cfg.equalized)
        self.late = cfg.late
        self.shortcut = conv(c_in, c_out, 1, equalized=cfg.equalized) if cfg.shortcut else None

    def forward(self, x, mask, z):
        up = x if self.late else F.interpolate(x, scale_factor=2, mode="nearest")
        left = self.conv_left(self.norm_left(up, mask, z))
        right = self.conv_right(self.norm_right(up, mask, inside=False))
        y = leaky(left) + leaky(right)
        y = leaky(self.conv_last(self.norm_last(enlarge(y) if self.late else y, mask, z)))
        return y if self.shortcut is None else y + enlarge(self.shortcut(x))
