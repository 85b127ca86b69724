"""The thesis' claims of chapters 3 and 4 by experiment: small trainings with and without.

`experiments.toml` lists the claims, `run` makes the rows, `judge` gives verdicts by a rule that was
fixed before any row was made. All trainings are short: a verdict speaks of their first steps only.
"""

import math
import time
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import torch
from torch.nn.functional import softplus

from .. import losses
from ..checks import check_whole
from ..config import ARCHITECTURES, load_config
from ..control import effect_on_factors, ends, sweep
from ..control.disentanglement import dci
from ..data import open_dataset
from ..errors import RoiganError, suggest
from ..files import path_of, read_rows, weights_hash
from ..masks import FACE, region, sample_masks
from ..metrics import check_rows, frame, mask_hash, records, versions, write_rows
from ..metrics.distances import frechet_distance
from ..metrics.features import factor_features, factor_net
from ..metrics.inpainting import border_ratio, diversity, l1_hole
from ..recipes import read_toml
from ..regularizers import style, visible_change
from ..training import Trainer

_FILE = read_toml(Path(__file__).with_suffix(".toml"))
EXPERIMENTS, BASES, SMALL = _FILE["experiments"], _FILE["bases"], _FILE["small"]
PHOTOGRAPHS = ("celeba", "cats", "cars")
STEPS, SEEDS, PEOPLE, IMAGES = 80, 3, 128, 2000


class Posterior:
    """−L_con (3.15) with one covariance for all images, a moving average: full or diagonal."""

    def __init__(self, full):
        self.full, self.covariance = full, None

    def __call__(self, codes, mean, logvar, reduction="sum"):
        k, r = codes.shape[1], codes - mean
        old = torch.eye(k) / 3 if self.covariance is None else self.covariance
        self.covariance = torch.lerp(old, r.detach().T @ r.detach() / len(r), 0.05)
        s = self.covariance if self.full else self.covariance.diag().diag()
        s = s + 0.01 * torch.eye(k)
        nll = ((r @ s.inverse()) * r).sum(1).mean() + s.logdet() + k * math.log(2 * math.pi)
        return 0.5 * nll / (1 if reduction == "sum" else k)


def _hinges(of_d, of_g):
    return patch.multiple(losses, hinge_discriminator=of_d, hinge_generator=of_g)


def _logistic(real, fake):
    return softplus(-real).mean() + softplus(fake).mean()


def _squares(real, fake):
    return (real - 1).square().mean() + fake.square().mean()


# What a recipe has no switch for, such as other rows of table 1.1: {name: makes a context}.
SWAPS = {
    "standard": lambda: _hinges(_logistic, lambda fake: -softplus(fake).mean()),
    "non-saturating": lambda: _hinges(_logistic, lambda fake: softplus(-fake).mean()),
    "least squares": lambda: _hinges(_squares, lambda fake: (fake - 1).square().mean()),
    "Wasserstein": lambda: _hinges(lambda r, f: (f - r).mean(), lambda fake: -fake.mean()),
    "diagonal posterior": lambda: patch.object(losses, "info_continuous", Posterior(False)),
    "full posterior": lambda: patch.object(losses, "info_continuous", Posterior(True)),
}


def plan(arm):
    """(name, data set, number of images, swap, switches of the architecture, configuration) of what
    an arm trains. Arms of equal names and data sets share their trainings.
    """
    arm = {"base": "thesis", "dataset": "synthfaces", "images": IMAGES, "swap": None} | arm
    base, dataset, images, swap = (arm.pop(k) for k in ("base", "dataset", "images", "swap"))
    config = SMALL | BASES[base] | arm
    switches = BASES[base].get("switches", {}) | arm.pop("switches", {})
    names = [base, *(f"{k}={v:g}" for k, v in arm.items())] + [swap] * bool(swap)
    names += [k for k, v in switches.items() if v] + [f"{images} images"] * (images != IMAGES)
    config.pop("switches", None)
    return ", ".join(names), dataset, images, swap, switches, config


@lru_cache(maxsize=8)
def pictures(dataset, split, limit, root=None):
    """A data set, or the squares in a folder that has `train` and `test`, as an ImageSet."""
    squares = root is not None and (Path(root) / "test").is_dir()
    return open_dataset("folder" if squares else dataset, split, SMALL["size"], root, limit=limit)


def measures(trainer, logs, people):
    """{metric: value} of a training, from its log and from test pictures (n, 3, S, S)."""
    gan, n, net = trainer.model(), len(people), factor_net()
    masks, face = sample_masks("elliptic", n, gan.size, seed=7), region(gan.size, *FACE)
    answers = torch.stack([gan.inpaint(people, masks, gan.sample_codes(n, k), k) for k in range(3)])
    done, faces = answers[0], gan.inpaint(people, face, gan.sample_codes(n, 0), 0)
    margin = [log["d_real"] - log["d_fake"] for log in logs if "d_real" in log] or [torch.nan]
    early, late = (
        torch.tensor(margin[: len(margin) // 3 + 1]),
        torch.tensor(margin[len(margin) // 2 :]),
    )
    spread = [(y.std(0) * face[0]).sum().item() for y in (faces, people)]
    rough = [losses.total_variation(y, masks).item() for y in (done, people)]
    stacks = {k: sweep(gan, people[:32], face, ends(gan, k)) for k in range(gan.n_continuous)}
    moved = effect_on_factors(stacks, lambda x: net(x)["continuous"], net.spread)
    effects = torch.stack([effect.mean(0).abs() for effect in moved.values()])
    return {
        "l1_hole": l1_hole(done, people, masks),
        "frechet": frechet_distance(factor_features(people), factor_features(done)),
        "seam": abs(math.log(max(border_ratio(done, people, masks), 1e-6))),  # 0 as in real ones
        "diversity": diversity(answers, masks),
        "variety": spread[0] / spread[1],  # of holes over people: 1 as real, 0 one hole for all
        "roughness": rough[0] / rough[1],  # total variation in the hole, real holes: 1
        "unevenness": abs(math.log(max(rough[0] / rough[1], 1e-6))),
        "detail": rough[1],
        "texture": float(style(net.maps(people), net.maps(done), masks)),
        "control": sum(visible_change(s, face).mean().item() for s in stacks.values())
        / len(stacks),
        "bundling": 1 - dci(effects).disentanglement,
        "onset": early.mean().item(),  # D(real) − D(completed) at first, in the first third
        "lead": late.mean().abs().item(),  # the same in the second half: 0 a draw
        "wobble": late.std().item(),
    }


def name_of(planned, steps, seed):
    """The configuration of a training, and the hash of it and of what it does not hold."""
    cfg = load_config("laptop", **planned[5] | {"steps": steps, "seed": seed})
    return cfg, cfg.hash(*planned[1:5])


def rows_of(planned, seed, steps, root=None):
    """Train a plan: its rows. `share` says how far it came before a loss became NaN, else 1."""
    method, dataset, images, swap, switches, _ = planned
    data, people = (pictures(dataset, *of, root) for of in (("train", images), ("test", PEOPLE)))
    (cfg, name), logs, found = name_of(planned, steps, seed), [], {}
    architecture = patch.dict(ARCHITECTURES[cfg.model.architecture], switches)
    with architecture, SWAPS[swap]() if swap else nullcontext():
        trainer = Trainer(cfg, data, "cpu")
        try:
            for _ in range(steps):
                logs.append(trainer.step())
            found = measures(trainer, logs, people[:])
        except RoiganError:
            pass
    holes = mask_hash(sample_masks("elliptic", len(people), cfg.model.size, seed=7))
    shared = dict(spread=None, method=method, dataset=dataset, split="test", mask_law="elliptic")
    shared |= dict(seed=seed, n=len(people), n_fake=len(people), n_train=len(data), steps=steps)
    shared |= dict(config=name, checkpoint=weights_hash(trainer.ema.state_dict()), mask_hash=holes)
    found["share"] = len(logs) / steps
    return [{"metric": k, "value": v} | shared | {"versions": versions()} for k, v in found.items()]


def run(out, only=None, steps=STEPS, seeds=SEEDS, roots=None, say=print):
    """Make the rows of all experiments, or of the one named, in `out`; the frame of `judge`.

    A training whose rows are there is not repeated, so a stopped run goes on. roots: {"celeba":
    folder, …}; experiments on other photographs are left out, which `say` tells. RoiganError: an
    unknown name, a root without pictures, rows that cannot be read.
    """
    if only is not None and only not in EXPERIMENTS:
        hint = f"{suggest(only, EXPERIMENTS)}choose one of {', '.join(EXPERIMENTS)}"
        raise RoiganError(f"There is no experiment {only!r}; {hint}.")
    steps, seeds = check_whole("steps", steps), check_whole("seeds", seeds)
    roots = {name: root for name, root in (roots or {}).items() if root}
    for name, root in roots.items():
        if not path_of(root, "folder or archive").exists():
            raise RoiganError(f"There is no folder or archive {root} of {name}; check the path.")
    chosen, wanted, lacking = [only] if only else list(EXPERIMENTS), {}, []
    for name in chosen:
        plans = [plan(arm) for arm in EXPERIMENTS[name]["arms"].values()]
        if {p[1] for p in plans} & set(PHOTOGRAPHS) <= roots.keys():
            wanted |= {p[:2]: p for p in plans}
        else:
            lacking.append(name)
    if lacking:
        say(f"Left out: {', '.join(lacking)}; give --celeba, --cats and --cars a folder each.")
    keys = ("method", "dataset", "seed", "config")
    done = (
        {tuple(r.get(k) for k in keys) for r in read_rows(out)} if check_rows(out).exists() else ()
    )
    pairs = [(p, s) for p in wanted.values() for s in range(seeds)]
    todo = [(p, s) for p, s in pairs if (*p[:2], s, name_of(p, steps, s)[1]) not in done]
    for k, (p, seed) in enumerate(todo, 1):
        begin = time.perf_counter()
        write_rows(out, rows_of(p, seed, steps, roots.get(p[1])))
        took = time.perf_counter() - begin
        say(f"{k}/{len(todo)} {p[0]}, {p[1]}, seed {seed}: {took:.0f} s")
    table = judge(read_rows(out) if Path(out).exists() else [], chosen)
    write_rows(out, summaries(table))
    return table


def summaries(table):
    """The lines of `judge` as rows to quote: value and spread of a difference, n seeds, verdict."""
    shared = dict(split="test", mask_law="elliptic", seed=None, reference="paired over seeds")
    return [
        {"metric": f"gap_{line['measure']}", "value": line["gap"], "spread": line["spread"]}
        | {"method": f"{line['experiment']}, {line['first']} - {line['other']}"}
        | {k: line[k] for k in ("n", "same", "verdict")}
        | {"dataset": plan(EXPERIMENTS[line["experiment"]]["arms"][line["first"]])[1], **shared}
        for line in records(table)
        if "gap" in line
    ]


def compared(first, other, sign):
    """The rule, for the values of two arms, a pair for each seed; sign: 1, -1, 0 as in the list.

    An effect is *shown* where all seeds give the difference the same sign and its mean exceeds the
    spread, the arms' pooled standard deviation over seeds. A claim *holds* where an effect of its
    sign is shown, one of no improvement where no fall is shown; else it is *not reproduced*.
    """
    a, b = torch.tensor(first).double(), torch.tensor(other).double()
    gap, spread = (a - b).mean().item(), ((a.var() + b.var()) / 2).sqrt().item()
    same = int(((a - b).sign() == math.copysign(1, gap)).sum())
    shown = math.copysign(1, gap) if same == len(a) and abs(gap) > spread else 0
    word = "holds" if (shown == sign if sign else shown >= 0) else "not reproduced"
    found = {"a": a.mean().item(), "b": b.mean().item(), "gap": gap, "same": same}
    return found | {"spread": spread, "shown": bool(shown), "verdict": word}


def judge(rows, names=EXPERIMENTS):
    """Verdicts: a frame with a line for each comparison of a first arm with another by `compared`.

    A claim of "best" *holds* where each set has one best arm in all seeds, and not all the same.
    Only trainings of equal seed and steps are compared; *no rows*: fewer than three.
    """
    found = {}
    for r in rows:
        if r["value"] is not None and r.get("steps"):  # a training's, not a summary's
            place = found.setdefault((r["method"], r["dataset"], r["metric"]), {})
            place[r["seed"], r["steps"]] = r["value"]
    lines = []
    for name in names:
        row, measure, sign, arms = (
            EXPERIMENTS[name][k] for k in ("row", "measure", "sign", "arms")
        )
        of = {arm: found.get((*plan(kw)[:2], measure), {}) for arm, kw in arms.items()}
        first, *others = of
        for group in [list(of)] if sign == "best" else [[first, other] for other in others]:
            keys = sorted(set.intersection(*(set(of[arm]) for arm in group)))
            line = {"experiment": name, "row": row, "measure": measure, "n": len(keys)}
            if len(keys) < 3:
                line |= {"verdict": "no rows"}
            elif sign == "best":
                line |= _best({arm: [of[arm][key] for key in keys] for arm in group})
            else:
                line |= dict(zip(("first", "other"), group))
                line |= compared(*([of[arm][key] for key in keys] for arm in group), sign)
            lines.append(line)
    return frame(lines)


def _best(of):
    """The verdict over arms named "set, setting": has each set a best of its own?"""
    winners = {}
    for name in dict.fromkeys(arm.split(", ")[0] for arm in of):
        arms = {arm.split(", ")[1]: values for arm, values in of.items() if arm.startswith(name)}
        columns = zip(*arms.values())
        winners[name] = [list(arms)[column.index(min(column))] for column in columns]
    own = all(len(set(best)) == 1 for best in winners.values())
    differ = len({best[0] for best in winners.values()}) > 1
    told = "; ".join(f"{name}: {', '.join(dict.fromkeys(w))}" for name, w in winners.items())
    return {"first": told, "verdict": "holds" if own and differ else "not reproduced"}
