"""Told sliders, steered after training: where among the codes the two ends of each lie.

Jahanian et al. 2020 learn ways through the latent space of a finished generator that do what a
loss asks for. Here the classifier that taught the sliders asks for its own reading at the end of
one, the others' where they were; nothing of the model changes.
"""

import dataclasses
import hashlib

import torch
from torch.nn import functional as F

from ..checks import check_codes, check_seed, check_whole, numbers
from ..errors import RoiganError
from ..files import WEIGHTS, named, read_weights, trouble, write_weights
from ..inpainter import sample_codes
from ..losses import complete
from ..stored import load_model

STEERING = WEIGHTS / "steering"
FORMAT = "roigan-steering-1"
FACES = 4  # images a step; each shows every slider once
RATE = 0.04  # of Adam, which falls to a thirtieth over the steps
AT_REST = 0.7  # in this share of images the other told sliders are at 0
DRAWN = 0.6  # how far told sliders go where nobody sets them: chosen on 500 valid faces
LONGEST = 1.6  # the length of an end beyond which what a grown model draws frays


@dataclasses.dataclass(frozen=True)
class Steering:
    """ends (2, k, n_continuous): the model's continuous codes at +1 and at -1 of k told sliders;
    about: of which model, and how they were found.
    """

    ends: torch.Tensor
    about: dict = dataclasses.field(default_factory=dict)

    def save(self, path):
        """Write it to `path` (.safetensors), for `load_steering`; the path, or RoiganError."""
        return write_weights(path, {"ends": self.ends}, format=FORMAT, about=self.about)


def load_steering(name_or_path):
    """The `Steering` of a shipped model, or one saved to a path; RoiganError: missing, broken or
    foreign file.
    """
    path = named(name_or_path, STEERING, "file of steering")
    if trouble(path):
        ship = ", ".join(sorted(p.stem for p in STEERING.glob("*.safetensors")))
        raise RoiganError(
            f"There is no file of steering at {path}: write one by `roigan steer` or "
            f"Steering.save(); those of {ship} ship."
        )
    state, header = read_weights(path, FORMAT, "steering of this kit")
    ends = state.get("ends", torch.empty(0))
    if ends.ndim != 3 or len(ends) != 2 or not ends.isfinite().all():
        raise RoiganError(f"{path} holds no steering of this kit: write it by Steering.save().")
    return Steering(ends, header.get("about", {}))


def steered(gan):
    """A model with the steering that ships for it, its own or that of the model that it grew
    around; the model itself where none does.

    Around a grown model lie blocks that know the codes as they were drawn: its ends are cut off.
    """
    core = gan.card.get("core", {"name": gan.name, "weights": gan.checkpoint_hash})
    path = STEERING / f"{core['name']}.safetensors"
    found = load_steering(path) if path.is_file() else None
    if found is None or found.about["model"] != core["weights"]:
        return gan
    if gan.config.architecture == "grown":
        lengths = found.ends.norm(dim=2, keepdim=True)
        found = dataclasses.replace(found, ends=found.ends * (LONGEST / lengths).clamp_max(1))
    return Steered(gan, found)


def load_steered(name, device="cpu"):
    """The shipped model of that name with its told sliders steered; RoiganError: it has none."""
    gan = steered(load_model(name, device))
    if not isinstance(gan, Steered):
        raise RoiganError(f"There is no file of steering for {name}: write one by `roigan steer`.")
    return gan


def steer(gan, trainer, stiff, spill, real, steps=300, progress=None):
    """The `Steering` of a model's k told sliders, found by Adam: each step moves one end of each.

    trainer: a `Trainer` whose classifier, discriminator and batches of labelled images are used;
    stiff, spill, real (k,): what it costs each slider's ends to lie away from its own code, to move
    other labels, to look unreal. The loss of an end is the square of what the classifier's logit
    lacks of it (`labelled.ends`), in half spans; stiff times the square of the way; spill times
    the squares of how far other labels' probabilities move; real times D's hinge. What the
    classifier reads counts as far as the hole shows its place (`Batches.asked`). RoiganError: a
    trainer without a classifier, numbers that are too few or negative.
    """
    if trainer.classifier is None:
        raise RoiganError("This run has no classifier: steer a model that was trained with labels.")
    labels, n = trainer.batches.labels.values.shape[1], gan.n_continuous
    about = {"model": gan.checkpoint_hash, "steps": check_whole("steps", steps)}
    about |= (costs := {"stiff": stiff, "spill": spill, "real": real})
    for name in costs:
        costs[name] = numbers(name, about[name]).float().to(trainer.device)
        if costs[name].shape != (labels,) or not (costs[name] >= 0).all():
            raise RoiganError(f"{name} is {about[name]}; give {labels} numbers, one a slider.")
    low, high = trainer.ends
    goals, span = torch.stack([high, low]), (high - low) / 2
    networks = gan.generator, trainer.classifier, trainer.discriminator
    were = [(net.training, [p.requires_grad for p in net.parameters()]) for net in networks]
    for net in networks:
        net.eval().requires_grad_(False)
    own = torch.eye(n, device=trainer.device)[:labels]
    rest = torch.stack([own, -own])
    ends = torch.nn.Parameter(rest.clone())
    adam = torch.optim.Adam([ends], lr=RATE, betas=(0.8, 0.99))
    k, rows = torch.arange(labels), torch.arange(labels).repeat_interleave(FACES)
    try:
        for step in range(steps):
            adam.param_groups[0]["lr"] = RATE * (1 - 29 / 30 * step / steps)
            batch = trainer.batches.draw(step)
            side = torch.randint(2, (labels,), generator=trainer.batches.random(step))
            x, m = (t[:FACES].repeat(labels, 1, 1, 1) for t in (batch.images, batch.masks))
            codes, noise = batch.codes[:FACES].clone(), batch.noise[:FACES]
            codes[batch.alpha[:FACES].flatten() < AT_REST, :labels] = 0
            with torch.no_grad():
                features = gan.generator.features_of(x, m)
            moved = codes.repeat(labels, 1)
            moved[range(len(moved)), rows] = 0
            before = _drawn(gan, features, x, m, moved, noise)
            moved = torch.cat([moved[:, :n] + ends[side, k][rows], moved[:, n:]], 1)
            done = _drawn(gan, features, x, m, moved, noise)
            lacks, found = _lacks(trainer, done, before, m, rows, side[rows], goals, span)
            found["stiff"] = (ends - rest)[side, k].square().sum(1)[rows]
            loss = (lacks + sum(costs[name][rows] * found[name] for name in costs)).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            if progress and (step + 1) % 20 == 0:
                progress(f"step {step + 1}/{steps}  loss {loss.item():.3f}")
    finally:
        for net, (training, learning) in zip(networks, were):
            net.train(training)
            for p, value in zip(net.parameters(), learning):
                p.requires_grad_(value)
    return Steering(ends.detach().cpu().half().float(), about)  # as a file keeps them


def _drawn(gan, features, x, m, codes, noise):
    """Completed images (n, 3, S, S) for rows of codes; noise (FACES, n_noise) is told in turn."""
    z = gan.generator.join_codes(codes, noise.repeat(len(codes) // len(noise), 1))
    return complete(gan.generator.decode(features, m, z), x, m)


def _lacks(trainer, done, before, m, rows, side, goals, span):
    """The squares of what the classifier lacks (n,); what moves besides and D's hinge, by name."""
    asked, every = trainer.batches.asked(m), range(len(rows))
    with torch.no_grad():
        was = trainer.classifier(before, m).sigmoid()
    logits = trainer.classifier(done, m)
    lacks = (goals[side, rows] - logits[every, rows]) * torch.where(side == 0, 1, -1)
    others = (asked * (logits.sigmoid() - was).square()).scatter(1, rows[:, None], 0).sum(1)
    unreal = F.relu(1 - trainer.discriminator(done, m)[0].float()).flatten(1).mean(1)
    lacks = asked[every, rows] * (lacks.relu() / span[rows]).square()
    return lacks, {"spill": others, "real": unreal}


class Steered:
    """A model whose first k sliders, the told ones, go where the steering says; all else is the
    model's. A told slider at t lies t of the way from 0 to its end; several add up, and together go
    no farther than the longest end. RoiganError: steering of another model.
    """

    reach = 1.0  # how far the explorer lets sliders go

    def __init__(self, gan, steering):
        _, k, n = steering.ends.shape
        if n != gan.n_continuous or k > n:
            raise RoiganError(
                f"This steering is of {k} sliders among {n} codes; the model has "
                f"{gan.n_continuous}: steer it by itself."
            )
        self.gan, self.steering = gan, steering
        digits = hashlib.sha256(steering.ends.contiguous().numpy().tobytes()).hexdigest()[:6]
        self.checkpoint_hash = f"{gan.checkpoint_hash}+{digits}"

    def __getattr__(self, name):
        return getattr(self.__dict__["gan"], name)

    def sample_codes(self, n, seed=0):
        """As the model's, but the told sliders from U(-0.6, 0.6): (n, n_codes)."""
        rows, k = self.gan.sample_codes(n, seed), self.steering.ends.shape[1]
        drawn = sample_codes(self.gan.config, n, torch.Generator().manual_seed(check_seed(seed)))
        return torch.cat([drawn[:, :k] * DRAWN, rows[:, k:]], 1)

    def inpaint(self, images, masks, codes=None, seed=0, noise=None, reach=1.0):
        """Completed images (n, 3, S, S) as the model's; codes place sliders, up to `reach`."""
        n = len(images) if images.ndim == 4 else 1
        codes = self.sample_codes(n, seed) if codes is None else codes
        rows, k = check_codes(codes, n, self.gan.config, reach), self.steering.ends.shape[1]
        own = rows.clone()
        own[:, :k] = 0
        up, down = self.steering.ends
        told = rows[:, :k].clamp_min(0) @ up + rows[:, :k].clamp_max(0).neg() @ down
        farthest = self.steering.ends.norm(dim=2).max()
        shorter = (farthest / told.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1)
        own[:, : told.shape[1]] += shorter * told
        return self.gan.inpaint(images, masks, own, seed, noise, reach=999)
