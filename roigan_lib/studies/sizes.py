"""Width, depth and bits a weight against quality, latency and megabytes.

`python -m roigan_lib.studies.sizes` leaves figures/sizes.jsonl, figures/sizes.png and a table in
docs/cost.md. The trainings are those of the claim "the best size depends on the data set": 32
pixels, short, three seeds each. `python -m roigan_lib.studies.sizes FOLDER [MODEL]` asks a shipped
model, celeba, for the squares in a folder, as it is and in fewer bits: figures/bits.jsonl and the
next table.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import torch

from .. import plots
from ..data import open_dataset
from ..files import read_rows
from ..inpainter import RoIGAN
from ..masks import sample_masks
from ..metrics import compare, markdown_lines, over_seeds, records, write_rows
from ..models import networks
from ..precision import processor
from ..stored import in_bits, load_model
from .bench import ROOT
from .cost import renew
from .experiments import EXPERIMENTS, STEPS, name_of, plan

METRICS = ("frechet", "l1_hole")
FAMILIES, BITS, MOST = ("elliptic", "rectangular", "mixed"), (8, 4), 1.1


def rows(stored, repeats=15):
    """A row for each arm and metric: value and spread over seeds, parameters, megabytes, ms.

    stored: rows of experiments. megabytes: of float16 weights, as models ship. ms: the median time
    of a process in which the generator completes one image, in another region each time.
    """
    means = {(r["method"], r["dataset"], r["metric"]): r for _, r in over_seeds(stored).iterrows()}
    arms = {tuple(name.split(", ")): plan(arm) for name, arm in EXPERIMENTS["size"]["arms"].items()}
    nets, took, found = {}, {}, []
    for (_, size), planned in arms.items():  # a size is the same network for each data set
        cfg = name_of(planned, STEPS, 0)[0].model
        net = networks(cfg)[0](cfg).to(memory_format=torch.channels_last)
        nets.setdefault(size, RoIGAN(net, size))
    images = torch.zeros(1, 3, cfg.size, cfg.size)
    for k, mask in enumerate(sample_masks("elliptic", repeats, cfg.size, seed=0)):
        for size, gan in nets.items():  # in turn
            begin = time.process_time()
            gan.inpaint(images, mask[None], seed=k)
            took.setdefault(size, []).append(1e3 * (time.process_time() - begin))
    for (dataset, size), planned in arms.items():
        n = sum(p.numel() for p in nets[size].generator.parameters())
        told = {"size": size, "parameters": n, "megabytes": round(2e-6 * n, 3)}
        told |= {"ms": round(median(took[size][1:]), 2), "processor": processor()}
        for metric in METRICS:
            if mean := dict(means.get((planned[0], dataset, metric), {})):
                kept = {k: mean[k] for k in ("metric", "method", "value", "spread", "n_seeds")}
                found.append(kept | {"dataset": dataset, "split": "test"} | told)
    return found


def picture(found, metric="frechet"):
    """A panel for each data set: distance against megabytes, best at the lower left."""
    found = [row for row in found if row["metric"] == metric]
    sets = list(dict.fromkeys(row["dataset"] for row in found))
    fig = plots.Picture(figsize=(7.2, 2.4), dpi=plots.DPI, layout="constrained")
    for axes, dataset in zip(fig.subplots(1, len(sets), squeeze=False)[0], sets):
        for colour, row in zip(plots.PALETTE, (r for r in found if r["dataset"] == dataset)):
            at = row["megabytes"], row["value"]
            axes.errorbar(*at, yerr=row["spread"], fmt="o", color=colour, capsize=3)
            words = f" {row['size']}, {row['ms']:.0f} ms"
            beside = 4, -10 if row["size"] == "deeper" else 4
            axes.annotate(words, at, fontsize=7, xytext=beside, textcoords="offset points")
        axes.margins(0.35)
        axes.set(xlabel="megabytes", ylabel=metric)
        axes.set_title(dataset, fontsize=9, loc="left")
    return fig


def to_markdown(found):
    """A table of `rows`, a line for each arm."""
    heads = ["data set", "network", "parameters", "MB", "ms", *METRICS]
    lines, arms = [], {}
    for row in found:
        arms.setdefault((row["dataset"], row["size"]), {})[row["metric"]] = row
    for (dataset, size), of in arms.items():
        row = next(iter(of.values()))
        line = [dataset, size, f"{row['parameters']:,}", f"{row['megabytes']:.2f}"]
        line += [f"{row['ms']:.1f}"]
        lines.append(line + [f"{of[m]['value']:.4g} ± {of[m]['spread']:.2g}" for m in METRICS])
    return "\n".join(markdown_lines(heads, lines, 2))


def judge(gan, images, **named):
    """Rows of FID-768 for a model in float16 and in BITS, on FAMILIES of masks, with megabytes.

    images: (n, 3, S, S) in [-1, 1] or an ImageSet; named: for `compare`. ratio: to float16's.
    """
    n = sum(p.numel() for p in gan.generator.parameters())
    made = {f"int{bits}": in_bits(gan, bits) for bits in BITS}
    methods = {"float16": gan} | {name: model for name, (model, _) in made.items()}
    table = compare(methods, images, FAMILIES, 768, diversity_images=8, diversity_seeds=2, **named)
    found, whole = records(table[table["metric"].str.startswith("fid")]), {}
    for row in found:
        whole.setdefault(row["mask_law"], row["value"])
        row["megabytes"] = made[row["method"]][1] if row["method"] in made else round(2e-6 * n, 3)
        row |= {"model": gan.name, "ratio": round(row["value"] / whole[row["mask_law"]], 4)}
        row["method"] = f"{gan.name}, {row['method']}"
    return found


def bits_to_markdown(found):
    """A table of `judge`, a line for each model and number of bits; kept: no ratio above MOST."""
    lines, of = [], {}
    for row in found:
        of.setdefault(row["method"], []).append(row)
    for name, rows in of.items():
        scores = [f"{r['value']:.4f} ({r['ratio']:.2f})" for r in rows]
        kept = "yes" if max(r["ratio"] for r in rows) <= MOST else "no"
        lines.append([name, f"{rows[0]['megabytes']:.2f}", *scores, kept])
    heads = [f"{r['mask_law']}, FID-768 of {r['n_fake']}" for r in next(iter(of.values()))]
    return "\n".join(markdown_lines(["weights", "MB", *heads, "kept"], lines))


def main(folder=None, name="celeba"):
    """What the module says: without a folder width and depth, with one the bits of a model."""
    figures, page = ROOT / "figures", ROOT / "docs" / "cost.md"
    if folder is None:
        made = rows(read_rows(figures / "experiments.jsonl"))
        write_rows(figures / "sizes.jsonl", made)
        plots.save(picture(made), figures / "sizes.png")
        return renew(page, to_markdown(made))
    data = name.partition("_")[0].rstrip("0123456789")
    gan, named = load_model(name), dict(data=data, split=Path(folder).name, progress=True)
    found = judge(gan, open_dataset("folder", "all", gan.size, folder), **named)
    write_rows(figures / "bits.jsonl", found)
    renew(page, bits_to_markdown(read_rows(figures / "bits.jsonl")))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
