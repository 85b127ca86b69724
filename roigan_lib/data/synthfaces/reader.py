"""FactorNet: a small network that reads the factors of a synthfaces portrait back from its pixels.

It stands where other work uses an Inception or VGG network trained on photographs: its features feed a Fréchet
distance, its maps a light perceptual loss, and its readings tell what a slider of the generator really changes.
"""

import json
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from ...errors import RoiganError
from . import FACTORS, MIRRORED, NAMES

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "factor_net.safetensors"
CONTINUOUS = [f.name for f in FACTORS if f.kind == "continuous"]
CATEGORICAL = {f.name: f.n_categories for f in FACTORS if f.kind == "categorical"}
_COLUMNS = [NAMES.index(name) for name in CONTINUOUS]


def _stage(c_in, c_out):
    """Halve the picture, then look again: two convolutions with batch norm, without which gaze and iris stay unread."""
    layers = []
    for a, b, stride in ((c_in, c_out, 2), (c_out, c_out, 1)):
        layers += [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


class FactorNet(nn.Module):
    """Images (n, 3, H, W) in [-1, 1], of any size (resized to 64x64), to factor readings; about 0.57 M weights.

    Where things are matters (gaze, brows, nose), so the last maps are squeezed to few channels and pooled by a learned
    linear layer instead of an average.
    """

    dims = 128

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([_stage(3, 32), _stage(32, 64), _stage(64, 128)])
        self.squeeze = nn.Sequential(
            nn.Conv2d(128, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.pool = nn.Sequential(
            nn.Linear(32 * 8 * 8, self.dims, bias=False), nn.BatchNorm1d(self.dims)
        )
        self.drop = nn.Dropout(0.1)
        self.read = nn.Linear(self.dims, len(CONTINUOUS) + sum(CATEGORICAL.values()))
        self.register_buffer("centre", torch.zeros(len(CONTINUOUS)))
        self.register_buffer("spread", torch.ones(len(CONTINUOUS)))

    def maps(self, x):
        """Three maps of rising abstraction: (n, 32, 32, 32), (n, 64, 16, 16), (n, 128, 8, 8), differentiable."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise RoiganError(
                f"FactorNet reads colour images (n, 3, H, W) in [-1, 1], got shape {tuple(x.shape)}; "
                "add the batch axis or repeat a grey channel three times."
            )
        if x.shape[-2:] != (64, 64):
            x = F.interpolate(x, (64, 64), mode="bilinear", align_corners=False, antialias=True)
        out = []
        for stage in self.stages:
            x = stage(x)
            out.append(x)
        return out

    def features(self, x):
        """Pooled features before the last non-linearity, (n, 128), of about unit scale: input of a Fréchet distance."""
        return self.pool(self.squeeze(self.maps(x)[-1]).flatten(1))

    def forward(self, x):
        """{'continuous': (n, C) in the units of FACTORS and the order of CONTINUOUS, 'logits': {name: (n, k)}}."""
        y = self.read(self.drop(self.features(x).relu()))
        scores, *logits = y.split([len(CONTINUOUS), *CATEGORICAL.values()], 1)
        return {
            "continuous": scores * self.spread + self.centre,
            "logits": dict(zip(CATEGORICAL, logits)),
        }


@torch.no_grad()
def measure(net, images, factors, batch=100):
    """How well `net` reads images (n, 3, H, W) in [-1, 1]: {continuous name: R²}, {categorical name: accuracy}."""
    outs = [net(images[i : i + batch]) for i in range(0, len(images), batch)]
    read, true = torch.cat([o["continuous"] for o in outs]), factors[:, _COLUMNS]
    r2 = 1 - (read - true).square().sum(0) / (true - true.mean(0)).square().sum(0).clamp_min(1e-8)
    accuracy = {
        name: (
            torch.cat([o["logits"][name] for o in outs]).argmax(1)
            == factors[:, NAMES.index(name)].long()
        )
        .float()
        .mean()
        .item()
        for name in CATEGORICAL
    }
    return dict(zip(CONTINUOUS, r2.tolist())), accuracy


def train_factor_net(
    steps=2000, seed=0, batch=64, lr=4e-3, minutes=None, train=None, test=None, net=None, log=print
):
    """Fit a FactorNet to synthfaces: squared error of the standardised factors plus cross-entropy of the categories.

    `train` and `test` are ImageSets with factors, by default those splits at 64x64. With `minutes` the run ends in
    time: the learning rate falls along whichever is further, steps or clock. Half of each batch is mirrored, factors
    included.
    `net` goes on from a trained one instead of a fresh one (steps and seconds are those of this run). Returns (net in
    eval mode, metadata as stored beside the weights).
    """
    from .. import open_dataset

    train = open_dataset("synthfaces", "train", 64) if train is None else train
    test = open_dataset("synthfaces", "test", 64) if test is None else test
    torch.manual_seed(seed)
    net = (net or FactorNet()).requires_grad_(True).train()
    true = train.factors[:, _COLUMNS]
    net.centre.copy_(true.mean(0))
    net.spread.copy_(true.std(0))
    sign = torch.tensor([-1.0 if name in MIRRORED else 1.0 for name in NAMES])
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.02)
    start, done, step, average = time.time(), 0.0, 0, None
    while done < 1:
        rows = torch.randint(len(train), (batch,))
        x, f = train[rows], train.factors[rows]
        half = batch // 2
        x[:half], f[:half] = x[:half].flip(-1), f[:half] * sign
        x = x + 0.03 * torch.randn_like(x)
        out = net(x)
        loss = ((out["continuous"] - f[:, _COLUMNS]) / net.spread).square().mean()
        for name, logits in out["logits"].items():
            loss = loss + 0.1 * F.cross_entropy(logits, f[:, NAMES.index(name)].long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        seconds = time.time() - start
        done = max(step / steps, seconds / (60 * minutes) if minutes else 0.0)
        optimiser.param_groups[0]["lr"] = lr * min(1, step / 50) * max(0.01, 1 - done)
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if log and step % 100 == 0:
            log(f"step {step}  loss {average:.3f}  {seconds:.0f} s  {100 * done:.0f} %")
    net = net.eval().half().float().requires_grad_(False)  # measured as it will be shipped
    r2, accuracy = measure(net, test[:], test.factors)
    return net, {
        "steps": step,
        "seconds": round(seconds),
        "seed": seed,
        "n_train": len(train),
        "n_test": len(test),
        "r2": r2,
        "accuracy": accuracy,
    }


def save_factor_net(net, metadata, path=WEIGHTS):
    """Write float16 weights and the metadata (JSON per key, in the safetensors header)."""
    from safetensors.torch import save_file

    tensors = {
        k: v.half().contiguous() if v.is_floating_point() else v
        for k, v in net.state_dict().items()
    }
    partial = Path(path).with_suffix(".partial")
    save_file(tensors, partial, {k: json.dumps(v) for k, v in metadata.items()})
    partial.replace(path)


def factor_net_metadata(path=WEIGHTS):
    """What training recorded: steps, seconds, seed, n_train, n_test, r2 and accuracy by factor on the test split."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {k: json.loads(v) for k, v in file.metadata().items()}


def load_factor_net(path=WEIGHTS, device="cpu"):
    """The trained FactorNet in eval mode with requires_grad False (its maps still pass gradients to the images)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise RoiganError(
            f"There are no FactorNet weights at {path}; train them with train_factor_net() and "
            "save_factor_net(), or reinstall the package."
        )
    net = FactorNet()
    try:
        net.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        )
    except (RuntimeError, SafetensorError) as error:
        raise RoiganError(
            f"{path} does not hold the weights of this FactorNet; train it anew or take the shipped file."
        ) from error
    return net.eval().requires_grad_(False).to(device)
