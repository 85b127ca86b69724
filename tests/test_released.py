"""The recipe `published` makes the released step: as its plain description, as the author's code.

The second needs a clone of the author's public repository (vaden4d/roi-gan, which has no licence,
so none of it is here):
ROIGAN_RELEASED=path/to/roi-gan/model make test TESTS=tests/test_released.py
"""

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yardstick

from roigan_lib import training as T
from roigan_lib.batches import Batch
from roigan_lib.config import load_config
from roigan_lib.data import ImageSet

TERMS = ("adversarial", "matching", "variation", "kl", "info_c", "info_d", "perceptual")


class FiveMaps(torch.nn.Module):
    """A small frozen network with five maps, in the place of VGG19."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(c, d, 3, 2, 1) for c, d in zip((3, 4, 5, 6, 7), (4, 5, 6, 7, 8))
        )
        self.requires_grad_(False)

    def forward(self, x):
        maps = []
        for layer in self.layers:
            x = torch.relu(layer(x))
            maps.append(x)
        return maps


def make(perceptual, width=0.125, **changes):
    """A trainer of `published` in double precision, its networks as if they had seen data."""
    pixels = torch.randint(
        0, 256, (8, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    cfg = load_config(
        "thesis", recipe="published", batch=4, width=width, **{"perceptual_net": "none"} | changes
    )
    trainer = T.Trainer(cfg, ImageSet("random", "train", 64, pixels), "cpu")
    trainer.perceptual = perceptual or trainer.perceptual
    for part in (trainer.generator, trainer.discriminator, trainer.ema, trainer.perceptual):
        part.double()
    with torch.no_grad():
        for net in (trainer.generator, trainer.discriminator):
            for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
                if name.endswith("running_var"):
                    tensor.uniform_(0.5, 2)
                elif name.endswith(("bias", "running_mean")):
                    tensor.normal_(std=0.1)
    double = lambda t: t.double() if t.is_floating_point() else t
    drawn = trainer.batches.draw(0)
    more = tuple(map(double, drawn.more))
    drawn = Batch(*map(double, drawn[:9]), more)
    trainer.batches.draw = lambda step: drawn
    return trainer, (*drawn[:4], drawn.alpha, *more)


def take(trainer):
    """The logs of a step that changes no weight, its gradients of D and of G with Q, by name."""
    found = []
    grads = lambda net: {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    trainer.opt_d.step = lambda: found.append(grads(trainer.discriminator))
    trainer.opt_g.step = lambda: found.append(
        grads(trainer.generator) | grads(trainer.discriminator)
    )
    logs = trainer.step()
    return logs, *found


def close(theirs, ours):
    assert theirs.keys() == ours.keys()
    for name, gradient in theirs.items():
        assert (gradient - ours[name]).norm() <= 1e-5 * gradient.norm() + 1e-12, name


@pytest.mark.slow
def test_every_term_and_gradient_is_that_of_the_plain_step():
    trainer, (x, m, codes, noise, alpha, image_noise, codes_d, noise_d) = make(FiveMaps())
    plain = yardstick.Step(
        trainer.generator.state_dict(), trainer.discriminator.state_dict(), trainer.perceptual
    )
    x = x + 0.05 * image_noise
    d_loss, d_terms = plain.judge_loss(x, m, codes_d, noise_d, alpha)
    d_loss.backward()
    theirs_d = {k: v.grad.clone() for k, v in plain.d.items() if v.grad is not None}
    g_loss, g_terms = plain.draw_loss(x, m, codes, noise)
    g_loss.backward()
    logs, ours_d, ours_g = take(trainer)
    assert logs["d"] == pytest.approx(d_loss.item(), rel=1e-5) and logs["g"] == pytest.approx(
        g_loss.item(), rel=1e-5
    )
    assert logs["penalty"] == pytest.approx(d_terms["penalty"].item(), rel=1e-5)
    assert set(g_terms) == set(TERMS)
    for name, value in g_terms.items():
        assert logs[name] == pytest.approx(value.item(), rel=1e-5), name
    close(theirs_d, ours_d)
    close(
        {
            k: v.grad
            for part in (plain.g, plain.d)
            for k, v in part.items()
            if v.grad is not None and (part is plain.g or k.startswith("q_net"))
        },
        ours_g,
    )


@pytest.mark.skipif(
    "ROIGAN_RELEASED" not in os.environ,
    reason="ROIGAN_RELEASED names no clone of the author's code",
)
def test_every_term_and_gradient_is_that_of_the_authors_code(tmp_path, monkeypatch):
    vgg = pytest.importorskip("torchvision.models.vgg")
    features = vgg.make_layers(vgg.cfgs["E"])
    torch.save(features.state_dict(), tmp_path / "vgg19.pth")
    monkeypatch.setattr(
        "torchvision.models.vgg19",
        lambda *_, **__: SimpleNamespace(features=vgg.make_layers(vgg.cfgs["E"])),
    )
    trainer, (x, m, codes, noise, alpha, image_noise, codes_d, noise_d) = make(
        None, 1.0, perceptual_net="vgg19", perceptual_weights=str(tmp_path / "vgg19.pth")
    )

    monkeypatch.syspath_prepend(str(Path(os.environ["ROIGAN_RELEASED"]).resolve()))
    monkeypatch.setitem(sys.modules, "torchsummary", SimpleNamespace(summary=None))
    monkeypatch.setattr(
        "torchvision.models.vgg19", lambda *_, **__: SimpleNamespace(features=features)
    )
    theirs = {
        name: importlib.import_module(name) for name in ("config", "Losses", "Models", "Trainer")
    }
    shape = theirs["config"].noise_hyperparams
    gen = theirs["Models"].Generator(**theirs["config"].gen_hyperparams).double()
    dis = theirs["Models"].Discriminator(64, False, shape).double()
    gen.load_state_dict(trainer.generator.state_dict())
    dis.load_state_dict(trainer.discriminator.state_dict())
    losses = theirs["Losses"]
    theirs = theirs["Trainer"]
    found = {}

    def tapped(name, inner):
        def call(*args):
            value = inner(*args)
            found.setdefault(name, []).append(value.detach().mean().item())
            return value

        return call

    released = theirs.Trainer(
        (gen, dis),
        [torch.optim.SGD(net.parameters(), lr=0.0) for net in (gen, dis)],
        (losses.GeneratorLoss(loss="hinge"), losses.DiscriminatorLoss(loss="hinge")),
        clip_norm=0,
        writer=None,
        num_updates=0,
        device="cpu",
        multi_gpu=False,
        is_fmatch=True,
        n_layers_fe_matching=[1, 4, 7, 10, 13],
        is_roi_loss=False,
        is_wgan=False,
        wgan_clip_size=None,
        **shape,
    )
    released.vgg.double()
    for name, module in (
        ("info_c", released.info_loss),
        ("info_d", released.disc_info_loss),
        ("matching", released.fe_loss),
        ("perceptual", released.vgg),
        ("adversarial", released.g_loss),
    ):
        module.forward = tapped(name, module.forward)
    monkeypatch.setattr(theirs, "tv_loss", tapped("variation", losses.tv_loss))
    x = x + 0.05 * image_noise
    join = trainer.generator.join_codes
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *_, **__: alpha)
        d_loss = released.train_step_discriminator(join(codes_d, noise_d), m, x)[1]
    d_loss.backward()
    theirs_d = {n: p.grad.clone() for n, p in dis.named_parameters() if p.grad is not None}
    g_loss = released.train_step_generator(join(codes, noise), m, x)[1]
    g_loss.backward()
    logs, ours_d, ours_g = take(trainer)
    assert logs["d"] == pytest.approx(d_loss.item(), rel=1e-5) and logs["g"] == pytest.approx(
        g_loss.item(), rel=1e-5
    )
    weights = {"variation": 0.5, "perceptual": 5.0}  # theirs come weighted
    for name, values in found.items():
        assert logs[name] == pytest.approx(sum(values) / weights.get(name, 1.0), rel=1e-5), name
    assert set(found) == set(TERMS) - {"kl"}  # the KL is a line of its step, checked by the total
    close(theirs_d, ours_d)
    close(
        {
            n: p.grad
            for net in (gen, dis.q_net)
            for n, p in net.named_parameters(prefix="" if net is gen else "q_net")
            if p.grad is not None
        },
        ours_g,
    )
    for name in ("config", "Losses", "Models", "Trainer", "Denormalization", "EqualizedModules"):
        sys.modules.pop(name, None)
