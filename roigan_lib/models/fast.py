"""What runs: the layers of `layers` in fewer operations; tests/test_layers.py holds both equal.

Binary masks make (3.8) a table. γ and β at a pixel depend on the mask only through its 5×5 window
(two 3×3 convolutions), and a region has a few hundred different windows, nearly all on its border,
put together from some sixty different 3×3 ones. `MaskWindows` finds both once per side of a map.
`FastDenormalization` runs the first convolution and z once per 3×3 window, adds up nine of them per
5×5 window, and looks the pixels up: the work grows with the border of the region, not its area.
Without gradients, what knows no z is kept, and the next move of a slider finds it.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .layers import Denormalization, SpectralConv, UpsampleBlock, enlarge, leaky


def _kept(store, key, make):
    """make(), which without gradients runs once: its result stays in the dict `store`."""
    if torch.is_grad_enabled():
        return make()
    if key not in store:
        store[key] = make()
    return store[key]


class _Divided(torch.autograd.Function):
    """rows / σ, σ = u·(rows v), in the convolution's type; the gradient in few passes."""

    @staticmethod
    def forward(ctx, rows, u, v, dtype):
        largest = u.dot(rows.mv(v))
        ctx.save_for_backward(rows, largest, u, v)
        return (rows / largest).to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        rows, largest, u, v = ctx.saved_tensors
        d = grad.to(rows.dtype) / largest
        return d.addr_(u * (-d.flatten().dot(rows.flatten()) / largest), v), None, None, None


class FastSpectralConv(SpectralConv):
    """Takes the weights in the order of their memory, channels last, and σ in float32 always."""

    def _rows(self):
        return self.weight_orig.permute(0, 2, 3, 1).flatten(1)  # (n, k · k · c)

    @torch.no_grad()
    def iterate(self):
        rows, (_, c, *k) = self._rows(), self.weight_orig.shape
        v = F.normalize(rows.T.mv(self.weight_u), dim=0)
        self.weight_v.copy_(v.view(*k, c).permute(2, 0, 1).flatten())
        self.weight_u.copy_(F.normalize(rows.mv(v), dim=0))

    def forward(self, x):
        device, (_, c, *k) = x.device.type, self.weight_orig.shape
        half = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if half else self.weight_orig.dtype
        with torch.autocast(device, enabled=False):
            if self.training:
                self.iterate()
            v = self.weight_v.view(c, *k).permute(1, 2, 0).flatten()
            weight = _Divided.apply(self._rows(), self.weight_u.clone(), v, dtype)
        weight = weight.unflatten(1, (*k, c)).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class MaskWindows:
    """The distinct 5×5 windows of binary masks at one side of map, and the 3×3 windows in them.

    Args: masks (n, 1, H, W) in {0, 1}; size: side of the map. Masks are enlarged to size + 4
    (nearest), which two unpadded 3×3 convolutions bring back to `size` (thesis 3.3).
    Fields: parts (v, 1, 3, 3), the 3×3 windows; index (n, size, size), each pixel's table row of p;
    pair_patch, pair_image (p,), the 5×5 window of u and the image that a row stands for;
    patch_taps (u, 9), pair_taps (p, 9), the entries in tables of (part, tap) and (image, part, tap)
    that add up to a window; order (n · size²,), the pixels by row, and first (p,), where in them
    each row's begin; kept, what layers made of the windows before z came in.
    """

    @torch.no_grad()
    def __init__(self, masks, size):
        n, s = len(masks), size
        big = F.interpolate(masks.float(), size=(s + 4, s + 4), mode="nearest")
        bits = (big[:, 0] > 0.5).long()  # (n, s + 4, s + 4)
        rows = sum(bits[:, :, j : j + s] << j for j in range(5))  # (n, s + 4, s)
        code = sum(rows[:, i : i + s] << (5 * i) for i in range(5))  # (n, s, s), 25 bits each
        code = code + (torch.arange(n, device=code.device) << 25).view(n, 1, 1)
        pairs, index = torch.unique(code, return_inverse=True)
        self.index = index.view(n, s, s)
        patches, self.pair_patch = torch.unique(pairs & ((1 << 25) - 1), return_inverse=True)
        self.pair_image = pairs >> 25
        counts = torch.bincount(self.index.flatten(), minlength=len(pairs))
        self.order = self.index.flatten().argsort(stable=True)
        self.first = counts.cumsum(0) - counts
        shifts = torch.arange(25, device=code.device)
        inner = shifts.view(5, 5).unfold(0, 3, 1).unfold(1, 3, 1).reshape(9, 9)
        small = (patches[:, None, None] >> inner & 1) << shifts[:9]  # (u, 9, 9)
        parts, part = torch.unique(small.sum(2), return_inverse=True)  # (v,), (u, 9)
        self.parts = (parts[:, None] >> shifts[:9] & 1).float().view(-1, 1, 3, 3)
        self.patch_taps = 9 * part.view(-1, 9) + shifts[:9]
        first_of_image = 9 * len(parts) * self.pair_image
        self.pair_taps = self.patch_taps[self.pair_patch] + first_of_image[:, None]
        self.kept = {}


class _Lookup(torch.autograd.Function):
    """y = scale[index] · x + shift[index]; backwards each row adds up its pixels, which lie sorted.

    x (n, c, h, w) channels last, table (p, 2c) of scale and shift; the rest is of MaskWindows.
    """

    @staticmethod
    def forward(ctx, x, table, index, order, first):
        x = x.permute(0, 2, 3, 1)
        ctx.save_for_backward(x, table, index, order, first)
        scale, shift = table.index_select(0, index.flatten()).view(*x.shape[:3], -1).chunk(2, 3)
        return torch.addcmul(shift, x, scale).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad):
        x, table, index, order, first = ctx.saved_tensors
        c, grad = x.shape[-1], grad.permute(0, 2, 3, 1)
        add = lambda y: F.embedding_bag(order, y.reshape(-1, c), first, mode="sum")
        d_x = grad * table[:, :c].index_select(0, index.flatten()).view_as(grad)
        d_table = torch.cat([add(grad * x), add(grad)], 1)
        return d_x.permute(0, 3, 1, 2), d_table, None, None, None


class _Moments(torch.autograd.Function):
    """Mean and variance of each channel of each image, (n, c); on the CPU as batch norm's."""

    @staticmethod
    def forward(ctx, x):  # (n, c, h, w) channels last
        if x.device.type == "cpu":
            half = x.dtype.itemsize < 4
            kept = x.new_zeros((2, x.shape[1]), dtype=torch.float32) if half else (None, None)
            found = [torch.batch_norm_update_stats(one, *kept, 0.0) for one in x.split(1)]
            mean, var = map(torch.stack, zip(*found))
        else:
            var, mean = torch.var_mean(x.float(), (2, 3), correction=0)
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx, d_mean, d_var):
        x, mean = ctx.saved_tensors
        slope = 2 / (x.shape[2] * x.shape[3]) * d_var
        start = d_mean / (x.shape[2] * x.shape[3]) - slope * mean
        start, slope = (t[:, :, None, None].to(x.dtype) for t in (start, slope))
        return torch.addcmul(start, x, slope)


class FastDenormalization(Denormalization):
    """Takes the table where `windows` are given, a MaskWindows of the masks at the side of x.

    moments: E(x) and D(x), where another layer asked for them already; part: the slice of the
    layer's channels that x holds; z (n, z_dim) or {layer: what its `style` makes of z}.
    """

    def style(self, z):
        return z[self] if isinstance(z, dict) else super().style(z)

    def moments(self, x):
        """E(x) and D(x), (n, c) each or (n, 1): two layers that see the same x need them once."""
        mean, var = _Moments.apply(x)
        if self.norm == "layer":  # the spread of the channels' means counts as well
            var = (var + mean.var(1, correction=0, keepdim=True)).mean(1, keepdim=True)
            mean = mean.mean(1, keepdim=True)
        return mean, var

    def forward(self, x, mask, z=None, inside=True, windows=None, moments=None, part=slice(None)):
        if windows is None:
            return super().forward(x, mask, z, inside)
        x = x.contiguous(memory_format=torch.channels_last)
        mean, var = moments or self.moments(x)
        rows = _kept(windows.kept, (self, inside), lambda: self._before_style(windows, inside))
        if self.affine is not None:
            (roi, weight, bias), (z1, z2) = rows, self.style(z)
            roi = torch.addcmul(z2[:, None], roi, z1[:, None])  # (n, v, hidden)
            rows = _add_taps(roi, weight, bias, windows.pair_taps)
        gamma, beta = (half[:, part] for half in rows.chunk(2, 1))
        # Folding the normalization into the table leaves one multiply-add per pixel.
        rate = torch.rsqrt(var + 1e-5)
        if len(mean) > 1:  # of one image, (1, c) fits every row
            rate, mean = (t.index_select(0, windows.pair_image) for t in (rate, mean))
        scale = (gamma + self.one) * rate
        shift = torch.addcmul(beta, scale, mean, value=-1)
        table = torch.cat([scale, shift], 1).to(x.dtype)
        return _Lookup.apply(x, table, windows.index, windows.order, windows.first)

    def _before_style(self, windows, inside):
        """All rows of the table (p, 2c); with style control what is needed to make them with z."""
        parts, inner, outer = windows.parts, self.inner, self.outer
        parts = parts.to(inner.weight.dtype).flatten(1)
        # a convolution of one pixel is a product of matrices, and a quicker one
        roi = F.linear(parts if inside else 1 - parts, inner.weight.flatten(1), inner.bias)
        roi = leaky(roi)  # (v, hidden)
        weight = outer.weight.permute(2, 3, 0, 1).flatten(0, 2)  # (9 · 2c, hidden)
        if self.affine is not None:
            return roi, weight, outer.bias
        rows = _add_taps(roi, weight, outer.bias, windows.patch_taps)
        return rows.index_select(0, windows.pair_patch)


def _add_taps(roi, weight, bias, taps):
    table = F.linear(roi, weight).view(-1, len(bias))
    table = table.float() if table.dtype == torch.bfloat16 else table
    return leaky(F.embedding_bag(taps, table, mode="sum") + bias)


class FastUpsampleBlock(UpsampleBlock):
    """Takes windows {side: MaskWindows of the masks} for the sides that have a table, and `skip`, a
    map of the encoder whose channels follow those of y. Without gradients, what `skip` adds behind
    layers that know no z is kept with the windows.
    """

    denormalization = FastDenormalization

    def forward(self, y, mask, z, windows=None, skip=None):
        windows = windows or {}
        low = y if skip is None else torch.cat([y, skip], 1)
        low = low.contiguous(memory_format=torch.channels_last)
        x = low if self.late else F.interpolate(low, scale_factor=2, mode="nearest")
        here, behind = (windows.get(int(side)) for side in (x.shape[-1], 2 * low.shape[-1]))
        shared = self.norm_left.moments(x) if here else None
        left = self.conv_left(self.norm_left(x, mask, z, True, here, shared))
        apart = self.late and self.shortcut is not None and self.norm_left.norm == "instance"
        if apart and here and skip is not None and not torch.is_grad_enabled():
            right, past = self._beside(y, skip, here, shared)
        else:
            right = self.conv_right(self.norm_right(x, mask, None, False, here, shared))
            past = None if self.shortcut is None else self.shortcut(low)
        y = leaky(left) + leaky(right)
        y = self.norm_last(enlarge(y) if self.late else y, mask, z, True, behind)
        y = leaky(self.conv_last(y))
        return y if past is None else y + enlarge(past)

    def _beside(self, y, skip, windows, moments):
        """Right branch and shortcut, which know no z: what they make of `skip` is kept."""
        n, right, past = y.shape[1], self.conv_right, self.shortcut

        def of_skip():
            seen = self.norm_right(skip, None, None, False, windows, None, slice(n, None))
            return (
                right.weight[:, :n].contiguous(memory_format=torch.channels_last),
                past.weight[:, :n].flatten(1),
                F.conv2d(seen, right.weight[:, n:], right.bias, padding=1),
                F.conv2d(skip, past.weight[:, n:], past.bias),
            )

        w_right, w_past, skip_right, skip_past = _kept(windows.kept, self, of_skip)
        moments = [m[:, :n] for m in moments]
        seen = self.norm_right(y, None, None, False, windows, moments, slice(n))
        own_past = F.linear(y.permute(0, 2, 3, 1), w_past).permute(0, 3, 1, 2)
        return skip_right + F.conv2d(seen, w_right, padding=1), skip_past + own_past


def styles(blocks, z, kept):
    """z, or without gradients {layer: (z1, z2)} from one product with the weights of all layers."""
    if torch.is_grad_enabled():
        return z
    layers = [layer for block in blocks for layer in (block.norm_left, block.norm_last)]

    def stacked():
        one = z.new_tensor([[layers[0].one], [0.0]])
        biases = [(layer.affine.bias.view(2, -1) + one).flatten() for layer in layers]
        return torch.cat([layer.affine.weight for layer in layers]), torch.cat(biases)

    found = F.linear(z, *_kept(kept, "affine", stacked)).unflatten(1, (len(layers), 2, -1))
    return {layer: found[:, i].unbind(1) for i, layer in enumerate(layers)}


def residual(to_rgb, y, f, finish):
    """fill + finish(to_rgb([y, seen])) of the features f, linear: what knows no z can be kept."""
    if torch.is_grad_enabled():
        drawn = to_rgb(torch.cat([y, f["seen"].to(y.dtype)], 1))
        return f["fill"] + finish(drawn.float())
    n, weight, bias = y.shape[1], to_rgb.weight, to_rgb.bias
    of_seen = lambda: finish(F.conv2d(f["seen"], weight[:, n:], bias, padding=1))
    start = _kept(f, "start", lambda: f["fill"] + of_seen())
    return start + finish(F.conv2d(y, weight[:, :n], padding=1).float())


class MeanAbsolute(torch.autograd.Function):
    """E |a − b| of two maps, summed in float32 whatever their type; b gets no gradient. Autocast
    would copy both maps to float32 and walk over them seven times, here three.
    """

    @staticmethod
    def forward(ctx, a, b):
        difference = a - b
        ctx.save_for_backward(difference)
        return mean_size(difference)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (difference,) = ctx.saved_tensors
        return difference.sign().mul_(grad / difference.numel()), None


def mean_size(x):
    """E |x| as a float32 scalar, in one pass."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, 1, dtype=dtype) / x.numel()
