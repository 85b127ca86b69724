"""The building blocks of chapter 3: gated convolution, denormalization (3.8), upsample block (figure 3.4).

Binary masks make (3.8) a table. γ and β at a pixel depend on the mask only through its 5×5 window (two 3×3
convolutions), and a region has a few hundred different windows, nearly all on its border, which are put together from
some sixty different 3×3 ones. `MaskWindows` finds both once per mask and size; `Denormalization` then runs the first
convolution and z once per 3×3 window, adds up nine of them per 5×5 window, and looks the pixels up. Same output, a
fraction of the work; it grows with the border of the region, not with its area.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

SLOPE = 0.2  # of every LeakyReLU (thesis 3.4, 3.5)


class Equalized(nn.Module):
    """Equalized learning rate (3.20): weights drawn from N(0, 1), multiplied by sqrt(2 / fan-in) at run time."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.scale = math.sqrt(2 / layer.weight[0].numel())
        nn.init.normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    @property
    def weight(self):
        return self.layer.weight * self.scale

    @property
    def bias(self):
        return self.layer.bias

    def forward(self, x):
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return F.linear(x, self.weight, layer.bias)
        return F.conv2d(x, self.weight, layer.bias, layer.stride, layer.padding)


def conv(c_in, c_out, k, stride=1, padding=0, bias=True, equalized=False):
    """A convolution (1.5), under the equalized learning rate where asked."""
    layer = nn.Conv2d(c_in, c_out, k, stride, padding, bias=bias)
    return Equalized(layer) if equalized else layer


def instance_norm(x):
    """Instance norm without scale and shift, (n, c, H, W), laid out channels last as everything here: steps backward
    over two layouts take up to thirty times as long as over one.
    """
    return F.instance_norm(x).contiguous(memory_format=torch.channels_last)


def linear(n_in, n_out, equalized=False):
    """A fully connected layer (1.3), under the equalized learning rate where asked."""
    layer = nn.Linear(n_in, n_out)
    return Equalized(layer) if equalized else layer


def full(x):
    """x in float32 where it came in bfloat16, else as it is: norms, losses and outputs keep their digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _rows(weight):
    """Weights (n, c, k, k) as a matrix (n, k * k * c): in the order in which they lie in memory, so nothing is copied."""
    return weight.permute(0, 2, 3, 1).flatten(1)


class _Divided(torch.autograd.Function):
    """weight / σ with σ = u·(W v), in the type that the convolution takes; the gradient in as few passes as can be."""

    @staticmethod
    def forward(ctx, weight, largest, u, v, dtype):
        ctx.save_for_backward(weight, largest, u, v)
        return (weight / largest).to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        weight, largest, u, v = ctx.saved_tensors
        rows = weight.new_empty(len(weight), weight[0].numel())
        n, c, *k = weight.shape
        d = rows.view(n, *k, c).permute(0, 3, 1, 2)
        d.copy_(grad).div_(largest)
        rows.addr_(u * (-rows.flatten().dot(_rows(weight).flatten()) / largest), v)
        return d, None, None, None, None


class SpectralConv(nn.Module):
    """A convolution (1.5) divided by the largest singular value of its weights (Miyato et al. 2018), for D only.

    One power iteration per pass while training, none in eval mode. Names as in the released checkpoints: weight_orig,
    weight_u, weight_v.
    """

    def __init__(self, layer):
        super().__init__()
        self.stride, self.padding, self.bias, self.weight_orig = (
            layer.stride,
            layer.padding,
            layer.bias,
            layer.weight,
        )
        n, fan_in = layer.weight.flatten(1).shape
        self.register_buffer("weight_u", F.normalize(torch.randn(n), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(fan_in), dim=0))
        for _ in range(15):
            self._iterate()

    @torch.no_grad()
    def _iterate(self):
        rows, (_, c, *k) = _rows(self.weight_orig), self.weight_orig.shape
        v = F.normalize(rows.T.mv(self.weight_u), dim=0)
        self.weight_v.copy_(v.view(*k, c).permute(2, 0, 1).flatten())
        self.weight_u.copy_(F.normalize(rows.mv(v), dim=0))

    @torch.no_grad()
    def _largest(self):
        """σ = u·(W v), with u and v in the order of `_rows`."""
        weight, u = self.weight_orig, self.weight_u.clone()
        v = self.weight_v.view(weight.shape[1:]).permute(1, 2, 0).flatten()
        return u.dot(_rows(weight).mv(v)), u, v

    def forward(self, x):
        device = x.device.type
        dtype = (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else self.weight_orig.dtype
        )
        with torch.autocast(device, enabled=False):
            if self.training:
                self._iterate()
            weight = _Divided.apply(self.weight_orig, *self._largest(), dtype)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class GatedConv(nn.Module):
    """Gated convolution (2.11): LeakyReLU(features) ⊙ sigmoid(gate), halving the resolution.

    (n, c_in, H, W) -> (n, c_out, H/2, W/2). The printed (2.11) feeds the gate to both factors; the cited paper and
    this layer use the features for one and the gate for the other. norm: instance norm behind the gate, and `activation`,
    LeakyReLU behind it, as thesis 3.5 has them.
    """

    def __init__(self, c_in, c_out, norm, equalized, activation=False):
        super().__init__()
        self.both = conv(c_in, 2 * c_out, 4, 2, 1, equalized=equalized)
        self.norm, self.activation = norm, activation
        # A gate halves the signal at each level; without a norm behind it the deep maps would fade to nothing.
        self.gain = 1.0 if norm else 1.85

    def forward(self, x):
        feature, gate = self.both(x).chunk(2, 1)
        y = F.leaky_relu(feature, SLOPE) * torch.sigmoid(gate)
        # 2 x 2 maps and larger carry a variance; thesis 3.5 normalizes every gated convolution
        y = instance_norm(y) if self.norm else y * self.gain
        return F.leaky_relu(y, SLOPE) if self.activation else y


def _sorted(index, n):
    """Positions of `index` (…) in the order of its values 0 … n - 1, and where in them each value begins, (n,)."""
    counts = torch.bincount(index.flatten(), minlength=n)
    return index.flatten().argsort(stable=True), counts.cumsum(0) - counts


class MaskWindows:
    """The distinct 5×5 windows of binary masks at one resolution, and the distinct 3×3 windows they consist of.

    Args: masks (n, 1, H, W) in {0, 1}; size: side of the feature map. The mask is enlarged to size + 4 (nearest), so
    that two unpadded 3×3 convolutions bring it back to `size` (thesis 3.3).
    Fields: parts (v, 1, 3, 3) the small windows; patch_taps (u, 9) and pair_taps (p, 9) the rows, in tables of
    (part, tap) and of (image, part, tap), that each 5×5 window adds up, for the layers without and with z; pair_patch,
    pair_image (p,) which window and which image each table row stands for; index (n, size, size) the table row of
    every pixel; order (n · size²,) the pixels sorted by it, and first (p,) where in them each row's pixels begin.
    Nothing here is learned: masks decide it all. kept: what layers made of these windows before z came in, which the next
    move of a slider finds again; used without gradients only, for weights that stay as they are.
    """

    def __init__(self, masks, size):
        n, s = len(masks), size
        big = F.interpolate(masks.float(), size=(s + 4, s + 4), mode="nearest")
        bits = (big[:, 0] > 0.5).long()  # (n, s + 4, s + 4)
        rows = sum(bits[:, :, j : j + s] << j for j in range(5))  # (n, s + 4, s)
        code = sum(rows[:, i : i + s] << (5 * i) for i in range(5))  # (n, s, s)
        code = code + (torch.arange(n, device=code.device) << 25).view(n, 1, 1)
        pairs, self.index = torch.unique(code, return_inverse=True)
        patches, self.pair_patch = torch.unique(pairs & ((1 << 25) - 1), return_inverse=True)
        self.pair_image = pairs >> 25
        self.order, self.first = _sorted(self.index, len(pairs))
        self.kept = {}
        bit = lambda i, j: (patches >> (5 * i + j)) & 1
        code = [
            sum(bit(i + k, j + l) << (3 * k + l) for k in range(3) for l in range(3))
            for i in range(3)
            for j in range(3)
        ]
        parts, part = torch.unique(torch.stack(code, 1), return_inverse=True)  # (v,), (u, 9)
        shifts = torch.arange(9, device=code[0].device)
        self.parts = ((parts[:, None] >> shifts) & 1).float().view(-1, 1, 3, 3)
        self.patch_taps = 9 * part + shifts
        self.pair_taps = (
            self.patch_taps[self.pair_patch] + (9 * len(parts) * self.pair_image)[:, None]
        )


def _take(rows, index):
    """rows[index], with a gradient that sums in a fixed order: plain indexing adds from several threads as they come."""
    return rows.index_select(0, index)


def _look_up(x, table, index):
    x = x.permute(0, 2, 3, 1)
    c = x.shape[-1]
    rows = table.index_select(0, index.flatten()).view(*x.shape[:3], 2 * c)
    return torch.addcmul(rows[..., c:], x, rows[..., :c]).permute(0, 3, 1, 2)


class _Lookup(torch.autograd.Function):
    """y = x * scale[index] + shift[index]; the backward pass adds up each table row's pixels, which lie sorted."""

    @staticmethod
    def forward(
        ctx, x, table, index, order, first
    ):  # (n, c, h, w) channels-last, (p, 2c), (n, h, w), `_sorted`
        ctx.save_for_backward(x.permute(0, 2, 3, 1), table, index, order, first)
        return _look_up(x, table, index)

    @staticmethod
    def backward(ctx, grad):
        x, table, index, order, first = ctx.saved_tensors
        c = x.shape[-1]
        grad = grad.permute(0, 2, 3, 1)
        d_table = torch.cat(
            [F.embedding_bag(order, y.reshape(-1, c), first, mode="sum") for y in (grad * x, grad)],
            1,
        )
        d_x = grad * table[:, :c].index_select(0, index.flatten()).view_as(grad)
        return d_x.permute(0, 3, 1, 2), d_table, None, None, None


def _moments(x):
    if x.device.type != "cpu":
        return torch.var_mean(x.float(), (2, 3), correction=0)[::-1]
    # the statistics that batch norm keeps, of one image at a time: a single pass, summed in float32 for bfloat16 too
    kept = (
        (None, None) if x.dtype.itemsize > 2 else x.new_zeros((2, x.shape[1]), dtype=torch.float32)
    )
    mean, var = zip(*(torch.batch_norm_update_stats(one, *kept, 0.0) for one in x.split(1)))
    return (mean[0][None], var[0][None]) if len(x) == 1 else (torch.stack(mean), torch.stack(var))


class _Moments(torch.autograd.Function):
    """Mean and variance of each channel of each image, (n, c) in float32, with one multiply-add a value backwards."""

    @staticmethod
    def forward(ctx, x):  # (n, c, h, w) channels-last
        mean, var = _moments(x)
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx, d_mean, d_var):
        x, mean = ctx.saved_tensors
        pixels = x.shape[2] * x.shape[3]
        slope = 2 / pixels * d_var
        start = d_mean / pixels - slope * mean
        return torch.addcmul(
            start[:, :, None, None].to(x.dtype), x, slope[:, :, None, None].to(x.dtype)
        )


class Denormalization(nn.Module):
    """Denormalization layer (3.8): normalize x, then scale and shift it by what the mask and z say.

    (3.8) does not say over what E(x) and D(x) run: `norm="instance"` takes each channel of each image, as the release
    does; `norm="layer"` all channels of an image together.

    x (n, c, H, W), mask (n, 1, H', W') in [0, 1], z (n, z_dim), what `style` makes of it, or None for the layers without
    style control. `windows` (a MaskWindows of the same masks at H) takes the table path, otherwise plain convolutions run;
    both give the same output. `inside=False` sees 1 − RoI. For the table path: moments, E(x) and D(x) where another layer
    has asked for them already; part, a slice of the layer's channels where x holds only those.
    """

    def __init__(self, channels, hidden, z_dim, unit_gain, equalized, norm="instance"):
        super().__init__()
        self.norm = norm
        self.channels, self.hidden, self.one = channels, hidden, float(unit_gain)
        self.inner = conv(1, hidden, 3, equalized=equalized)
        self.outer = conv(hidden, 2 * channels, 3, equalized=equalized)  # gamma and beta in one
        self.affine = linear(z_dim, 2 * hidden, equalized) if z_dim else None
        if not equalized:
            nn.init.normal_(self.outer.weight, std=0.7 / math.sqrt(9 * hidden))

    def style(self, z):
        """z* = (z1, z2) = Az + b: a factor and an offset for each hidden channel, (n, hidden) each. A pair is z* already."""
        if isinstance(z, tuple):
            return z
        z1, z2 = self.affine(z).chunk(2, 1)
        return z1 + self.one, z2

    def forward(self, x, mask, z=None, windows=None, inside=True, moments=None, part=slice(None)):
        if windows is not None:
            x = x.contiguous(memory_format=torch.channels_last)
            return self._table(x, z, windows, inside, moments or self.moments(x), part)
        h, w = x.shape[2:]
        big = F.interpolate(mask, size=(h + 4, w + 4), mode="nearest")
        roi = F.leaky_relu(
            self.inner(big if inside else 1 - big), SLOPE
        )  # (n, hidden, h + 2, w + 2)
        if self.affine is not None:
            z1, z2 = self.style(z)
            roi = roi * z1[:, :, None, None] + z2[:, :, None, None]
        gamma, beta = F.leaky_relu(self.outer(roi), SLOPE).chunk(2, 1)
        x = F.instance_norm(x) if self.norm == "instance" else F.group_norm(x, 1)
        return x * (gamma + self.one) + beta

    def moments(self, x):
        """E(x) and D(x), (n, c) each or (n, 1): two layers that see the same x need them once."""
        mean, var = (_Moments.apply if torch.is_grad_enabled() else _moments)(x)
        if self.norm == "layer":  # the spread of the channels' means counts as well
            var = (var + mean.var(1, correction=0, keepdim=True)).mean(1, keepdim=True)
            mean = mean.mean(1, keepdim=True)
        return mean, var

    def _table(self, x, z, windows, inside, moments, part):
        learning = torch.is_grad_enabled()
        kept, key = ({} if learning else windows.kept), (self, inside)
        if key not in kept:
            kept[key] = self._before_style(windows, inside)
        rows = kept[key]
        if self.affine is not None:
            roi, weight, bias = rows
            z1, z2 = self.style(z)
            roi = torch.addcmul(z2[:, None], roi, z1[:, None])  # (n, v, hidden)
            rows = self._add_taps(roi, weight, bias, windows.pair_taps)
        gamma, beta = (half[:, part] for half in rows.chunk(2, 1))
        # Folding the normalization into the table leaves one multiply-add per pixel.
        mean, var = moments
        rate = torch.rsqrt(var + 1e-5)
        if len(mean) > 1:  # of one image, (1, c) fits every row
            rate, mean = _take(rate, windows.pair_image), _take(mean, windows.pair_image)
        scale = (gamma + self.one) * rate
        shift = torch.addcmul(beta, scale, mean, value=-1)
        table = torch.cat([scale, shift], 1).to(x.dtype)
        if not learning:
            return _look_up(x, table, windows.index)
        return _Lookup.apply(x, table, windows.index, windows.order, windows.first)

    def _before_style(self, windows, inside):
        """What does not depend on z: all rows of the table, or what is needed to make them with z."""
        parts = windows.parts.to(self.inner.weight.dtype)
        parts = parts if inside else 1 - parts
        # a convolution of one pixel is a product of matrices, and a quicker one
        roi = F.leaky_relu(
            F.linear(parts.flatten(1), self.inner.weight.flatten(1), self.inner.bias), SLOPE
        )  # (v, hidden)
        outer = self.outer
        weight = outer.weight.permute(2, 3, 0, 1).flatten(
            0, 2
        )  # (9 · 2c, hidden), one row of the table per tap
        if self.affine is not None:
            return roi, weight, outer.bias
        return _take(
            self._add_taps(roi, weight, outer.bias, windows.patch_taps), windows.pair_patch
        )  # (p, 2c)

    @staticmethod
    def _add_taps(roi, weight, bias, taps):
        table = F.linear(roi, weight).view(-1, len(bias))
        table = table.float() if table.dtype == torch.bfloat16 else table
        return F.leaky_relu(F.embedding_bag(taps, table, mode="sum") + bias, SLOPE)


def _enlarge(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class UpsampleBlock(nn.Module):
    """Upsample block (figure 3.4): twice the resolution, two branches, one merge.

    The left branch generates inside RoI and listens to z, the right branch restores 1 − RoI and does not; their sum
    goes through a last denormalization with z and a convolution. (n, c_in, H, W) -> (n, c_out, 2H, 2W). The improved
    recipe adds the learned shortcut of residual blocks, a 1×1 convolution of the input, and enlarges, bilinearly, behind
    the branches instead of before them, as the release does: the same layers for a quarter of the work.
    windows: {side: MaskWindows of the masks} for the sides that take the table path. skip: a map of the encoder, whose
    channels follow those of y; without gradients, what it adds behind layers that know no z is kept with the windows.
    z: (n, z_dim), or the pair of what `norm_left.style` and `norm_last.style` make of it.
    """

    def __init__(self, c_in, c_out, hidden, z_dim, cfg):
        super().__init__()
        make = dict(unit_gain=cfg.unit_gain, equalized=cfg.equalized, norm=cfg.norm)
        self.norm_left = Denormalization(c_in, hidden, z_dim, **make)
        self.norm_right = Denormalization(c_in, hidden, 0, **make)
        self.conv_left = conv(c_in, c_out, 3, 1, 1, equalized=cfg.equalized)
        self.conv_right = conv(c_in, c_out, 3, 1, 1, equalized=cfg.equalized)
        self.norm_last = Denormalization(c_out, hidden, z_dim, **make)
        self.conv_last = conv(c_out, c_out, 3, 1, 1, equalized=cfg.equalized)
        self.late = cfg.late
        self.split = cfg.late and cfg.shortcut and cfg.norm == "instance"
        self.shortcut = conv(c_in, c_out, 1, equalized=cfg.equalized) if cfg.shortcut else None

    def forward(self, y, mask, z, windows=None, skip=None):
        windows = windows or {}
        for_left, for_last = z if isinstance(z, tuple) else (z, z)
        low = (y if skip is None else torch.cat([y, skip], 1)).contiguous(
            memory_format=torch.channels_last
        )
        x = low if self.late else F.interpolate(low, scale_factor=2, mode="nearest")
        here = windows.get(x.shape[-1])
        shared = self.norm_left.moments(x) if here is not None else None
        left = self.conv_left(self.norm_left(x, mask, for_left, here, True, shared))
        if self.split and here is not None and skip is not None and not torch.is_grad_enabled():
            right, past = self._beside(y, skip, here, shared)
        else:
            right = self.conv_right(self.norm_right(x, mask, None, here, False, shared))
            past = self.shortcut(low) if self.shortcut is not None else None
        y = F.leaky_relu(left, SLOPE) + F.leaky_relu(right, SLOPE)
        y = self.norm_last(
            _enlarge(y) if self.late else y, mask, for_last, windows.get(2 * low.shape[-1])
        )
        y = F.leaky_relu(self.conv_last(y), SLOPE)
        return y if past is None else y + _enlarge(past)

    def _beside(self, y, skip, windows, moments):
        """Right branch and shortcut, which know no z. What they make of the skip connection is kept with the windows."""
        n = y.shape[1]
        if self not in windows.kept:
            own, of_skip = slice(n), slice(n, None)
            seen = self.norm_right(skip, None, None, windows, False, part=of_skip)
            w_right, w_past = self.conv_right.weight, self.shortcut.weight
            windows.kept[self] = (
                w_right[:, own].contiguous(memory_format=torch.channels_last),
                w_past[:, own].flatten(1),
                F.conv2d(seen, w_right[:, of_skip], self.conv_right.bias, padding=1),
                F.conv2d(skip, w_past[:, of_skip], self.shortcut.bias),
            )
        w_right, w_past, right, past = windows.kept[self]
        seen = self.norm_right(y, None, None, windows, False, [m[:, :n] for m in moments], slice(n))
        new = F.linear(y.permute(0, 2, 3, 1), w_past).permute(0, 3, 1, 2)
        return right + F.conv2d(seen, w_right, padding=1), past + new
