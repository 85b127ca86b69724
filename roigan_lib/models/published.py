"""The author's release, layer for layer, so that its checkpoints load: recipe `published`.

Where it departs from the thesis: the right branch never sees the mask, LeakyReLU stands in front of
the convolutions, the branches run before the enlargement, γ and z₁ are added to 1, and half of the
denormalization layers are dead weight. Names of modules are those of the checkpoints (`.chkp`).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import RoiganError
from ..parallel import BatchNorm1d, BatchNorm2d
from .discriminator import Discriminator
from .fast import FastDenormalization, FastSpectralConv, MaskWindows
from .generator import DECODER, ENCODER, Generator, scaled
from .layers import SLOPE, GatedConv, conv, full, leaky


class _Pair:
    """Two convolutions of the same input, read as one with both outputs."""

    def __init__(self, one, two):
        self.weight = torch.cat([one.weight, two.weight])
        self.bias = None if one.bias is None else torch.cat([one.bias, two.bias])
        self.stride, self.padding = one.stride, one.padding

    def __call__(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _GatedConv(GatedConv):
    """Gated convolution (2.11) with instance norm, its two halves apart and without bias."""

    norm, activation = True, False

    def __init__(self, c_in, c_out):
        nn.Module.__init__(self)
        self.conv2d = nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False)
        self.mask_conv2d = nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False)

    both = property(lambda self: _Pair(self.conv2d, self.mask_conv2d))


class _Spade(FastDenormalization):
    """`Denormalization` with other names; without `control`, `dense_transform` has no part."""

    norm, one = "instance", 1.0

    def __init__(self, channels, hidden, style, control):
        nn.Module.__init__(self)
        self.control = control
        self.shared = nn.Conv2d(1, hidden, 3)
        self.gamma, self.beta = (nn.Conv2d(hidden, channels, 3) for _ in range(2))
        self.dense_transform = nn.Linear(style, 2 * hidden)

    inner = property(lambda self: self.shared)
    outer = property(lambda self: _Pair(self.gamma, self.beta))
    affine = property(lambda self: self.dense_transform if self.control else None)


class _Block(nn.Module):
    """(n, c_in, H, W) -> (n, c_out, 2H, 2W). Only `spade_left` and `spade_last` do something."""

    def __init__(self, c_in, c_out, hidden, style):
        super().__init__()
        self.conv_left, self.conv_right = (nn.Conv2d(c_in, c_out, 3, padding=1) for _ in range(2))
        self.conv_last = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.spade_left = _Spade(c_in, hidden, style, True)
        self.spade_left_2 = _Spade(c_out, hidden, style, True)
        self.spade_right = _Spade(c_in, hidden, style, False)
        self.spade_right_2 = _Spade(c_out, hidden, style, False)
        self.spade_last = _Spade(c_out, hidden, style, True)

    def forward(self, x, mask, z, windows):
        half, whole = (windows.get(side) for side in (x.shape[-1], 2 * x.shape[-1]))
        left = leaky(self.spade_left(x, mask, z, windows=half))
        y = leaky(self.conv_left(left)) + leaky(self.conv_right(x))
        y = leaky(self.conv_last(F.interpolate(y, scale_factor=2, mode="nearest")))
        return leaky(self.spade_last(y, mask, z, windows=whole))


class PublishedGenerator(Generator):
    """The released generator, 6,525,383 parameters at width 1; interface and shapes as `Generator`.

    Raises RoiganError for a size other than 64: the release has one.
    """

    def __init__(self, cfg):
        nn.Module.__init__(self)
        if cfg.size != 64:
            raise RoiganError(
                f"The published variant works at 64 pixels, not {cfg.size}; use recipe='thesis' or "
                f"'improved'."
            )
        self.cfg, style, hidden = cfg, scaled(256, cfg.width), scaled(128, cfg.width)
        self.style_dim = style
        e = [scaled(c, cfg.width) for c in ENCODER[4::-1]]
        d = [scaled(c, cfg.width) for c in DECODER[:4]]
        gated = {f"layer_{i}": _GatedConv(a, b) for i, (a, b) in enumerate(zip([4] + e, e), 1)}
        heads = {name: nn.Linear(4 * e[-1], style) for name in ("mean", "logvar")}
        self.encoder = nn.ModuleDict(gated | heads)
        for i, (below, skip, c_out) in enumerate(zip([style // 16] + d, e[3::-1], d), 1):
            self.add_module(f"layer_{i}", _Block(below + skip, c_out, hidden, style))
        self.conv = nn.Conv2d(d[-1], 3, 3, padding=1)
        for i, n in enumerate((self.z_dim, style, style), 1):
            self.add_module(f"dense_{i}", nn.Linear(n, style))
            self.add_module(f"normalization_{i}", BatchNorm1d(style))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features_of(self, images, masks):
        """As `Generator.features_of`."""
        seen = torch.cat([images * (1 - masks), masks], 1)
        y = seen = seen.contiguous(memory_format=torch.channels_last)
        maps = [y := self.encoder[f"layer_{i}"](y) for i in range(1, 6)]
        mean, logvar = self.encoder["mean"](y.flatten(1)), self.encoder["logvar"](y.flatten(1))
        windows = {side: MaskWindows(masks, side) for side in (16, 32, 64)}
        return dict(maps=maps, mean=mean, logvar=logvar, fill=None, seen=seen, windows=windows)

    def decode(self, f, masks, z):
        """As `Generator.decode`; f receives the style, for the release's KL the mean."""
        for i in (1, 2, 3):
            z = getattr(self, f"dense_{i}")(z)
            z = leaky(getattr(self, f"normalization_{i}")(z))
        f["style"] = z * torch.exp(0.5 * f["logvar"]) + f["mean"]
        y = leaky(F.pixel_shuffle(f["style"][:, :, None, None], 4))
        y = y.contiguous(memory_format=torch.channels_last)
        for i, skip in enumerate(f["maps"][3::-1], 1):
            y = getattr(self, f"layer_{i}")(torch.cat([y, skip], 1), masks, z, f["windows"])
        return torch.tanh(F.instance_norm(full(self.conv(y))))


class _Q(nn.Module):
    """Q(c | x) on the last map of D: two 4×4 convolutions with batch norm, three linear heads."""

    def __init__(self, c_in, cfg):
        super().__init__()
        a, b, act = scaled(128, cfg.width), scaled(64, cfg.width), nn.LeakyReLU(SLOPE)
        first = nn.Conv2d(c_in, a, 4), BatchNorm2d(a), act
        second = nn.Conv2d(a, b, 4), BatchNorm2d(b), act
        self.main = nn.Sequential(*first, *second, nn.Flatten())
        self.mean, self.var = (nn.Linear(b, cfg.n_continuous) for _ in range(2))
        self.disc = nn.Linear(b, cfg.n_discrete * cfg.n_categories)
        self.shape = (-1, cfg.n_discrete, cfg.n_categories)

    def forward(self, last_map):
        y = full(self.main(last_map))
        return self.mean(y), self.var(y), self.disc(y).view(self.shape)


class PublishedDiscriminator(Discriminator):
    """The released discriminator with its Q network, 6,046,136 parameters at width 1; interface as
    `Discriminator`. Spectral norm in the trunk, instance norm there from the second layer on.
    """

    instance = global_norm = True

    def __init__(self, cfg):
        nn.Module.__init__(self)
        w = [scaled(c, cfg.width) for c in (64, 128, 256, 512, 256)]
        c, middle = w[-1], scaled(128, cfg.width)
        trunk = [
            FastSpectralConv(conv(a, b, 4, stride, stride - 1, bias=False))
            for a, b, stride in zip([4] + w, w, (2, 2, 1, 1, 1))
        ]
        # numbered as among the norms and activations of the release, which have no weights
        self.net = nn.ModuleDict(zip(("0", "2", "5", "8", "11"), trunk))
        self.head_local = nn.ModuleDict({"0": conv(c, 1, 3, bias=False)})
        heads = conv(c, middle, 4, bias=False), conv(middle, 1, 4, bias=False)
        self.head_global = nn.ModuleDict(zip(("0", "3"), heads))
        self.q_net = _Q(c, cfg)

    main = property(lambda self: self.net.values())
    local_head = property(lambda self: self.head_local["0"])
    global_head = property(lambda self: [*self.head_global.values()])
    q = property(lambda self: self.q_net)
