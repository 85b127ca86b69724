"""One row in place of those that differ by the training's seed alone: mean, spread and number."""

from math import isfinite
from statistics import fmean, stdev

from ..config_checks import flat
from .rows import KEY, frame, records

SAME = ("recipe", "profile", "train_steps")  # beside KEY: what else has to agree


def trained(gan):
    """What a row says of the training of the model measured: recipe, profile, steps and seed."""
    card = getattr(gan, "card", None) or {}
    run = flat(card.get("training") or {})
    named = {"recipe": run.get("recipe"), "profile": run.get("profile")}
    return named | {"train_steps": card.get("steps"), "train_seed": run.get("seed")}


def over_seeds(rows):
    """A frame of means over seeds: value, spread (standard deviation, n − 1; None of one), n_seeds.

    rows: a DataFrame or dictionaries, of models trained with several seeds, told apart by
    `train_seed`, or where rows have none by `seed`, as those of `roigan experiments`. Of rows of
    one seed the last counts; rows without a value are left out. The method names recipe and
    profile, so that the rows of a whole grid stand in one file.
    """
    groups = {}
    for row in records(rows, "metric", "method"):
        if row.get("value") is not None and isfinite(row["value"]):
            axis = "train_seed" if row.get("train_seed") is not None else "seed"
            same = tuple(row.get(k) for k in (*KEY, *SAME) if k != axis)
            groups.setdefault(same, {})[row.get(axis)] = row
    found = []
    for of in groups.values():
        row, values = next(iter(of.values())), [r["value"] for r in of.values()]
        kept = {k: row.get(k) for k in (*KEY, *SAME)}
        names = [str(row[k]) for k in ("method", "recipe", "profile") if row.get(k) is not None]
        spread = stdev(values) if len(values) > 1 else None
        told = {"method": ", ".join(names), "seed": None, "value": fmean(values), "spread": spread}
        found.append(kept | told | {"n_seeds": len(values), "seeds": list(of)})
    return frame(found)
