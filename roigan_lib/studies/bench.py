"""Speed as ratios: the kit and a plain way of the same work, measured in turn within one run.

For the networks the plain way is tests/yardstick.py of a clone, which makes the step as the
author's release does: dense convolutions over the mask, a pass wherever the release makes one.
"""

from __future__ import annotations

import copy
import itertools
import runpy
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from ..config import load_config
from ..data import ImageSet
from ..errors import RoiganError
from ..inpainter import RoIGAN
from ..masks import sample_masks
from ..metrics import load_rows, records
from ..models import networks
from ..perceptual import PerceptualNet
from ..precision import processor
from ..training import Trainer

ROOT = Path(__file__).resolve().parents[2]


def in_turn(ways, repeats=5):
    """Median seconds of each way, {name: function} -> {name: seconds}; a round warms up.

    The ways take turns: a program beside them slows all alike, and the ratio of two medians holds.
    Raises RoiganError for less than one round.
    """
    if repeats < 1:
        raise RoiganError(f"repeats is {repeats}; at least one round has to be timed.")
    took = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in took.items()}


def _row(what, took, plain, kit, **more):
    return {
        "metric": what,
        "method": "plain / kit",
        "value": round(took[plain] / took[kit], 2),
        "plain_ms": round(1e3 * took[plain], 3),
        "kit_ms": round(1e3 * took[kit], 3),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **more,
    }


def yardstick(name):
    """A name of tests/yardstick.py. Raises RoiganError outside a clone."""
    path = ROOT / "tests" / "yardstick.py"
    if not path.is_file():
        raise RoiganError(
            "The plain step to compare with is tests/yardstick.py of the repository, which is not "
            "here; run the benchmark from a clone."
        )
    return runpy.run_path(str(path))[name]


def noise_images(n, size=64):
    """n images of random bytes, an ImageSet: for measurements that need no picture."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=noise, dtype=torch.uint8)
    return ImageSet("noise", "train", size, pixels)


def _untrained(profile, **fields):
    cfg = load_config(profile, **fields).model
    torch.manual_seed(0)
    return RoIGAN(networks(cfg)[0](cfg).to(memory_format=torch.channels_last), "untrained")


def _random_vgg19():
    """VGG19 as a perceptual network with random weights: nothing to download."""
    import torchvision

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vgg19.pth"
        torch.save(torchvision.models.vgg19(weights=None).features.state_dict(), file)
        return PerceptualNet("vgg19", file)


def train_step(
    width=1.0, batch=16, perceptual=False, repeats=3, ways=("fp32", "bf16"), say=print, device="cpu"
):
    """The published step, plain in float32 and by the kit: same networks, batch and losses.

    A row for each precision of `ways`; one that is slower here than float32 has a line for `say`
    instead. perceptual: with VGG19, of random weights, else without the perceptual term.
    """
    plain_step = yardstick("Step")
    extra = {"perceptual_net": "none"} if perceptual else {"perceptual": 0.0}
    fields = {"recipe": "published", "width": width, "batch": batch, "flip": False} | extra
    net, trainers = _random_vgg19().to(device) if perceptual else None, {}
    for way in ways:
        cfg = load_config("thesis", precision=way, **fields)
        trainer = Trainer(cfg, noise_images(4 * batch), device)
        trainer.perceptual = net or trainer.perceptual
        if trainer.precision == way:
            trainers[way] = trainer
        else:
            say(f"left out, width {width:g}: {trainer.remark}")
    first = trainers["fp32"]
    states = (network.state_dict() for network in (first.generator, first.discriminator))
    plain, (x, m, codes, noise) = plain_step(*states, first.perceptual), first.batches.draw(0)[:4]
    work = {"plain": lambda: plain(x, m, codes, noise)}
    work |= {way: trainer.step for way, trainer in trainers.items()}
    took, rows = in_turn(work, repeats), []
    for way in trainers:
        what = f"train step, width {width:g}, {'VGG19' if perceptual else 'no perceptual term'}"
        what += ", bfloat16" if way == "bf16" else ""
        speed = round(batch / took[way], 2)
        rows.append(_row(what, took, "plain", way, batch=batch, images_per_second=speed))
    return rows


def generator_forward(width=1.0, batch=16, repeats=7):
    """The published generator drawing a batch, and moving one slider of one image.

    The first row also has the largest difference of the two drawings, in float32 and in double
    precision, which is what their methods differ by.
    """
    plain = yardstick("generate")
    gan = _untrained("thesis", recipe="published", width=width)
    net, cfg, state = gan.generator, gan.config, gan.generator.state_dict()
    x, m = noise_images(batch)[:], sample_masks("elliptic", batch, cfg.size, seed=1)
    codes, generator = gan.sample_codes(batch, 0), torch.Generator().manual_seed(0)
    z = net.join_codes(codes, torch.randn(batch, cfg.n_noise, generator=generator))
    double = lambda t: t.double() if t.is_floating_point() else t
    gap = lambda a, b: (a - b).abs().max().item()
    with torch.inference_mode():
        ours, theirs = net(x, m, z)[0], plain(state, z, x, m)[0]
        exact = plain({k: double(v) for k, v in state.items()}, *map(double, (z, x, m)))[0]
        same = copy.deepcopy(net).double()(*map(double, (x, m, z)))[0]
        ways = {
            "plain": lambda: plain(state, z, x, m),
            "kit": lambda: net(x, m, z),
            "plain, one": lambda: plain(state, z[:1], x[:1], m[:1]),
            "slider": lambda: gan.inpaint(x[:1], m[:1], codes[:1]),
        }
        took = in_turn(ways, repeats)
    gaps = {"largest_difference": gap(ours, theirs), "largest_difference_double": gap(same, exact)}
    whole, one = f"generator, a batch, width {width:g}", f"slider, width {width:g}"
    return [
        _row(whole, took, "plain", "kit", batch=batch, **gaps),
        _row(one, took, "plain, one", "slider", batch=1),
    ]


def slider(repeats=21):
    """From a slider to the completed image of one face, beside the first move in a new region."""
    gan = _untrained("laptop")
    x, m = noise_images(2, gan.size)[:], sample_masks("elliptic", 2, gan.size, seed=1)
    codes, faces = gan.sample_codes(1, 0), itertools.cycle((slice(0, 1), slice(1, 2)))

    def repainted():  # another face each time: nothing is remembered
        face = next(faces)
        gan.inpaint(x[face], m[face], codes)

    took = in_turn({"new": repainted}, repeats)
    took |= in_turn({"same": lambda: gan.inpaint(x[:1], m[:1], codes)}, repeats)
    return [_row("slider, laptop width, beside a new region", took, "new", "same", batch=1)]


def run(say=print, quick=False):
    """The rows of the networks at full width, a line to `say` for each; `quick`: does it run?

    Raises RoiganError outside a clone.
    """
    size = dict(width=0.125, batch=4, repeats=1) if quick else {}
    jobs = (
        partial(generator_forward, **size),
        partial(train_step, say=say, **size),
        partial(train_step, perceptual=True, say=say, **size),
        partial(slider, 3 if quick else 21),
    )
    rows = []
    for job in jobs:
        for row in job():
            say(
                f"{row['metric']:58s} plain {row['plain_ms']:10,.3f} ms   "
                f"kit {row['kit_ms']:10,.3f} ms   {row['value']:6.2f} times as fast"
            )
            rows.append(row)
    return rows


def stored():
    """The rows that `bench --rows figures/speed.jsonl` left; empty where there is none."""
    path = ROOT / "figures" / "speed.jsonl"
    return records(load_rows(path)) if path.is_file() else []


def to_markdown(rows):
    """A table of rows of this module, with the machine that each was measured on."""
    head = "| | plain, ms | kit, ms | times as fast | processor | threads | torch |"
    line = (
        "| {metric} | {plain_ms:,.2f} | {kit_ms:,.2f} | **{value:.2f}** | {processor} | {threads} "
        "| {torch} |"
    )
    lines = [line.format(**row) for row in rows]
    return "\n".join([head, "|---|---:|---:|---:|---|---:|---|", *lines])
