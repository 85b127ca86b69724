"""A judge of told sliders on photographs: attributes read by a network that taught no model."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..checks import check_device
from ..config_checks import flat
from ..data.labels import label_names
from ..errors import RoiganError
from ..files import WEIGHTS as SHIPPED
from ..files import read_weights, write_weights
from ..regularizers import visible_change
from . import ends, sweep

WEIGHTS = SHIPPED / "attribute_reader.safetensors"
WIDTHS = (32, 64, 128, 256)  # of the stem and of the blocks behind it


class _Block(nn.Module):
    """Two 3×3 convolutions and a way past them (He et al. 2016), halving the resolution."""

    def __init__(self, a, b):
        super().__init__()
        self.first, self.second = (nn.Conv2d(c, b, 3, 1, 1, bias=False) for c in (a, b))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _ in range(2))
        self.past = nn.Conv2d(a, b, 1)

    def forward(self, x):
        y = F.relu(self.norms[0](self.first(x)))
        y = F.relu(self.norms[1](self.second(y)) + self.past(x))
        return F.max_pool2d(y, 2)


class AttributeReader(nn.Module):
    """Probabilities of attributes in whole pictures: (n, 3, S, S) in [-1, 1] -> (n, attributes).

    Another architecture than `models.Classifier`, whole pictures in place of holes, batch norm and
    a mean over places: what a slider writes for the one need not be what the other reads.
    """

    def __init__(self, names):
        super().__init__()
        self.names = list(names)
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, 2, 2)
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in zip(WIDTHS, WIDTHS[1:])))
        self.head = nn.Linear(WIDTHS[-1], len(self.names))

    def logits(self, images):
        y = self.blocks(self.stem(images.contiguous(memory_format=torch.channels_last)))
        return self.head(F.dropout(y.mean((2, 3)), 0.2, self.training)).float()

    @torch.inference_mode()
    def forward(self, images):
        return torch.cat([self.logits(part).sigmoid() for part in images.split(128)])


def train_attribute_reader(data, epochs=12, batch=64, seed=0, progress=print, device=None):
    """An `AttributeReader` taught on an ImageSet with attributes, by cross entropy, mirrored and
    moved by up to 3 pixels.

    RoiganError where the set has no attributes.
    """
    if data.attributes is None:
        raise RoiganError(
            f"{data!r} has no attributes to learn; lay list_attr_celeba.txt beside the images."
        )
    device, g = check_device(device), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = AttributeReader(data.attribute_names).to(device, memory_format=torch.channels_last)
    steps = epochs * (len(data) // batch)
    adam = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        net.train()
        for chosen in torch.randperm(len(data), generator=g).split(batch):
            if len(chosen) < batch:
                continue
            x = data[chosen]
            flip = torch.rand(len(x), generator=g) < 0.5
            x[flip] = x[flip].flip(-1)
            dx, dy = torch.randint(-3, 4, (2,), generator=g).tolist()
            x = F.pad(x, (3, 3, 3, 3), mode="reflect")
            x = x[:, :, 3 + dy : 3 + dy + data.size, 3 + dx : 3 + dx + data.size]
            wanted = data.attributes[chosen].float().to(device)
            loss = F.binary_cross_entropy_with_logits(net.logits(x.to(device)), wanted)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step(), rate.step()
        if progress:
            progress(f"epoch {epoch + 1}/{epochs}  cross entropy {loss.item():.3f}")
    return net.eval()


def save_attribute_reader(net, path, **card):
    """Write float16 weights, the attributes' names and a card into the header."""
    write_weights(path, net.state_dict(), names=net.names, card=card)


def load_attribute_reader(path=WEIGHTS, device="cpu"):
    """The shipped reader, or one that `save_attribute_reader` wrote, frozen, with its `card`.

    RoiganError where the file is missing or holds something else.
    """
    state, header = read_weights(path, None, "an AttributeReader")
    try:
        net = AttributeReader(header["names"])
        net.load_state_dict(state)
    except (KeyError, RuntimeError):
        raise RoiganError(
            f"{path} does not hold the weights of this AttributeReader; train one with "
            f"`train_attribute_reader`, or take the shipped file."
        ) from None
    net.card = header["card"]
    return net.float().eval().requires_grad_(False).to(device)


def attribute_reading(net, gan):
    """What `told_effects` asks: images -> (n, k), the probability of what each slider was told."""
    labels = label_names(flat(gan.card["training"]).get("labels"))
    unknown = [name for name in labels if name.removeprefix("-") not in net.names]
    if unknown:
        raise RoiganError(
            f"The attribute reader knows nothing of {unknown[0]!r}; it reads "
            f"{', '.join(net.names)}."
        )
    columns = [net.names.index(name.removeprefix("-")) for name in labels]
    turned = torch.tensor([name.startswith("-") for name in labels])

    def read(images):
        p = net(images)[:, columns]
        return torch.where(turned, 1 - p, p)

    return read


def told_effects(gan, images, masks, read, seed=0):
    """What each told slider does from -1 to 1, the others at 0, one dictionary a slider.

    images (n, 3, S, S), masks (n or 1, 1, S, S); read: images -> (n, k), column j of which reads
    what slider j was told, such as the probability of its attribute. Rows: low and high, the mean
    reading at the ends; same_sign, the share of images on which it moves as the mean does; spill,
    the largest mean move of another told reading, and of which slider (by name); visible, the mean
    change of the hole's pixels, 0 … 1.
    """
    names, rows = list(gan.slider_names.values()), []
    for k, name in enumerate(names):
        stack = sweep(gan, images, masks, ends(gan, k), seed)
        low, high = (read(done) for done in stack)
        moved, own = (high - low).mean(0), (high - low)[:, k]
        others = moved.abs().index_fill(0, torch.tensor(k), 0.0)
        rows.append(
            {
                "slider": name,
                "low": low[:, k].mean().item(),
                "high": high[:, k].mean().item(),
                "same_sign": (own.sign() == own.mean().sign()).float().mean().item(),
                "spill": others.max().item(),
                "spill_of": names[int(others.argmax())],
                "visible": visible_change(stack, masks).mean().item(),
            }
        )
    return rows
