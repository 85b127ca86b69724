"""A shipped model is what one recipe file makes: its stages one after the other, and their mean."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch

from . import parallel
from .checkpoint import load, read, with_codes_of
from .config import Config, load_config
from .config_checks import flat
from .data.labels import check_labels, label_names
from .errors import RoiganError, suggest
from .files import place, read_rows
from .recipes import PARTS, read_recipe, recipe_names
from .stored import load_model, save_model, shipped
from .training import Run, Trainer, run_folder, train

BY_HAND = "made by hand, not repeatable"
STEER = [0.1, 1.0, 0.2]  # stiff, spill, real of a told slider that [steer] does not name


def stages(recipe: str, profile: str | None = None, **overrides) -> list[tuple[str, Config]]:
    """The stages of a recipe, by name, each with its configuration: [("all", …)] where it has one.

    A stage is the recipe with the stage's own tables over it; the overrides count in all of them.
    """
    tables = read_recipe(recipe)
    profile = profile or tables.get("profile", "laptop")
    cfg = load_config(profile, recipe=recipe, **overrides)
    found = [("all", cfg)]
    if "stages" in tables:
        found = []
        for n, stage in enumerate(tables["stages"], 1):
            own = {k: v for part in PARTS for k, v in stage.get(part, {}).items()}
            weights = own.pop("weights", {})
            config = load_config(profile, **{"recipe": recipe} | own | weights | overrides)
            found.append((f"{n}-{stage.get('name', 'stage')}", config))
    return found


def recipe_hash(recipe: str, profile: str | None = None, **overrides) -> str:
    """Twelve hex digits that name what a recipe makes: its stages, their average, the stretch."""
    named = [[name, cfg.hash()] for name, cfg in stages(recipe, profile, **overrides)]
    parts, longer = [named, read_recipe(recipe).get("average", [])], stretch(recipe)
    text = json.dumps([*parts, longer] if longer else parts)  # older cards' hashes stay
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stretch(recipe: str) -> dict[str, float]:
    """By how much the finished model lengthens sliders: {label, or c11 …: number from 1 to 2}.

    Position 1 of such a slider acts as that number did in training. RoiganError for a name that is
    no slider of the recipe and for another value.
    """
    if not (found := read_recipe(recipe).get("stretch")):
        return {}
    _, cfg = stages(recipe)[-1]
    labels = label_names(cfg.objective.labels)
    labels += [f"c{k}" for k in range(len(labels) + 1, cfg.model.n_continuous + 1)]
    for name, value in found.items():
        if name not in labels:
            raise RoiganError(
                f"The recipe {recipe} stretches a slider {name!r}; {suggest(name, labels)}its "
                f"sliders are {', '.join(labels)}."
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 2:
            raise RoiganError(f"stretch of {name} is {value!r}; it is a number from 1 to 2.")
    return {name: float(found.get(name, 1)) for name in labels}


def steering_trainer(recipe, networks=None, root=None, device="cpu"):
    """What `control.steering.steer` asks: the Trainer of a recipe with told sliders, its networks
    loaded, and the recipe's [steer] as three lists, stiff, spill and real of each slider.

    networks: the checkpoint.pt of a run; None takes those that ship with the model of that name.
    RoiganError: a recipe without labels, a name that is no label of it, other than three numbers.
    """
    _, cfg = stages(recipe, **({"root": root} if root else {}))[-1]
    labels, given = label_names(cfg.objective.labels), read_recipe(recipe).get("steer", {})
    if not labels:
        raise RoiganError(f"The recipe {recipe} has no told sliders to steer: give it labels.")
    for name, costs in given.items():
        if name not in labels:
            raise RoiganError(
                f"The recipe {recipe} steers a slider {name!r}; {suggest(name, labels)}its told "
                f"sliders are {', '.join(labels)}."
            )
        right = isinstance(costs, list) and [type(v) in (int, float) for v in costs] == [True] * 3
        if not right or not 0 <= min(costs) <= max(costs) <= 100:
            raise RoiganError(
                f"steer of {name} is {costs!r}; give [stiff, spill, real], from 0 to 100."
            )
    off = ("perceptual", "perceptual_prior", "projected", "style", "siblings", "apart", "faint")
    start = str(networks or recipe)
    trainer = Trainer(
        cfg.replace(start=start, precision="fp32", **dict.fromkeys(off, 0)), None, device
    )
    load(trainer, start, start=True)
    return trainer, *map(list, zip(*(given.get(name, STEER) for name in labels)))


def make(
    recipe,
    folder=None,
    profile=None,
    progress=print,
    fresh=False,
    device=None,
    data=None,
    **overrides,
) -> Run:
    """Train a recipe through all its stages, or go on after a stop; the Run of the last one.

    folder (default runs/<profile>-<dataset>): the model, and a folder of its own for each of
    several stages. A stage begins with the networks of the one before, unless it names a `start`.
    The card has the recipe's name and hash. Raises RoiganError as `train` does.
    """
    parts, longer = stages(recipe, profile, **overrides), stretch(recipe)
    for _, cfg in parts if data is None else ():
        check_labels(cfg)  # those of a later stage too
    folder = run_folder(parts[0][1], folder)
    folders = {}
    for wanted in read_recipe(recipe).get("average", []):
        named = [name for name, _ in parts if name.partition("-")[2] == wanted]
        if not named:
            names = [name.partition("-")[2] for name, _ in parts]
            raise RoiganError(
                f"The recipe {recipe} averages a stage {wanted!r}; {suggest(wanted, names)}its "
                f"stages are {', '.join(names)}."
            )
        folders[wanted] = folder / named[0]
    run, before = None, None
    for name, cfg in parts:
        if before and not cfg.run.start:
            cfg = cfg.replace(start=str(before))
        place_of = folder if len(parts) == 1 else folder / name
        if progress and len(parts) > 1:
            progress(f"stage {name}")
        run = train(cfg, place_of, data, progress, fresh, device)
        before = place_of / "checkpoint.pt"
        if not run.finished:
            return run
    state, states = run.model.generator.state_dict(), []
    for found in (read(f / "checkpoint.pt") for f in folders.values()):
        fewer = flat(found["config"])["n_continuous"]  # a stage may have had fewer codes
        states.append(with_codes_of(state, found["ema"], cfg.model, fewer))
    if states:
        state = {k: torch.stack([s[k].float() for s in states]).mean(0) for k in states[0]}
    if longer:  # the columns of z that the sliders fill
        weight = state["dense.0.weight"].clone()
        sliders = slice(cfg.model.n_noise, cfg.model.n_noise + len(longer))
        weight[:, sliders] *= torch.tensor(list(longer.values()))
        state = state | {"dense.0.weight": weight}
    if parallel.rank() > 0:
        return run
    named = {"name": Path(recipe).stem, "hash": recipe_hash(recipe, profile, **overrides)}
    card = run.model.card | {"recipe": named}
    if cfg.optimisation.learns == "shells" and cfg.run.start in shipped():
        state = {k: v for k, v in state.items() if k.startswith(("shells", "fade"))}
        card["core"] = {"name": cfg.run.start, "weights": load_model(cfg.run.start).checkpoint_hash}
    path = save_model(state, run.model.config, folder / "model.safetensors", card)
    return Run(load_model(path), folder, run.rows, True)


def repeatable(gan) -> str:
    """How a model's recipe stands: "recipe celeba_thesis, …" or that it was made by hand.

    A card of before recipes had hashes agrees where each value that it recorded is the recipe's.
    """
    if gan.name not in recipe_names():
        return BY_HAND
    now, named = recipe_hash(gan.name), gan.card.get("recipe")
    if named:
        return f"recipe {gan.name}, {'agrees' if named['hash'] == now else 'changed since'}"
    (_, cfg), *more = stages(gan.name)
    ours, theirs = flat(asdict(cfg)), flat(gan.card["training"])
    skipped = {"recipe", "architecture", *(k for k in theirs if k not in ours)}
    same = all(ours[k] == v for k, v in theirs.items() if k not in skipped)
    return f"recipe {gan.name}, {'agrees' if same and not more else 'changed since'}"


def check(names) -> tuple[list[dict], bool]:
    """For each shipped model: recipe, weights, rows; and whether all of them agree."""
    files = sorted(place("ROIGAN_FIGURES", "figures").glob("*.jsonl"))
    marks = [str(row.get("checkpoint")) for path in files for row in read_rows(path)]
    counted = Counter(mark.partition("+")[0] for mark in marks)  # "+mirror": a self-ensemble
    found = []
    for name in names:
        gan = load_model(name)
        found.append(
            {
                "model": name,
                "weights": gan.checkpoint_hash,
                "data": gan.card.get("dataset"),
                "images seen": gan.card.get("images_seen"),
                "recipe": repeatable(gan),
                "rows": counted[gan.checkpoint_hash],
            }
        )
    wrong = [r["model"] for r in found if r["recipe"].endswith("since") or not r["rows"]]
    return found, not wrong
