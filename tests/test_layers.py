"""Building blocks against transcriptions of their equations, and their fast forms against them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from roigan_lib.config import ARCHITECTURES, load_config
from roigan_lib.masks import FAMILIES, sample_masks
from roigan_lib.models.fast import (
    FastDenormalization,
    FastSpectralConv,
    FastUpsampleBlock,
    MaskWindows,
    _Lookup,
    _Moments,
)
from roigan_lib.models.generator import Generator, pyramid_fill
from roigan_lib.models.layers import (
    SLOPE,
    Denormalization,
    Equalized,
    GatedConv,
    SpectralConv,
    UpsampleBlock,
    conv,
    linear,
)


def numbers(tensor):
    return tensor.detach().numpy().astype(np.float64)


def leaky(x):
    return np.where(x > 0, x, SLOPE * x)


def convolve(x, kernel, bias, stride=1, padding=0):
    """(1.5) by loops: x (c_in, H, W), kernel (c_out, c_in, k, k) -> (c_out, ., .)."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    k = kernel.shape[-1]
    h, w = (x.shape[1] - k) // stride + 1, (x.shape[2] - k) // stride + 1
    out = np.zeros((len(kernel), h, w))
    for o in range(len(kernel)):
        for i in range(h):
            for j in range(w):
                out[o, i, j] = (
                    kernel[o] * x[:, i * stride : i * stride + k, j * stride : j * stride + k]
                ).sum() + bias[o]
    return out


def normalize(x, norm="instance"):
    """(x - E x) / sqrt(D x + eps): each channel over its pixels, or all channels together."""
    axes = (1, 2) if norm == "instance" else None
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


@pytest.mark.parametrize("side", [16, 5])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("form", [SpectralConv, FastSpectralConv])
def test_spectral_norm_divides_by_the_largest_singular_value(form, side, bias):
    layer = form(conv(6, 8, 4, bias=bias))
    x = torch.randn(2, 6, side, side)
    for _ in range(200):
        layer(x)  # each pass in training is one power iteration
    largest = np.linalg.svd(numbers(layer.weight_orig).reshape(8, -1), compute_uv=False)[0]
    offset = 0.0 if layer.bias is None else layer.bias.view(-1, 1, 1)
    want = F.conv2d(x, layer.weight_orig) / largest + offset
    before = layer.weight_u.clone()
    torch.testing.assert_close(layer.eval()(x), want, atol=1e-5, rtol=1e-4)
    assert torch.equal(layer.weight_u, before)  # eval leaves the vectors alone


@pytest.mark.parametrize("side", [16, 5])
@pytest.mark.parametrize("form", [SpectralConv, FastSpectralConv])
def test_spectral_norm_has_the_gradient_of_torch(form, side):
    ours = form(conv(6, 8, 4))
    theirs = conv(6, 8, 4)
    theirs.load_state_dict({"weight": ours.weight_orig, "bias": ours.bias})
    theirs = torch.nn.utils.parametrizations.spectral_norm(theirs)
    inner = theirs.parametrizations.weight[0]
    inner._u.copy_(ours.weight_u), inner._v.copy_(ours.weight_v)
    x, pull = torch.randn(2, 6, side, side), torch.randn(2, 8, side - 3, side - 3)
    for layer in (ours, theirs):
        layer.eval()  # theirs iterates in another order
        slope = torch.autograd.grad((layer(x.requires_grad_()) * pull).sum(), x, create_graph=True)[
            0
        ]
        (slope.square().sum() + (layer(x) * pull).sum()).backward()  # as the gradient penalty does
    torch.testing.assert_close(
        ours.weight_orig.grad, theirs.parametrizations.weight.original.grad, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fast_spectral_norm_iterates_as_the_plain_one(layout):
    plain = SpectralConv(conv(6, 8, 4)).to(memory_format=layout)
    fast = FastSpectralConv(conv(6, 8, 4)).to(memory_format=layout)
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 5, 5)
    for _ in range(3):
        torch.testing.assert_close(fast(x), plain(x))
    for name, want in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], want)


def test_moments_and_their_gradient():
    x = (
        (2 * torch.randn(2, 3, 4, 5, dtype=torch.float64) + 1)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
    )
    mean, var = _Moments.apply(x)
    torch.testing.assert_close(mean, x.mean((2, 3)))
    torch.testing.assert_close(var, x.var((2, 3), correction=0))
    assert torch.autograd.gradcheck(_Moments.apply, x)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("equalized", [False, True])
def test_gated_convolution_is_2_11(norm, equalized):
    layer = GatedConv(3, 4, norm, equalized)
    kernel, bias = numbers(layer.both.weight), numbers(layer.both.bias) + np.linspace(-1, 1, 8)
    layer.both.bias.data += torch.linspace(-1, 1, 8)
    x = torch.randn(2, 3, 8, 8)
    for image, got in zip(numbers(x), numbers(layer(x))):
        feature, gate = (
            convolve(image, kernel[:4], bias[:4], 2, 1),
            convolve(image, kernel[4:], bias[4:], 2, 1),
        )
        want = leaky(feature) / (1 + np.exp(-gate))
        want = normalize(want) if norm else want * layer.gain
        assert got.shape == (4, 4, 4)
        np.testing.assert_allclose(got, want, atol=2e-5)


def literal_denormalization(layer, x, mask, z, inside):
    """(3.8) line by line for one image: x (c, H, W), mask (H', W'), z (z_dim,) or None."""
    c, h, w = x.shape
    roi = mask if inside else 1 - mask
    rows, columns = (
        np.arange(h + 4) * mask.shape[0] // (h + 4),
        np.arange(w + 4) * mask.shape[1] // (w + 4),
    )
    roi = roi[rows][:, columns][None]  # nearest, larger by what two convolutions cut off
    star = leaky(convolve(roi, numbers(layer.inner.weight), numbers(layer.inner.bias)))
    if z is not None:
        affine = numbers(layer.affine.weight) @ z + numbers(layer.affine.bias)
        z1, z2 = affine[: layer.hidden] + layer.one, affine[layer.hidden :]
        star = star * z1[:, None, None] + z2[:, None, None]
    kernel, bias = numbers(layer.outer.weight), numbers(layer.outer.bias)
    gamma, beta = (
        leaky(convolve(star, kernel[:c], bias[:c])),
        leaky(convolve(star, kernel[c:], bias[c:])),
    )
    return (gamma + layer.one) * normalize(x, layer.norm) + beta


@pytest.mark.parametrize("z_dim", [0, 5])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("norm", ["instance", "layer"])
@pytest.mark.parametrize("recipe", ["improved", "thesis"])
def test_denormalization_is_3_8(z_dim, inside, norm, recipe):
    cfg = load_config("smoke", recipe=recipe).model
    layer = Denormalization(3, 4, z_dim, cfg.unit_gain, cfg.equalized, norm)
    assert cfg.norm == "instance" and layer.one == (
        recipe == "improved"
    )  # the printed equation has no added one
    masks = sample_masks("elliptic", 2, 16, seed=3)
    for side in (8, 12):  # a mask larger than the map
        x, z = torch.randn(2, 3, side, side) * 3 + 1, torch.randn(2, z_dim) if z_dim else None
        got = numbers(layer(x, masks, z, inside))
        for i in range(2):
            want = literal_denormalization(
                layer, numbers(x[i]), numbers(masks[i, 0]), numbers(z[i]) if z_dim else None, inside
            )
            np.testing.assert_allclose(got[i], want, atol=3e-5)


def both_forms(layer, x, masks, z, inside):
    """Output and gradients (x, z, every parameter) of a layer's plain form and of its table."""
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
    results = []
    windows = MaskWindows(masks, x.shape[-1])
    for form in (
        lambda x, z: Denormalization.forward(layer, x, masks, z, inside),
        lambda x, z: layer(x, masks, z, inside, windows),
    ):
        x_, z_ = x.clone().requires_grad_(), None if z is None else z.clone().requires_grad_()
        out = form(x_, z_)
        layer.zero_grad()
        (out * upstream).sum().backward()
        grads = {"x": x_.grad} | ({} if z is None else {"z": z_.grad})
        grads |= {name: p.grad.clone() for name, p in layer.named_parameters()}
        results.append((out.detach(), grads))
    return results


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_is_the_plain_layer(family, side):
    masks = sample_masks(
        family, 2, 64, seed=side
    )  # 64 -> side + 4: every size meets the interpolation
    for inside in (True, False):
        for z_dim in (0, 6):
            for unit_gain, equalized, norm in (
                (True, False, "instance"),
                (False, True, "instance"),
                (True, False, "layer"),
            ):
                layer = FastDenormalization(4, 8, z_dim, unit_gain, equalized, norm)
                x = (torch.randn(2, 4, side, side) * 2 + 0.5).contiguous(
                    memory_format=torch.channels_last
                )
                z = torch.randn(2, z_dim) if z_dim else None
                (dense, dense_grads), (table, table_grads) = both_forms(layer, x, masks, z, inside)
                assert (dense - table).abs().max() <= 1e-5 * dense.abs().max().clamp_min(1)
                assert dense_grads.keys() == table_grads.keys()
                for name, want in dense_grads.items():
                    error = (table_grads[name] - want).norm() / want.norm()
                    assert error < 1e-4, (name, inside, z_dim, float(error))


def test_table_path_is_differentiable_exactly():
    """The hand-written backward pass against finite differences, in double precision."""
    x = torch.randn(2, 3, 4, 5, dtype=torch.double, requires_grad=True)
    table = torch.randn(6, 6, dtype=torch.double, requires_grad=True)
    index = torch.randint(0, 5, (2, 4, 5))  # the last row is nobody's
    want = x * table[index][..., :3].permute(0, 3, 1, 2) + table[index][..., 3:].permute(0, 3, 1, 2)
    counts = torch.bincount(index.flatten(), minlength=6)
    order, first = index.flatten().argsort(stable=True), counts.cumsum(0) - counts
    got = _Lookup.apply(x, table, index, order, first)
    assert torch.allclose(got, want)
    upstream = torch.randn_like(want)
    for a, b in zip(
        torch.autograd.grad(want, (x, table), upstream),
        torch.autograd.grad(got, (x, table), upstream),
    ):
        assert torch.allclose(a, b)


def test_what_a_layer_keeps_of_a_region_is_used_again_without_gradients_only():
    masks = sample_masks("elliptic", 2, 16, seed=3)
    windows = MaskWindows(masks, 16)
    for z_dim, inside in ((5, True), (0, False)):
        layer = FastDenormalization(6, 8, z_dim, True, False)
        x = torch.randn(2, 6, 16, 16).to(memory_format=torch.channels_last)
        for time in range(2):  # another z each time
            z = torch.randn(2, 5) if z_dim else None
            want = layer(x, masks, z, inside)
            torch.testing.assert_close(
                layer(x, masks, z, inside, windows), want, rtol=1e-4, atol=1e-4
            )
            assert (layer, inside) not in windows.kept or time == 1
            with torch.inference_mode():
                torch.testing.assert_close(
                    layer(x, masks, z, inside, windows), want, rtol=1e-4, atol=1e-4
                )
        assert (layer, inside) in windows.kept
        with torch.no_grad():
            layer.outer.bias += 1  # learning goes on: gradients see the new weights
        want = layer(x, masks, z, inside)
        torch.testing.assert_close(layer(x, masks, z, inside, windows), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_lookup_and_moments_in_the_types_that_training_uses(dtype, close):
    x = (
        (torch.randn(2, 6, 16, 16) + 2)
        .to(dtype)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
    )
    mean, var = _Moments.apply(x)
    assert mean.dtype == var.dtype == torch.float32
    exact = x.detach().double()
    torch.testing.assert_close(mean.double(), exact.mean((2, 3)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(var.double(), exact.var((2, 3), correction=0), rtol=1e-4, atol=1e-5)
    masks = sample_masks("elliptic", 2, 16, seed=3)
    layer, up = FastDenormalization(6, 8, 5, True, False), torch.randn(2, 6, 16, 16)
    z, grads = torch.randn(2, 5), []
    for windows in (None, MaskWindows(masks, 16)):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = layer(x if windows else x.float(), masks, z, windows=windows)
            (y.float() * up).sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in layer.parameters()]))
    assert (grads[0] - grads[1]).norm() < 2 * close * grads[0].norm()


def put_together(windows):
    """The 5×5 window (5, 5) of every table row, from the 3×3 windows that it adds up."""
    v, rows = len(windows.parts), windows.pair_taps
    assert torch.equal(
        rows % 9, torch.arange(9).expand_as(rows)
    )  # tap k of the table belongs to place k
    image, part = rows // (9 * v), rows // 9 % v
    assert torch.equal(image, windows.pair_image[:, None].expand_as(image))
    assert torch.equal(windows.patch_taps[windows.pair_patch], rows - 9 * v * image)
    whole = torch.full((len(rows), 5, 5), -1.0)
    for k in range(9):
        i, j = divmod(k, 3)
        small, place = windows.parts[part[:, k], 0], whole[:, i : i + 3, j : j + 3]
        assert ((place == small) | (place == -1)).all()  # overlapping parts agree
        place.copy_(small)
    return whole


def test_mask_windows_of_a_mask_made_by_hand():
    masks = torch.zeros(3, 1, 8, 8)  # maps of 4 look at masks of 8: no interpolation
    masks[0, 0, 3, 3] = masks[2, 0, 3, 3] = 1  # 16 positions, 16 windows; image 1 has one window
    windows = MaskWindows(masks, 4)
    assert windows.index.shape == (3, 4, 4)
    assert windows.parts.shape == (10, 1, 3, 3) and windows.patch_taps.shape == (
        17,
        9,
    )  # a 3×3 window has 9 places for a dot
    assert len(windows.pair_patch) == len(windows.pair_image) == 16 + 1 + 16
    whole = put_together(windows)
    for n in range(3):
        for i in range(4):
            for j in range(4):
                row = windows.index[n, i, j]
                assert windows.pair_image[row] == n
                assert torch.equal(whole[row], masks[n, 0, i : i + 5, j : j + 5])


@pytest.mark.parametrize("side", [16, 32, 64])
def test_mask_windows_of_random_masks(side):
    masks = torch.cat([sample_masks(family, 2, 64, seed=1) for family in FAMILIES])
    windows = MaskWindows(masks, side)
    big = F.interpolate(masks, (side + 4, side + 4), mode="nearest")
    want = F.unfold(big, 5).permute(0, 2, 1).reshape(len(masks), side, side, 25)
    assert torch.equal(put_together(windows)[windows.index].flatten(3), want)
    images = torch.arange(len(masks)).view(-1, 1, 1).expand_as(windows.index)
    assert torch.equal(windows.pair_image[windows.index], images)
    assert len(windows.pair_patch) < 0.5 * windows.index.numel()  # what the table is for
    assert len(windows.parts) < 0.5 * len(windows.patch_taps)


def test_equalized_rate_is_3_20():
    for layer, x, plain in (
        (conv(8, 32, 3, equalized=True), torch.randn(2, 8, 6, 6), F.conv2d),
        (linear(64, 96, equalized=True), torch.randn(2, 64), F.linear),
    ):
        assert isinstance(layer, Equalized)
        weight = layer.layer.weight
        constant = math.sqrt(2 / (weight.numel() / weight.shape[0]))
        assert abs(weight.std() - 1) < 0.05 and abs(weight.mean()) < 0.05 and not layer.bias.any()
        assert torch.equal(layer.weight, weight * constant)
        assert torch.allclose(layer(x), plain(x, weight * constant, layer.bias), atol=1e-6)
        (gradient,) = torch.autograd.grad(layer(x).sum(), weight)
        (scaled,) = torch.autograd.grad(plain(x, weight * constant, layer.bias).sum(), weight)
        assert torch.allclose(gradient, scaled, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        dict(),
        dict(late=False),
        dict(shortcut=False),
        dict(norm="layer"),
        dict(equalized=True, unit_gain=False),
    ],
    ids=str,
)
def test_the_fast_upsample_block_is_the_plain_one(change):
    cfg = SimpleNamespace(**ARCHITECTURES["improved"] | change)
    plain, fast = UpsampleBlock(10, 4, 8, 5, cfg), FastUpsampleBlock(10, 4, 8, 5, cfg)
    fast.load_state_dict(plain.state_dict())
    masks, z = sample_masks("elliptic", 2, 32), torch.randn(2, 5)
    y, skip = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8)
    windows = {side: MaskWindows(masks, side) for side in (8, 16)}
    want = plain(torch.cat([y, skip], 1), masks, z)
    assert want.shape == (2, 4, 16, 16)
    torch.testing.assert_close(fast(y, masks, z, windows, skip), want, rtol=1e-4, atol=1e-4)
    upstream = torch.randn_like(want)
    (want * upstream).sum().backward()
    (fast(y, masks, z, windows, skip) * upstream).sum().backward()
    for (name, p), q in zip(plain.named_parameters(), fast.parameters()):
        assert (p.grad - q.grad).norm() < 1e-4 * p.grad.norm(), name
    with torch.no_grad():
        for _ in range(2):  # the first call keeps what knows no z, the second finds it
            y, z = torch.randn_like(y), torch.randn_like(z)
            want = plain(torch.cat([y, skip], 1), masks, z)
            torch.testing.assert_close(fast(y, masks, z, windows, skip), want, rtol=1e-4, atol=1e-4)
        assert (fast in windows[8].kept) == (
            not change or change.keys() == {"equalized", "unit_gain"}
        )


def test_z_stays_out_of_the_right_branch():
    block = UpsampleBlock(6, 4, 8, 5, load_config("smoke").model)
    layers = (block.norm_left, block.norm_right, block.norm_last)
    assert [layer.affine is None for layer in layers] == [False, True, False]


@pytest.mark.parametrize("recipe", ["improved", "thesis"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_generator_of_fast_layers_draws_what_the_plain_ones_draw(recipe, n):
    """Learning, with what is kept without gradients, and with the blocks of `layers`."""
    net = Generator(load_config("smoke", recipe=recipe, size=32).model).eval()
    torch.nn.init.normal_(getattr(net.to_rgb, "layer", net.to_rgb).weight, std=0.1)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    images, masks = torch.rand(n, 3, 32, 32) * 2 - 1, sample_masks("elliptic", n, 32, seed=1)
    z = torch.randn(n, net.z_dim)
    learning, sliding = net(images, masks, z)[0], net.requires_grad_(False)
    with torch.no_grad():
        drawn = sliding(images, masks, z)[0]
    torch.testing.assert_close(drawn, learning, rtol=1e-4, atol=1e-4)
    for block in net.blocks:
        block.forward = lambda y, mask, z, windows, skip, block=block: UpsampleBlock.forward(
            block, torch.cat([y, skip], 1), mask, z
        )
    torch.testing.assert_close(net(images, masks, z)[0], learning, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [32, 64, 256])
def test_pyramid_fill_keeps_the_outside_and_survives_one_known_pixel(size):
    images = torch.rand(4, 3, size, size) * 2 - 1
    masks = torch.cat([sample_masks(family, 1, size, seed=2) for family in FAMILIES])
    fill = pyramid_fill(images, masks)
    outside = (masks == 0).expand_as(images)
    assert torch.equal(fill[outside], images[outside])
    assert fill.isfinite().all() and fill.abs().max() <= 1 + 1e-5  # an average of known pixels
    changed = torch.where(outside, images, torch.rand_like(images))
    assert torch.equal(pyramid_fill(changed, masks), fill)  # what lies under the mask never enters
    one = torch.ones(1, 1, size, size)
    one[..., 5, 7] = 0
    fill = pyramid_fill(images[:1], one)
    assert fill.isfinite().all() and torch.equal(fill[..., 5, 7], images[:1, :, 5, 7])
    assert torch.allclose(fill, images[:1, :, 5:6, 7:8].expand_as(fill), atol=1e-3)


def test_pyramid_fill_of_a_constant_is_that_constant():
    images = torch.full((4, 3, 64, 64), 0.4)
    masks = torch.cat([sample_masks(family, 1, 64, seed=4) for family in FAMILIES])
    assert torch.allclose(pyramid_fill(images, masks), images, atol=1e-5)
