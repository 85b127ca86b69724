"""FactorNet: a small network that reads the factors of a synthfaces portrait from its pixels.

Its features feed a Fréchet distance, its maps a light perceptual loss, as Inception and VGG do for
photographs; its readings tell what a slider really changes.
"""

import time

import torch
from torch import nn
from torch.nn import functional as F

from ...checks import check_device
from ...errors import RoiganError
from ...files import WEIGHTS as SHIPPED
from ...files import path_of, read_weights, trouble, write_weights
from . import FACTORS, MIRRORED, NAMES, load

WEIGHTS = SHIPPED / "factor_net.safetensors"
CONTINUOUS = [f.name for f in FACTORS if f.kind == "continuous"]
CATEGORICAL = {f.name: len(f.labels) for f in FACTORS if f.labels}
_COLUMNS = [NAMES.index(name) for name in CONTINUOUS]


def stage(c_in, c_out):
    """Halve the picture, then look again; without batch norm gaze and iris stay unread."""
    halve, look = (nn.Conv2d(a, c_out, 3, s, 1, bias=False) for a, s in ((c_in, 2), (c_out, 1)))
    norms = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
    return nn.Sequential(halve, norms[0], nn.ReLU(), look, norms[1], nn.ReLU())


class FactorNet(nn.Module):
    """Images (n, 3, H, W) in [-1, 1], of any size (resized to 64x64), to factor readings.

    Where things are matters (gaze, brows, nose), so the last maps are squeezed to few channels and
    pooled by a learned linear layer instead of an average.
    """

    dims = 128

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([stage(3, 32), stage(32, 64), stage(64, 128)])
        squeeze = nn.Conv2d(128, 32, 1, bias=False)
        self.squeeze = nn.Sequential(squeeze, nn.BatchNorm2d(32), nn.ReLU())
        pool = nn.Linear(32 * 8 * 8, self.dims, bias=False)
        self.pool = nn.Sequential(pool, nn.BatchNorm1d(self.dims))
        self.drop = nn.Dropout(0.1)
        self.read = nn.Linear(self.dims, len(CONTINUOUS) + sum(CATEGORICAL.values()))
        self.register_buffer("centre", torch.zeros(len(CONTINUOUS)))
        self.register_buffer("spread", torch.ones(len(CONTINUOUS)))

    def maps(self, x):
        """Three maps of rising abstraction: (n, 32, 32, 32), (n, 64, 16, 16), (n, 128, 8, 8)."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise RoiganError(
                "FactorNet reads colour images (n, 3, H, W) in [-1, 1], got shape "
                f"{tuple(x.shape)}; add the batch axis or repeat a grey channel three times."
            )
        if x.shape[-2:] != (64, 64):
            x = F.interpolate(x, (64, 64), mode="bilinear", align_corners=False, antialias=True)
        out = [x]
        for stage in self.stages:
            out.append(stage(out[-1]))
        return out[1:]

    def features(self, x):
        """Pooled features before the last non-linearity, (n, 128), of about unit scale."""
        return self.pool(self.squeeze(self.maps(x)[-1]).flatten(1))

    def forward(self, x):
        """{'continuous': (n, C), ordered as CONTINUOUS, 'logits': {categorical name: (n, k)}}."""
        y = self.read(self.drop(self.features(x).relu()))
        scores, *logits = y.split([len(CONTINUOUS), *CATEGORICAL.values()], 1)
        scores = scores * self.spread + self.centre
        return {"continuous": scores, "logits": dict(zip(CATEGORICAL, logits))}


@torch.no_grad()
def measure(net, images, factors, batch=100):
    """How well `net` reads images (n, 3, H, W): {continuous name: R²}, {categorical: accuracy}."""
    outs = [net(part) for part in images.split(batch)]
    read, true = torch.cat([out["continuous"] for out in outs]), factors[:, _COLUMNS]
    r2 = 1 - (read - true).square().sum(0) / (true - true.mean(0)).square().sum(0).clamp_min(1e-8)
    accuracy = {}
    for name in CATEGORICAL:
        told = torch.cat([out["logits"][name] for out in outs]).argmax(1)
        accuracy[name] = (told == factors[:, NAMES.index(name)]).float().mean().item()
    return dict(zip(CONTINUOUS, r2.tolist())), accuracy


def train_factor_net(steps=2000, seed=0, batch=64, lr=4e-3, train=None, test=None, log=print):
    """Fit a FactorNet: squared error of the standardised factors, cross-entropy of the categories.

    train, test: ImageSets with factors, by default those splits at 64x64. Half of each batch is
    mirrored, factors included. Returns (net in eval mode, metadata as stored beside the weights).
    """
    train, test = train or load("train"), test or load("test")
    torch.manual_seed(seed)
    net = FactorNet()
    true = train.factors[:, _COLUMNS]
    net.centre.copy_(true.mean(0))
    net.spread.copy_(true.std(0))
    sign = torch.tensor([-1.0 if name in MIRRORED else 1.0 for name in NAMES])
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.02)
    start = time.time()
    for step in range(1, steps + 1):
        rows = torch.randint(len(train), (batch,))
        x, f = train[rows], train.factors[rows]
        half = batch // 2
        x[:half], f[:half] = x[:half].flip(-1), f[:half] * sign
        out = net(x + 0.03 * torch.randn_like(x))
        loss = ((out["continuous"] - f[:, _COLUMNS]) / net.spread).square().mean()
        for name, logits in out["logits"].items():
            loss = loss + 0.1 * F.cross_entropy(logits, f[:, NAMES.index(name)].long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        optimiser.param_groups[0]["lr"] = lr * min(1, step / 50) * max(0.01, 1 - step / steps)
        if log and step % 100 == 0:
            log(f"step {step}  loss {loss.item():.3f}  {time.time() - start:.0f} s")
    run = {"steps": steps, "seconds": round(time.time() - start), "seed": seed}
    net = net.eval().half().float().requires_grad_(False)  # measured as it will be shipped
    r2, accuracy = measure(net, test[:], test.factors)
    return net, run | {"n_train": len(train), "n_test": len(test), "r2": r2, "accuracy": accuracy}


def save_factor_net(net, metadata, path=WEIGHTS):
    """Write float16 weights, and the metadata into the header."""
    write_weights(path, net.state_dict(), **metadata)


def factor_net_metadata(path=WEIGHTS):
    """What training recorded: steps, seconds, seed, n_train, n_test, r2 and accuracy on test."""
    return read_weights(path, None, "a FactorNet")[1]


def load_factor_net(path=WEIGHTS, device="cpu"):
    """The trained FactorNet in eval mode, frozen; its maps still pass gradients to the images."""
    net, path = FactorNet(), path_of(path)
    there = not trouble(path)
    try:
        net.load_state_dict(read_weights(path, None, "a FactorNet")[0])
    except (RuntimeError, RoiganError):
        why = f"{path} does not hold the weights of this FactorNet"
        why = why if there else f"There are no FactorNet weights at {path}"
        raise RoiganError(f"{why}; train them anew or take the shipped file.") from None
    return net.float().eval().requires_grad_(False).to(check_device(device))
