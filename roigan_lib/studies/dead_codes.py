"""Why the discrete codes died, the thesis' limitation 2: its recipe, small, and exchanged parts."""

from __future__ import annotations

import math
from pathlib import Path

from ..config import WEIGHTS, Config, load_config
from ..control import visible_change_per_code
from ..control.tracing import traces
from ..data import open_dataset
from ..masks import FACE, region
from ..metrics import frame, mask_hash, versions
from ..stored import load_model
from ..training import train

SMALL = dict(recipe="thesis-scaled", size=32, width=0.25, encoder_width=1.0, deep_width=1.0)
SMALL |= dict(batch=16, perceptual_net="factors", penalty_every=4, precision="bf16")
SMALL |= dict(grid_every=100_000, log_every=50)
TWO_PATHS = dict(own_reader=True, path_b=0.5, prior=1.0, code_noise=0.15)
OUR_NETWORKS = dict(architecture="improved")
_OURS = Config()
_TRAINING = ("lr_g", "lr_d", "beta2", "decay", "ema", "warmup", "ramp")
OUR_LOSSES = {
    **{k: _OURS.objective.weight(k) for k in WEIGHTS if k != "penalty"},  # D has no spectral norm
    **{k: getattr(_OURS.objective, k) for k in ("reduction", "path_b", "code_noise")},
    **{k: getattr(_OURS.optimisation, k) for k in _TRAINING},
    "flip": True,
}
SUSPECTS = {
    "as in the thesis": {},
    "two paths, Q reads the original": TWO_PATHS,
    "no loss that knows the original": dict(perceptual=0.0, matching=0.0),
    "two paths and our networks": OUR_NETWORKS | TWO_PATHS,
    "two paths and our losses": OUR_LOSSES | TWO_PATHS,
    "the improved recipe": dict(recipe="improved"),
}


def run(folder, steps=2500, names=SUSPECTS, faces=64, progress=print, seed=0):
    """Train the named suspects on synthfaces, each in a folder of its own; rows of what they learn.

    A run goes on from its checkpoint; one with all its steps (2,500 of 16 images are 40,000) is
    only measured. Rows: `information_discrete_STEP` and `information_continuous_STEP`, what Q
    knows of a code in nats, log k or log 2 minus the info loss a code (3.16, 3.15), a lower bound
    on the mutual information (0 and -0.18 at chance), over the last 50 steps;
    `visible_change_CODE` on so many test faces; `trace_SOURCE_LAYER` of `control.tracing.traces`.
    Raises RoiganError as `train` does.
    """
    rows = []
    for name in names:
        cfg = load_config("laptop", **SMALL | SUSPECTS[name] | {"steps": steps, "seed": seed})
        place = Path(folder) / f"suspect-{list(SUSPECTS).index(name)}-seed-{seed}"
        done = train(cfg, place, progress=progress)
        gan = load_model(done.folder / "model.safetensors")
        people = open_dataset("synthfaces", "test", cfg.model.size, limit=faces)
        mask = region(cfg.model.size, *FACE)
        shared = {"method": name, "dataset": "synthfaces", "seed": cfg.run.seed}
        shared |= {"config": cfg.hash(), "spread": None, "checkpoint": gan.checkpoint_hash}
        shared |= {"batch": cfg.optimisation.batch, "versions": versions()}
        trained = {"split": "train", "mask_law": cfg.data.mask_family} | shared
        shared |= {"split": "test", "mask_law": "face ellipse", "mask_hash": mask_hash(mask)}
        shared |= {"step": done.rows[-1]["step"], "n": len(people), "n_fake": len(people)}
        codes = cfg.model.n_continuous if cfg.objective.reduction != "relative" else 1
        kinds = {
            "discrete": ("info_d", 1, math.log(cfg.model.n_categories)),
            "continuous": ("info_c", codes, math.log(2)),
        }
        for row in done.rows:
            for kind, (loss, codes, most) in kinds.items():
                metric, value = f"information_{kind}_{row['step']:05d}", most - row[loss] / codes
                rows.append({"metric": metric, "value": value, "step": row["step"], **trained})
        for code, change in visible_change_per_code(gan, people[:], mask).items():
            metric, spread = f"visible_change_{code}", {"spread": change.std().item()}
            rows.append({"metric": metric, "value": change.mean().item(), **shared, **spread})
        for source, layers in traces(gan, people[:], mask).items():
            for layer, share in layers.items():
                rows.append({"metric": f"trace_{source}_{layer}", "value": share, **shared})
    return frame(rows)
