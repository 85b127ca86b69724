"""A generator as two ONNX graphs: what its sliders cannot change, and what they can.

`fixed` reads image and mask and ends at whatever the decoder takes over: the encoder's maps, the
mask windows, what layers made of these before z came in (`features_of`, and what `models.fast`
keeps). `moving` takes that, codes and noise to the completed image. Both are traces of the code
that runs in Python, so the network is described once.
"""

import io
import warnings
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import RoiganError, missing_package
from ..masks import sample_masks
from ..models import fast

OPSET = 18  # the first with BitwiseAnd, which the mask windows need


def export(gan):
    """(fixed, moving): the two graphs of a RoIGAN, as bytes.

    fixed: image (1, 3, S, S) in [-1, 1], mask (1, 1, S, S) in {0, 1} -> kept0, kept1, ….
    moving: image, mask, codes (1, n_codes), noise (1, n_noise), kept0, … -> completed
    (1, 3, S, S), outside the mask bit for bit the image. RoiganError without the package onnx.
    """
    size, network, masks = gan.size, gan.generator, sample_masks("elliptic", 2, gan.size)
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad(), _traceable():
        features = _features(network, image, masks[:1])
        one, other = _tensors(features), _tensors(_features(network, -image, masks[1:]))
        # what two pictures under two masks leave equal was made of weights alone
        at = [i for i, (a, b) in enumerate(zip(one, other)) if not _same(a[2], b[2])]
        kept = {f"kept{i}": _plain(one[i][2]).clone() for i in at}
        rows = {key: {0: f"rows_{key}"} for key, t in kept.items() if t.ndim == 2 and len(t) > 1}
        taken = {"image": image, "mask": masks[:1], "codes": gan.sample_codes(1)}
        taken |= {"noise": gan.sample_noise(1), **kept}
        moving = _graph(_Moving(network, features, at), taken, ["completed"], rows)
        wanted = [key for key in kept if key in {put.name for put in moving.graph.input}]
        fixed = _Fixed(network, [int(key[4:]) for key in wanted])
        fixed = _graph(fixed, {"image": image, "mask": masks[:1]}, wanted, rows)
    return fixed.SerializeToString(), moving.SerializeToString()


def required():
    """The package onnx, or a RoiganError that says how to get it."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise RoiganError(missing_package(error)) from None
    return onnx


def _features(network, image, mask):
    """What `features_of` gives, with all that a first `decode` keeps in it."""
    features = network.features_of(image, mask)
    network.decode(features, mask, image.new_zeros(1, network.z_dim))
    return features


def _tensors(node):
    """Each tensor in features, in a fixed order: (what holds it, by which key, the tensor)."""
    if isinstance(node, fast.MaskWindows):
        mine = vars(node)
        return [(mine, key, mine[key]) for key in ("index", "pair_taps")] + _tensors(node.kept)
    found = []
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, tuple):
            node[key] = value = list(value)
        if isinstance(value, torch.Tensor):
            found.append((node, key, value))
        elif isinstance(value, (list, dict, fast.MaskWindows)):
            found += _tensors(value)
    return found


def _same(a, b):
    return a.shape == b.shape and torch.equal(a, b)


def _plain(tensor):
    return tensor if tensor.is_floating_point() else tensor.int()  # WebGPU has no int64


class _Fixed(nn.Module):
    def __init__(self, network, at):
        super().__init__()
        self.network, self.at = network, at

    def forward(self, image, mask):
        found = _tensors(_features(self.network, image, mask))
        return tuple(_plain(found[i][2]) for i in self.at)


class _Moving(nn.Module):
    def __init__(self, network, features, at):
        super().__init__()
        self.network, self.features, found = network, features, _tensors(features)
        self.places = [found[i][:2] for i in at]

    def forward(self, image, mask, codes, noise, *kept):
        for (holder, key), tensor in zip(self.places, kept):
            holder[key] = tensor
        z = self.network.join_codes(codes, noise)
        with _in_a_box(self.network, mask):
            drawn = self.network.decode(self.features, mask, z).clamp(-1, 1)
        return torch.where(mask > 0.5, drawn, image)


@contextmanager
def _in_a_box(network, mask):
    """What lies behind the last norm, the dearest convolutions, looks only at the box around the
    region, so much larger that all it gives inside the region is the same; outside the box it is 0.
    """
    if shells := getattr(network, "shells", None):
        block, refine = shells[-1].block, shells[-1].refine
    else:
        block, refine = network.blocks[-1], network.refine[-1]
    size, reach = mask.shape[-1], 4 + 2 * len(refine)  # 3×3 of each, of to_rgb, and 5×5 of colour
    sides = [mask[0, 0].amax(1), mask[0, 0].amax(0)]
    low = [(side.argmax() - reach).clamp(min=0) for side in sides]
    high = [(size - side.flip(0).argmax() + reach).clamp(max=size) for side in sides]

    def boxed(layer):
        whole = layer.forward

        def forward(y):
            y = whole(y[:, :, low[0] : high[0], low[1] : high[1]])
            return F.pad(y, [low[1], size - high[1], low[0], size - high[0]])

        return mock.patch.object(layer, "forward", forward)

    with ExitStack() as stack:
        for layer in (block.conv_last, refine) if network.cfg.residual else ():
            stack.enter_context(boxed(layer))
        yield


@contextmanager
def _traceable():
    """What ONNX has, in place of operations of `fast` that only PyTorch has; and sizes as plain
    numbers, since those that change with the mask are never asked for.
    """

    def moments(x):
        mean = x.mean((2, 3), keepdim=True)
        return mean.flatten(1), (x - mean).square().mean((2, 3))

    def lookup(x, table, index, order, first):
        x = x.permute(0, 2, 3, 1)
        scale, shift = table[index.flatten()].view(*x.shape[:3], -1).chunk(2, 3)
        return (x * scale + shift).permute(0, 3, 1, 2)

    def add_up(taps, table, mode):
        return table[taps.flatten()].view(-1, taps.shape[1], table.shape[1]).sum(1)

    def shape(x):
        tracing = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)
        try:
            return torch.Size(int(side) for side in x.size())
        finally:
            torch._C._set_tracing_state(tracing)

    with ExitStack() as stack:
        for holder, name, other in (
            (fast._Moments, "apply", moments),
            (fast._Lookup, "apply", lookup),
            (fast.F, "embedding_bag", add_up),
            (torch.Tensor, "shape", property(shape)),
        ):
            stack.enter_context(mock.patch.object(holder, name, other))
        yield


def _graph(module, taken, given, rows):
    """The trace of a module as an ONNX model: no node that its outputs do not need, and weights in
    few bits where that loses nothing: float16, as they ship, or int8 (`stored.in_bits`).
    """
    onnx = required()
    from onnx import numpy_helper

    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constants, which are meant to be constant
        torch.onnx.export(
            module,
            tuple(taken.values()),
            data,
            input_names=list(taken),
            output_names=given,
            dynamic_axes=rows,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(data.getvalue())
    graph, needed, nodes, weights = model.graph, set(given), [], []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed |= set(node.input)
    for node in nodes:
        value = node.attribute[0].t if node.op_type == "Constant" else None
        if value is not None and value.data_type == onnx.TensorProto.FLOAT:
            value.name = node.output[0]
            graph.initializer.append(value)
    written = {tensor.name for tensor in graph.initializer}
    nodes, casts = [node for node in nodes if not written & set(node.output)], []
    for tensor in (tensor for tensor in graph.initializer if tensor.name in needed):
        numbers = numpy_helper.to_array(tensor)
        few, step = _in_few_bits(numbers) if numbers.dtype == "float32" else (numbers, None)
        name, *names = (f"{tensor.name}{end}" for end in ("", "_few", "_step", "_cast"))
        if few.dtype != numbers.dtype:
            tensor = numpy_helper.from_array(few, names[0])
            cast, to = name if step is None else names[2], onnx.TensorProto.FLOAT
            casts.append(onnx.helper.make_node("Cast", names[:1], [cast], to=to))
        if step is not None:
            weights.append(numpy_helper.from_array(step, names[1]))
            casts.append(onnx.helper.make_node("Mul", [cast, names[1]], [name]))
        weights.append(tensor)
    inputs = [put for put in graph.input if put.name in needed]
    for field, content in (("node", casts + nodes), ("initializer", weights), ("input", inputs)):
        graph.ClearField(field)
        getattr(graph, field).extend(content)
    graph.ClearField("value_info")
    return model


def _in_few_bits(numbers):
    """(the numbers in fewer bits, step along one axis or None); they again, if nothing fits."""
    if (numbers == (half := numbers.astype("float16"))).all():
        return half, None
    for axis in range(numbers.ndim if numbers.size > 1024 else 0):
        if len(np.unique(numbers.take(0, axis))) > 255:
            continue  # more values than int8 has: no need to look for a step
        rest = tuple(i for i in range(numbers.ndim) if i != axis)
        most = np.abs(numbers).max(rest, keepdims=True)
        step = np.zeros_like(most)
        for k in range(1, 128):  # the largest of a part need not be the largest of the whole
            some = np.where(most > 0, most, 1) / np.float32(k)
            far = np.abs(numbers / some - np.rint(numbers / some)).max(rest, keepdims=True)
            step = np.where(far < 1e-4, some, step)
        if step.all():
            return np.rint(numbers / step).astype("int8"), step
    return numbers, None
