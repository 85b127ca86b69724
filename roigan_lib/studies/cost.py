"""What a training costs by profile, image size and batch: seconds, memory, energy, and its parts.

Each row is measured in a process of its own, because peak memory is that of a process. Times are
medians of whole steps on random pixels with VGG networks of random weights, which cost as much as
real ones and need no file. On one thread of a CPU the clock is that of the process, which stands
still while other programs have the processor; elsewhere it is the wall's.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .. import plots
from ..config import load_config
from ..errors import RoiganError
from ..files import read_rows, write_atomically
from ..metrics import markdown_lines
from ..perceptual import PerceptualNet
from ..precision import processor
from ..training import Trainer
from .bench import ROOT, noise_images

PARTS = ("data", "perceptual", "discriminator", "generator")
# Energy is estimated, not metered: a server processor of 300 W with 64 hardware threads has about
# 5 W for one; as much again goes to memory, fans and the power supply.
WATTS_PER_THREAD = 10
# One GPU by arithmetic: NVIDIA's A100 computes 156 · 10¹² TF32 operations a second at its best;
# small networks reach a tenth of that. 400 W of its own, 200 W of its host.
GPU, GPU_FLOPS, GPU_WATTS = "A100, TF32 at a tenth of its peak, 600 W", 15.6e12, 600
RUNS = ({"profile": "smoke"}, {"profile": "laptop"}, {"profile": "laptop", "recipe": "photographs"})
RUNS += ({"profile": "thesis"}, {"profile": "thesis", "recipe": "published"})
# Shells alone around celeba, on pixels without labels. [25] shows 800,000 images while a side fades
# in, and as many after it; the thesis says of that training "more than 10 days".
GROWN = {"recipe": "celeba128", "learns": "shells", "labels": None, "label": 0.0, "batch": 4}
GROWN |= {"profile": "laptop", "n_continuous": 10, "precision": "fp32"}
SHELLS, SHOWN = [GROWN | {"size": size} for size in (128, 256)], 1_600_000
ENOUGH = 10.0  # seconds of steps timed, after which no further one is
CURVE = [{"size": size, "batch": 4} for size in (32, 64, 128, 256)]
CURVE += [{"size": 64, "batch": batch} for batch in (2, 8, 16)]


def run(say=print, quick=False, repeats=3, device="cpu", keep=None):
    """Rows of all RUNS, SHELLS, and the CURVE of the recipe photographs at half its width.

    quick: the smoke profile and two points of the curve, one step each: does it run? keep: called
    with each row, in a list, as soon as it is measured.
    """
    runs, curve = (RUNS[:1], CURVE[:2]) if quick else (RUNS, CURVE)
    of = {"profile": "laptop", "recipe": "photographs", "warmup": 0.0, "ramp": 0.0}
    of |= {"width": 0.125 if quick else 0.5}
    jobs = [("run", job) for job in runs]
    jobs += [("step", of | point) for point in curve]
    jobs += [("shell", job) for job in SHELLS if not quick]
    rows = []
    for metric, job in jobs:
        row = named(metric, apart(job, 1 if quick else repeats, device))
        rows.append(row)
        (keep or list)([row])
        say(
            f"{row['method']:24s} {row['size']:3d} pixels, batch {row['batch']:2d}: "
            f"{row['step_s']:7.3f} s a step, {row['memory_gib']:.2f} GiB; "
            + ", ".join(f"{part} {row[part]:.0%}" for part in PARTS)
        )
    return rows


def named(metric, row):
    """A row of `measure` with what `write_rows` tells rows apart by, and its value in seconds."""
    what = f"{row['profile']}, {row['recipe']}"
    what += "" if metric == "run" else f", {row['size']} pixels, batch {row['batch']}"
    value = row["seconds"] if metric == "run" else row["step_s"]
    return {"metric": metric, "method": what, "value": value, "spread": row["step_spread"]} | row


def apart(fields, repeats=3, device="cpu"):
    """`measure` in a process of its own. RoiganError with its last line where that fails."""
    ask = [
        sys.executable,
        "-m",
        "roigan_lib.studies.cost",
        json.dumps(fields),
        str(repeats),
        device,
    ]
    done = subprocess.run(ask, text=True, capture_output=True, cwd=ROOT)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise RoiganError(f"The cost of {fields} could not be measured: {last}.")
    return json.loads(done.stdout.splitlines()[-1])


def measure(repeats=3, device="cpu", profile="laptop", **fields):
    """A row: what a step of a configuration takes, and a whole training of it by multiplication.

    Steps of the warm-up, in which D does not run, are timed apart from the others. step_s and
    step_spread (half the range) are of a step with D, and so are the shares of PARTS, which add up
    to 1. memory_gib: peak of the process on a CPU, of the allocator on a GPU. load: programs that
    asked for the processor meanwhile. gpu_…: from the operations of convolutions and products.
    """
    with tempfile.TemporaryDirectory() as folder:
        net = load_config(profile, **fields).objective.perceptual_net
        if net in PerceptualNet.TAPS:
            fields["perceptual_weights"] = _random_weights(net, folder)
        cfg = load_config(profile, **fields)
        opt, size = cfg.optimisation, cfg.model.size
        trainer = Trainer(cfg, noise_images(2 * opt.batch, size), device)
    took, early, watch = {}, math.ceil(opt.warmup * opt.steps), _Watch(trainer)
    for phase, first in (("warmup", 0), ("whole", math.ceil((opt.warmup + opt.ramp) * opt.steps))):
        if phase == "whole" or early:
            trainer.step_count = first
            watch.spent.clear()
            begin = _now(device)
            flops = _operations(trainer)
            took[phase] = [_now(device) - begin]
            if took[phase][0] < ENOUGH:  # a short step has to warm up
                watch.spent.clear()
                took[phase] = _seconds(trainer, repeats)
    step, few = median(took["whole"]), median(took.get("warmup", [0.0]))
    seconds, whole = early * few + (opt.steps - early) * step, sum(took["whole"])
    shares = {part: max(0.0, watch.spent[part] / whole) for part in PARTS[:-1]}
    shares["generator"] = 1 - sum(shares.values())
    here, on_gpu = torch.device(device).type == "cuda", opt.steps * flops / GPU_FLOPS
    watts = GPU_WATTS if here else WATTS_PER_THREAD * torch.get_num_threads()
    spread = max(took["whole"]) - min(took["whole"])
    row = {"profile": profile, "recipe": cfg.run.recipe, "width": cfg.model.width, "size": size}
    row |= {"batch": opt.batch, "steps": opt.steps, "images": opt.steps * opt.batch}
    row |= {"perceptual_net": cfg.objective.perceptual_net, "precision": trainer.precision}
    row |= {"step_s": round(step, 4), "step_spread": round(spread / 2, 4)}
    row["repeats"] = len(took["whole"])
    row |= {"warmup_step_s": round(few, 4), "seconds": round(seconds, 1)}
    row |= {"images_per_second": round(opt.batch / step, 2), "memory_gib": round(_peak(here), 3)}
    row |= {part: round(share, 4) for part, share in shares.items()}
    row |= {"kwh": round(seconds * watts / 3.6e6, 5), "watts": watts, "tflop_step": flops / 1e12}
    row |= {"gpu": GPU, "gpu_seconds": round(on_gpu, 1)}
    row |= {"gpu_kwh": round(on_gpu * GPU_WATTS / 3.6e6, 5), "processor": processor()}
    row |= {"clock": "process" if torch.get_num_threads() == 1 and device == "cpu" else "wall"}
    row |= {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    return row | {"load": round(os.getloadavg()[0], 2)}


def _random_weights(name, folder):
    import torchvision

    file = Path(folder) / f"{name}.pth"
    features = getattr(torchvision.models, name)(weights=None).features
    torch.save(features.state_dict(), file)
    return str(file)


def _now(device="cpu"):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def _seconds(trainer, repeats):
    """Seconds of each of `repeats` steps, or of fewer once they took ENOUGH in all."""
    took = []
    while len(took) < repeats and sum(took) < ENOUGH:
        begin = _now(trainer.device)
        trainer.step()
        took.append(_now(trainer.device) - begin)
    return took


def _peak(on_gpu):
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def _operations(trainer):
    """Operations of one step in convolutions and matrix products, forward and back."""
    with _Counter() as counter:
        trainer.step()
    return counter.total


class _Counter(TorchDispatchMode):
    """Adds up what torch's registry knows of each operation; its own counter stops at a penalty."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function.overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


class _Watch:
    """Clocks at the borders of a trainer's networks, forward and back: `spent` {part: seconds}.

    The discriminator's part is its update and what passes through it for the generator's; the
    generator's is the rest of a step: drawing, Q, other terms, the optimizer, the average. with_d:
    whether the update of D is still to come.
    """

    def __init__(self, trainer):
        self.spent, self.with_d, self.trainer, self.begun = Counter(), True, trainer, None
        update, draw = trainer.update, trainer.batches.draw

        def drawing(step):
            begin = _now(trainer.device)
            batch = draw(step)
            self.begun, self.with_d = _now(trainer.device), bool(trainer.ramp())
            self.spent["data"] += self.begun - begin
            return batch

        def updating(optimizer, parameters):
            update(optimizer, parameters)
            if self.with_d:
                self.spent["discriminator"] += _now(trainer.device) - self.begun
                self.with_d = False

        trainer.batches.draw, trainer.update = drawing, updating
        self.at(trainer.perceptual, "forward", "perceptual")
        self.at(trainer.discriminator, "forward", "discriminator")
        for name in ("features_of", "decode"):
            self.at(trainer.generator, name, "generator")

    def at(self, network, name, part):
        """Count the time of a method, and of the way back through it, to a part."""
        if network is None:
            return
        method = getattr(network, name)

        def timed(x, *more):
            follow = torch.is_tensor(x) and x.requires_grad
            x = x.view_as(x) if follow else x
            begin, opened = _now(self.trainer.device), []
            y = method(x, *more)
            self.add(part, begin)
            found = [t for t in _tensors(y) if t.requires_grad]
            if follow and found:
                for t in found:
                    t.register_hook(lambda g: opened.append(_now(self.trainer.device)))
                x.register_hook(lambda g: self.add(part, opened[0]))
            return y

        setattr(network, name, timed)

    def add(self, part, begin):
        took = _now(self.trainer.device) - begin
        if self.with_d and part != "discriminator":  # within the time of D's update
            self.spent["discriminator"] -= took
        if part != "generator" and not (self.with_d and part == "discriminator"):
            self.spent[part] += took


def _tensors(value):
    if torch.is_tensor(value):
        return [value]
    return [t for v in value for t in _tensors(v)] if isinstance(value, (list, tuple)) else []


def stored():
    """The rows of `roigan cost --rows figures/cost.jsonl`; empty where there are none."""
    path = ROOT / "figures" / "cost.jsonl"
    return read_rows(path) if path.is_file() else []


def to_markdown(rows, metric="run"):
    """A table of the rows of one metric, "run" or "step"."""
    of_run = metric == "run"
    head = ["training" if of_run else "step of", "images" if of_run else "images/s"]
    head += ["s a step", "hours", "GiB", "kWh", "GPU hours", "GPU kWh"] if of_run else ["s", "GiB"]
    lines = []
    for r in rows:
        if r["metric"] == metric:
            line = [r["method"], f"{r['images'] if of_run else r['images_per_second']:,}"]
            line += [f"{r['step_s']:.3g} ± {r['step_spread']:.1g}"]
            line += [f"{r['seconds'] / 3600:,.3g}"] * of_run + [f"{r['memory_gib']:.2f}"]
            gpu = (r["kwh"], r["gpu_seconds"] / 3600, r["gpu_kwh"])
            line += [f"{value:.3g}" for value in gpu] * of_run
            lines.append(line + [f"{r[part]:.0%}" for part in PARTS])
    return "\n".join(markdown_lines([*head, *PARTS], lines))


def projection(rows):
    """A table of shells up to 1024 pixels: measured at 128 and 256, beyond that by arithmetic.

    Operations and seconds of an image grow by the factor from 128 to 256 with each doubling, memory
    by the same for each pixel. GPU days: of SHOWN images, at GPU_FLOPS; added up, last column.
    """
    one, two = sorted((r for r in rows if r["metric"] == "shell"), key=lambda r: r["size"])
    pixel = (two["memory_gib"] - one["memory_gib"]) / (two["size"] ** 2 - one["size"] ** 2)
    lines, total = [], 0.0
    for k, size in enumerate((128, 256, 512, 1024)):
        of = lambda name: one[name] / one["batch"] * (two[name] / one[name]) ** k
        memory = one["memory_gib"] + pixel * (size**2 - one["size"] ** 2)
        days = SHOWN * 1e12 * of("tflop_step") / GPU_FLOPS / 86400
        total += days
        how = "measured" if k < 2 else "projected"
        line = [str(size), how, f"{of('tflop_step'):.3f}", f"{of('step_s'):.2f}", f"{memory:.1f}"]
        lines.append([*line, f"{days:.2f}", f"{total:.2f}"])
    heads = ["pixels", "how", "TFLOP an image", "s an image, one thread", "GiB at batch 4"]
    return "\n".join(markdown_lines([*heads, "GPU days", "in all"], lines, 2))


def renew(page, *tables):
    """Put Markdown tables in the places of those of the same first line in a page."""
    text = Path(page).read_text(encoding="utf-8")
    for table in tables:
        begin = text.index(table.split("\n")[0])
        text = text[:begin] + table + text[begin:][text[begin:].index("\n\n") :]
    write_atomically(page, text.encode())


def picture(rows):
    """A figure: seconds a step against image size and against batch, and where they go."""
    steps = [r for r in rows if r["metric"] == "step"]
    fig = plots.Picture(figsize=(7.2, 2.6), dpi=plots.DPI, layout="constrained")
    panels = (("size", "batch", 4, "pixels a side"), ("batch", "size", 64, "images a batch"))
    for axes, (axis, other, fixed, label) in zip(fig.subplots(1, 2), panels):
        line = sorted((r for r in steps if r[other] == fixed), key=lambda r: r[axis])
        below, places = [0.0] * len(line), range(len(line))
        for colour, part in zip(plots.PALETTE, PARTS):
            high = [r["step_s"] * r[part] for r in line]
            axes.bar(places, high, 0.6, bottom=below, color=colour, label=part)
            below = [a + b for a, b in zip(below, high)]
        axes.set_xticks(places, [r[axis] for r in line])
        axes.set(xlabel=label, ylabel="seconds a step")
        axes.set_title(f"{other} {fixed}", fontsize=9, loc="left")
    axes.legend(fontsize=7, frameon=False)
    return fig


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[2]), sys.argv[3], **json.loads(sys.argv[1]))))
