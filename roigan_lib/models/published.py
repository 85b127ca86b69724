"""The author's release, layer for layer, so that its checkpoints (`.chkp`) load: recipe `published`.

Where it departs from the thesis: the right branch never sees the mask, LeakyReLU stands in front of the convolutions,
the branches run before the enlargement, γ and z₁ are added to 1, and half of the denormalization layers are dead weight.
Names of modules are those of the checkpoint layout. γ and β come from the table of layers.py: same output, less work.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import RoiganError
from .generator import DECODER, join_codes, scaled
from .layers import SLOPE, Denormalization, MaskWindows, SpectralConv, full, instance_norm

HIDDEN, STYLE, CODES = 128, 256, 64  # of (3.8), of z and of Q, at width 1


class _GatedConv(nn.Module):
    """Gated convolution (2.11) with instance norm, its two halves apart and without bias."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv2d = nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False)
        self.mask_conv2d = nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False)

    def forward(self, x):
        both = F.conv2d(
            x, torch.cat([self.conv2d.weight, self.mask_conv2d.weight]), stride=2, padding=1
        )
        feature, gate = both.chunk(2, 1)
        return instance_norm(F.leaky_relu(feature, SLOPE) * torch.sigmoid(gate))


class _Encoder(nn.Module):
    def __init__(self, widths, style):
        super().__init__()
        for i, (c_in, c_out) in enumerate(zip([4] + widths, widths), 1):
            setattr(self, f"layer_{i}", _GatedConv(c_in, c_out))
        self.depth = len(widths)
        self.mean, self.logvar = (nn.Linear(4 * widths[-1], style) for _ in range(2))

    def forward(self, y):
        maps = []
        for i in range(1, self.depth + 1):
            y = getattr(self, f"layer_{i}")(y)
            maps.append(y)
        flat = y.flatten(1)
        return maps, self.mean(flat), self.logvar(flat)


class _Pair:
    """Two convolutions of the same input, read as one with both outputs."""

    def __init__(self, *layers):
        self.weight, self.bias = (
            torch.cat([getattr(layer, k) for layer in layers]) for k in ("weight", "bias")
        )

    def __call__(self, x):
        return F.conv2d(x, self.weight, self.bias)


class _Spade(Denormalization):
    """`Denormalization` under the names of the checkpoint; without `control`, `dense_transform` never takes part."""

    def __init__(self, channels, hidden, style, control):
        nn.Module.__init__(self)
        self.norm, self.one, self.control = "instance", 1.0, control
        self.shared = nn.Conv2d(1, hidden, 3)
        self.gamma, self.beta = (nn.Conv2d(hidden, channels, 3) for _ in range(2))
        self.dense_transform = nn.Linear(style, 2 * hidden)

    inner = property(lambda self: self.shared)
    outer = property(lambda self: _Pair(self.gamma, self.beta))
    affine = property(lambda self: self.dense_transform if self.control else None)


class _Block(nn.Module):
    """(n, c_in, H, W) -> (n, c_out, 2H, 2W). `spade_left_2`, `spade_right` and `spade_right_2` do nothing."""

    def __init__(self, c_in, c_out, hidden, style):
        super().__init__()
        self.conv_left, self.conv_right = (nn.Conv2d(c_in, c_out, 3, padding=1) for _ in range(2))
        self.conv_last = nn.Conv2d(c_out, c_out, 3, padding=1)
        for name, channels, control in (
            ("left", c_in, True),
            ("left_2", c_out, True),
            ("right", c_in, False),
            ("right_2", c_out, False),
            ("last", c_out, True),
        ):
            setattr(self, f"spade_{name}", _Spade(channels, hidden, style, control))

    def forward(self, x, mask, z, windows):
        half, size = x.shape[-1], 2 * x.shape[-1]
        left = F.leaky_relu(self.spade_left(x, mask, z, windows.get(half)), SLOPE)
        y = F.leaky_relu(self.conv_left(left), SLOPE) + F.leaky_relu(self.conv_right(x), SLOPE)
        y = F.leaky_relu(self.conv_last(F.interpolate(y, scale_factor=2, mode="nearest")), SLOPE)
        return F.leaky_relu(self.spade_last(y, mask, z, windows.get(size)), SLOPE)


class PublishedGenerator(nn.Module):
    """The released generator, 6,525,383 parameters at width 1; interface and shapes as `Generator`.

    Raises RoiganError for a size other than 64: the release has one.
    """

    def __init__(self, cfg):
        super().__init__()
        if cfg.size != 64:
            raise RoiganError(
                f"The published variant works at 64 pixels, not {cfg.size}; use recipe='thesis' or "
                f"'improved'."
            )
        self.cfg = cfg
        e = [scaled(c, cfg.width) for c in (8, 16, 32, 64, 128)]
        d = [scaled(c, cfg.width) for c in DECODER[:4]]
        style = self.style_dim = scaled(STYLE, cfg.width)
        self.z_dim = cfg.n_noise + cfg.n_continuous + cfg.n_discrete * cfg.n_categories
        self.encoder = _Encoder(e, style)
        for i, (below, skip, c_out) in enumerate(zip([style // 16] + d, e[3::-1], d), 1):
            setattr(
                self, f"layer_{i}", _Block(below + skip, c_out, scaled(HIDDEN, cfg.width), style)
            )
        self.conv = nn.Conv2d(d[-1], 3, 3, padding=1)
        for i, n in enumerate((self.z_dim, style, style), 1):
            setattr(self, f"dense_{i}", nn.Linear(n, style))
            setattr(self, f"normalization_{i}", nn.BatchNorm1d(style))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def join_codes(self, codes, noise):
        """As `Generator.join_codes`."""
        return join_codes(self.cfg, codes, noise)

    def features_of(self, images, masks):
        """As `Generator.features_of`."""
        seen = torch.cat([images * (1 - masks), masks], 1).contiguous(
            memory_format=torch.channels_last
        )
        maps, mean, logvar = self.encoder(seen)
        with torch.no_grad():
            windows = {s: MaskWindows(masks, s) for s in (16, 32, 64)}
        return dict(maps=maps, mean=mean, logvar=logvar, fill=None, seen=seen, windows=windows)

    def decode(self, f, masks, z):
        """As `Generator.decode`."""
        for i in (1, 2, 3):
            z = F.leaky_relu(
                getattr(self, f"normalization_{i}")(getattr(self, f"dense_{i}")(z)), SLOPE
            )
        w = f["style"] = (
            z * torch.exp(0.5 * f["logvar"]) + f["mean"]
        )  # the release's KL takes it for the mean
        y = F.leaky_relu(F.pixel_shuffle(w[:, :, None, None], 4), SLOPE).contiguous(
            memory_format=torch.channels_last
        )
        for i, skip in enumerate(f["maps"][3::-1], 1):
            y = getattr(self, f"layer_{i}")(torch.cat([y, skip], 1), masks, z, f["windows"])
        return torch.tanh(F.instance_norm(full(self.conv(y))))

    def forward(self, images, masks, z):
        f = self.features_of(images, masks)
        return self.decode(f, masks, z), f["mean"], f["logvar"]


class _Q(nn.Module):
    """Q(c | x) on the last map of D: two 4×4 convolutions with batch norm, then three linear heads."""

    def __init__(self, c_in, cfg):
        super().__init__()
        a, b = scaled(128, cfg.width), scaled(CODES, cfg.width)
        self.shape = (-1, cfg.n_discrete, cfg.n_categories)
        act = nn.LeakyReLU(SLOPE)
        self.main = nn.Sequential(
            nn.Conv2d(c_in, a, 4),
            nn.BatchNorm2d(a),
            act,
            nn.Conv2d(a, b, 4),
            nn.BatchNorm2d(b),
            act,
            nn.Flatten(),
        )
        self.mean, self.var = (nn.Linear(b, cfg.n_continuous) for _ in range(2))
        self.disc = nn.Linear(b, cfg.n_discrete * cfg.n_categories)

    def forward(self, last_map):
        y = full(self.main(last_map))
        return self.mean(y), self.var(y), self.disc(y).view(self.shape)


class _InstanceNorm(nn.Module):
    def forward(self, x):
        return instance_norm(x)


class PublishedDiscriminator(nn.Module):
    """The released discriminator with its Q network, 6,046,136 parameters at width 1; interface as `Discriminator`.

    Spectral norm on the five layers of the trunk, none on the heads; instance norm from the second layer on.
    """

    def __init__(self, cfg):
        super().__init__()
        w = [scaled(c, cfg.width) for c in (64, 128, 256, 512, 256)]
        act, layers = nn.LeakyReLU(SLOPE), []
        for i, (c_in, c_out) in enumerate(zip([4] + w, w)):
            down = i < 2
            layers += [
                SpectralConv(nn.Conv2d(c_in, c_out, 4, 2 if down else 1, int(down), bias=False))
            ]
            layers += [_InstanceNorm(), act] if i else [act]
        self.net = nn.Sequential(*layers)
        middle = scaled(128, cfg.width)
        self.head_local = nn.Sequential(nn.Conv2d(w[-1], 1, 3, bias=False), nn.Flatten())
        self.head_global = nn.Sequential(
            nn.Conv2d(w[-1], middle, 4, bias=False),
            _InstanceNorm(),
            act,
            nn.Conv2d(middle, 1, 4, bias=False),
            nn.Flatten(),
        )
        self.q_net = _Q(w[-1], cfg)

    q = property(lambda self: self.q_net)

    def maps(self, images, masks):
        """The LeakyReLU maps of the trunk, the last one (n, 256·w, 7, 7)."""
        y = torch.cat([images, masks], 1).contiguous(memory_format=torch.channels_last)
        out = []
        for layer in self.net:
            y = layer(y)
            if isinstance(layer, nn.LeakyReLU):
                out.append(y)
        return out

    def forward(self, images, masks):
        maps = self.maps(images, masks)
        return full(torch.cat([self.head_local(maps[-1]), self.head_global(maps[-1])], 1)), maps
