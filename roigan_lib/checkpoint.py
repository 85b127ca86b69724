"""Checkpoints that continue exactly, and the card of a model."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch

from .checks import check_output, check_whole, only_run
from .config import NOT_HASHED, WEIGHTS, Config, load_config, model_config
from .config_checks import flat
from .errors import RoiganError, enough_memory
from .files import WEIGHTS as SHIPPED
from .files import path_of, place, plain_file, read_weights, replacing, weights_hash
from .models.grown import CORE
from .stored import load_model, shipped

FORMAT = "roigan-train-1"
EXACT = ("seed", "batch", "learns")  # with others the steps before and after make no one run
PARTS = "generator discriminator ema reader heads classifier opt_g opt_d".split()


def save(trainer, path: Path) -> None:
    """Write everything a run needs to go on."""
    if not all(p.isfinite().all() for p in trainer.g_params + trainer.d_params):
        raise RoiganError(
            f"The weights became NaN at step {trainer.step_count}; the last checkpoint is intact: "
            f"continue with a lower lr_g and lr_d, or with precision='fp32'."
        )
    state = {"format": FORMAT, "config": asdict(trainer.cfg), "step": trainer.step_count}
    state |= {"seconds": trainer.seconds, "data": trainer.data.fingerprint}
    state |= {"started_from": trainer.started_from, "changed": trainer.changed}
    for name in PARTS:
        part = getattr(trainer, name)
        state[name] = part.state_dict() if part else {}
    with replacing(path) as scratch:
        torch.save(state, scratch)


def read(path, start=False, device="cpu") -> dict:
    """The state that a checkpoint holds; with start `path` may be the name of a shipped model.

    RoiganError for a missing, damaged or foreign file.
    """
    if start and not path_of(path, "checkpoint").exists() and str(path) in shipped():
        return _shipped_state(str(path))
    given = f"give the checkpoint.pt of a run, or one of {', '.join(shipped())}, which ship"
    path = plain_file(path, "checkpoint", given)
    try:
        state = torch.load(path, weights_only=True, map_location=device)
    except OSError as error:
        raise RoiganError(
            f"{path} cannot be read: {error.strerror or error}; give yourself the right to."
        ) from None
    except Exception:
        raise RoiganError(
            f"{path} is damaged and cannot be continued; remove it to train from the start."
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RoiganError(
            f"{path} is not a training checkpoint of this kit; remove it or choose another folder."
        )
    try:
        model_config(state["config"]), check_whole("step", state["step"], 0)
        about = flat(state["config"])
        _ = about["dataset"], about["batch"], state["data"], float(state["seconds"])
        _ = [v.shape for part in ("generator", "ema") for v in state[part].values()]
    except Exception:
        raise RoiganError(
            f"{path} lacks a part of a checkpoint, or has another in its place; remove it to train "
            "from the start."
        ) from None
    return state


def load(trainer, path, start: bool = False) -> None:
    """Continue from a checkpoint of the same configuration. RoiganError where it does not fit.

    start: take the networks alone, whatever images they were trained on, and count from 0; the
    run may have more continuous codes, which then begin as in an untrained network.
    """
    state = read(path, start, trainer.device)
    about, ours = flat(state["config"]), flat(asdict(trainer.cfg))
    theirs, ours_model = model_config(state["config"]), trainer.cfg.model
    theirs, model = asdict(_grown(theirs, ours_model) if start else theirs), asdict(ours_model)
    if start and theirs["n_continuous"] < model["n_continuous"]:
        _add_codes(trainer, state, theirs["n_continuous"])
        theirs["n_continuous"] = model["n_continuous"]
    found = [(k, theirs[k], v) for k, v in model.items() if theirs[k] != v]
    if not start:
        if state["data"] != trainer.data.fingerprint:
            found.append(("data", state["data"], trainer.data.fingerprint))
        heads = about.get("projected", 0.0), ours.get("projected", 0.0)
        found += [("projected", *heads)] * ((heads[0] > 0) != (heads[1] > 0))
        differ = _differing(trainer.cfg, about)
        fixed = EXACT + ("perceptual_net",) * bool(trainer.heads)
        found += [(k, *differ[k]) for k in fixed if k in differ]
        by_steps = trainer.limit or not ours["stop_after_minutes"]  # GLCIC's may go by minutes
        if not found and by_steps and state["step"] > ours["steps"]:
            raise RoiganError(
                f"{path} has {state['step']} steps already and this run asks for "
                f"steps={ours['steps']}; give more, or another output folder."
            )
    if not start or (trainer.classifier and state.get("classifier")):
        labels = about.get("labels"), ours["labels"]
        found += [("labels", *labels)] * (labels[0] != labels[1])
    if found:
        k, old, new = found[0]
        way = "choose another output folder or start with fresh=True"
        way = f"leave {k} out, or start from another model" if start else way
        raise RoiganError(
            f"{path} was trained with {k}={old!r}, this run asks for {k}={new!r}; {way}."
        )
    try:
        for name in ("generator", "discriminator", "ema", "reader"):
            if getattr(trainer, name) and (name in state or not start):
                _fill(getattr(trainer, name), state[name], start)
        same = about.get("perceptual_net") == ours["perceptual_net"]
        if trainer.heads and state.get("heads") and same:  # without them, a start begins new ones
            trainer.heads.load_state_dict(state["heads"])
        if trainer.classifier and state.get("classifier"):
            trainer.classifier.load_state_dict(state["classifier"])
        if not start:
            trainer.opt_g.load_state_dict(state["opt_g"])
            trainer.opt_d.load_state_dict(state["opt_d"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError):
        raise RoiganError(
            f"{path} holds networks of another version of the kit; choose another output folder or "
            f"start with fresh=True."
        ) from None
    if start:
        seen = state.get("images_seen", state["step"] * about["batch"])
        before, weights = state.get("started_from"), weights_hash(state["generator"])
        trainer.started_from = {"dataset": about["dataset"], "steps": state["step"]}
        trainer.started_from |= {"seconds": round(state["seconds"]), "images_seen": seen}
        trainer.started_from |= {"weights": weights, "before": before}
        return
    trainer.step_count, trainer.seconds = state["step"], state["seconds"]
    trainer.started_from = state.get("started_from")
    now = [f"{k} {old} → {new} at step {state['step']}" for k, (old, new) in differ.items()]
    before = state.get("changed")
    trainer.changed = [str(b) for b in before] + now if isinstance(before, list) else now


def _differing(cfg, about) -> dict:
    """{setting: (then, now)} of what a checkpoint's flat configuration has otherwise, less the
    architecture and what no step depends on; a field that it does not know had its default.
    """
    default = {k: v for k, v in flat(asdict(Config())).items() if k not in WEIGHTS} | about
    pairs = {k: (default.get(k, 0.0), v) for k, v in flat(asdict(cfg)).items()}
    left_out = (*NOT_HASHED, *vars(cfg.model))
    return {k: (a, b) for k, (a, b) in pairs.items() if a != b and k not in left_out}


def _grown(theirs, ours):
    """The architecture of a start, with the shells that the run's generator lays around it."""
    if ours.architecture == "grown" and ours.size > theirs.size >= CORE:
        return replace(theirs, architecture="grown", size=ours.size)
    return theirs


def _fill(network, state, start) -> None:
    """Load weights; the shells of a network that starts from a smaller one stay as they began."""
    lacks = network.load_state_dict(state, strict=not start).missing_keys
    if any(not key.startswith(("shells", "outer", "fade")) for key in lacks):
        raise RuntimeError("keys are missing")


def _add_codes(trainer, state, old: int) -> None:
    """Give networks of `old` continuous codes the columns of the trainer's; Q begins anew."""
    for part in ("generator", "ema"):
        own = getattr(trainer, part).state_dict()
        state[part] = with_codes_of(own, state[part], trainer.cfg.model, old)
    state.pop("reader", None)


def with_codes_of(own, state, cfg, old: int) -> dict:
    """A generator's weights for `old` continuous codes, with the columns of `own` for the others of
    cfg, the architecture of `own`.
    """
    first, added = cfg.n_noise + old, cfg.n_continuous - old
    if not added:
        return state
    mine, kept = own["dense.0.weight"], state["dense.0.weight"]
    columns = kept[:, :first], mine[:, first : first + added], kept[:, first:]
    return state | {"dense.0.weight": torch.cat(columns, 1)}


def with_start(cfg):
    """The configuration with the architecture of the checkpoint, or shipped model, it starts from.

    RoiganError where the configuration itself asks for another one.
    """
    state = read(cfg.run.start, start=True)
    theirs = _grown(model_config(state["config"]), cfg.model)
    default = load_config(cfg.run.profile, recipe=cfg.run.recipe).model
    for name, new in asdict(cfg.model).items():
        old = getattr(theirs, name)
        if name == "n_continuous" and new > old:
            theirs = replace(theirs, n_continuous=new)
        elif new not in (old, getattr(default, name)) or name == "architecture" and new != old:
            raise RoiganError(
                f"{cfg.run.start} was trained with {name}={old!r}, this run asks for "
                f"{name}={new!r}; leave {name} out, or start from another model."
            )
    return cfg.replace(**asdict(theirs))


def _shipped_state(name):
    """A shipped model as a checkpoint holds it, with the networks that learned beside it where they
    ship as well; where not, a start begins them anew.
    """
    model, parts = load_model(name), {"heads": {}}
    beside = SHIPPED / "training" / f"{name}.safetensors"
    kept = read_weights(beside, None, "the networks of a training")[0] if beside.is_file() else {}
    for key, value in kept.items():
        part, _, layer = key.partition(".")
        parts.setdefault(part, {})[layer] = value
    weights, card = model.generator.state_dict(), model.card
    config = flat(card["training"]) | {"dataset": card["dataset"]}
    state = {"format": FORMAT, "config": config, "step": card["steps"], "seconds": card["seconds"]}
    state |= {"images_seen": card["images_seen"], "generator": weights, "ema": weights}
    return state | parts


@contextmanager
def own_folder(folder):
    """Hold a run's folder, as `only_run` does, after a look whether all its files can be written;
    what a killed process left half-written goes.
    """
    files = "checkpoint.pt", "log.jsonl", "model.safetensors"
    for name in files:
        check_output(folder / name)
    # a training learns, whatever its caller has switched off
    learning = torch.inference_mode(False), torch.enable_grad()
    with only_run(folder), enough_memory("batch, size or width"), learning[0], learning[1]:
        for name in files:
            for left in folder.glob(f".{name}.*.tmp"):
                left.unlink()
        yield


def run_folder(cfg: Config, folder=None) -> Path:
    """Where a run lives: $ROIGAN_RUNS (default runs/ in the repository) / <profile>-<dataset>,
    or the folder that is given. RoiganError where that is no path.
    """
    own = place("ROIGAN_RUNS", "runs") / f"{cfg.run.profile}-{cfg.data.dataset}"
    return path_of(own if folder is None else folder, "folder")


def card(trainer) -> dict:
    """What a reader of the weights should know: data, steps, seconds, configuration."""
    cfg, data, start = trainer.cfg, trainer.data, trainer.started_from
    cuda = trainer.device.type == "cuda"
    threads = f"{torch.get_num_threads()} CPU threads"
    found = {
        "dataset": cfg.data.dataset,
        "data": data.fingerprint,
        "images": len(data),
        "steps": trainer.step_count,
        "images_seen": trainer.step_count * cfg.optimisation.batch,
        "seconds": round(trainer.seconds),
        "config_hash": cfg.hash(data.fingerprint, (start or {}).get("weights")),
        "training": asdict(cfg.replace(root=None, perceptual_weights=None, start=None)),
        "precision": trainer.precision,
        "machine": torch.cuda.get_device_name(trainer.device) if cuda else threads,
        "torch": torch.__version__,
    }
    if trainer.classifier is not None:
        found["label_shares"] = [round(s, 4) for s in trainer.batches.labels.shares.tolist()]
    found |= {"changed": trainer.changed} if trainer.changed else {}
    return found | ({"started_from": start} if start else {})
