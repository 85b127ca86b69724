"""The training loop (thesis 3.8): one loop for every recipe, profile and data set.

All randomness of a step (masks, codes, noise, mirrored images) comes from (seed, step), and the
data order from (seed, epoch); a checkpoint therefore continues exactly, with no generator states to
store. What a step minimises stands in `objective`.
"""

from __future__ import annotations

import copy
import signal
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path

import torch

from . import checkpoint, labelled, objective, parallel, precision, released
from .batches import Batches
from .checkpoint import run_folder
from .checks import check_calls, check_device, check_images, on_signals, whole_step
from .config import Config, check_config, load_config
from .data.labels import training_images
from .errors import RoiganError, shown
from .inpainter import RoIGAN
from .journal import Journal
from .models import Classifier, ProjectedHeads, Reader, networks
from .perceptual import PerceptualNet
from .stored import save_model


@dataclass
class Run:
    """What `train` returns: model (EMA weights), folder, log rows, whether all steps were made."""

    model: RoIGAN
    folder: Path
    rows: list
    finished: bool


class Trainer:
    """Networks, optimizers and one `step`. Use `train` unless you want to look inside."""

    shown = ("d", "g", "l1_hole", "perceptual", "info_c", "info_d")  # in a line of progress
    has_codes = True
    marks = {}  # what every log row says beside the losses
    changed = []  # settings that another part of the run had otherwise, a line each

    def __init__(self, cfg: Config, data=None, device=None):
        self.begin(cfg, data, device)
        o, opt = cfg.objective, cfg.optimisation
        self.objective = released if cfg.model.architecture == "published" else objective
        generator, discriminator = networks(cfg.model)
        self.generator = self.put(generator(cfg.model))
        self.discriminator = self.put(discriminator(cfg.model))
        self.reader = self.put(Reader(cfg.model)) if cfg.model.own_reader else None
        self.ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        q = (self.reader or self.discriminator.q).parameters()
        self.g_params = [*self.generator.parameters(), *q]
        ids = {id(p) for p in self.g_params}
        self.d_params = [p for p in self.discriminator.parameters() if id(p) not in ids]
        self.perceptual = self.heads = None
        if o.weight("perceptual") and o.perceptual_net != "none":
            self.perceptual = PerceptualNet(o.perceptual_net, o.perceptual_weights).to(self.device)
        if o.weight("projected"):
            size = cfg.model.size
            maps = self.perceptual(torch.zeros(1, 3, size, size, device=self.device))
            self.heads = self.put(ProjectedHeads([y.shape[1:3] for y in maps]))
            self.d_params += self.heads.parameters()
        self.classifier = None
        if o.weight("label"):
            self.classifier = self.put(Classifier(cfg.model, len(self.batches.labels.shares)))
            self.classifier.eval().requires_grad_(opt.learns == "classifier")
        if opt.learns in ("reader", "classifier"):
            self.g_params = list(getattr(self, opt.learns).parameters())
        if opt.learns == "shells":
            for network in filter(None, (self.generator, self.reader)):
                network.requires_grad_(False)
            self.g_params = list(self.generator.shells.requires_grad_(True).parameters())
        adam = dict(betas=(0.5, opt.beta2), fused=True)  # 0.5 as in DCGAN
        self.opt_g = torch.optim.Adam(self.g_params, lr=opt.lr_g, **adam)
        self.opt_d = torch.optim.Adam(self.d_params, lr=opt.lr_d, **adam)

    def begin(self, cfg, data, device):
        """What every trainer has: device, precision, data, counters, a seed that is set."""
        self.cfg, self.device = check_config(cfg), check_device(device)
        self.precision, self.remark = precision.decide(cfg.optimisation.precision, self.device)
        size, batch = cfg.model.size, cfg.optimisation.batch
        self.data = check_images(training_images(cfg) if data is None else data, size)
        if len(self.data) < batch:
            raise RoiganError(
                f"The data set has {len(self.data)} images, fewer than one batch of {batch}; add "
                f"images or lower batch."
            )
        self.batches = Batches(cfg, self.data, self.device)
        self.step_count, self.seconds, self.started_from = 0, 0.0, None
        self.limit = 60 * cfg.run.stop_after_minutes  # seconds of this process
        torch.manual_seed(cfg.run.seed)

    def put(self, network):
        """A network on the device, channels last."""
        return network.to(device=self.device, memory_format=torch.channels_last)

    ends = cached_property(labelled.ends)

    def through(self, batch):
        """The `objective.Step` of a batch."""
        n_a = self.batches.n_a // parallel.size()
        return objective.Step(self.cfg, self, batch, n_a, self.precision)

    # -- one step -------------------------------------------------------------------------------
    def rate(self) -> float:
        """Learning-rate factor: 1, then a linear fall to 0.02 over the last `decay` of the run."""
        opt = self.cfg.optimisation
        left = (opt.steps - self.step_count) / opt.steps
        return 1.0 if left >= opt.decay else 0.02 + 0.98 * left / opt.decay

    def ramp(self) -> float:
        """Share of the adversarial terms: 0 in the warm-up, in which D does not run, then to 1."""
        opt = self.cfg.optimisation
        done = self.step_count + 1 - opt.warmup * opt.steps
        return min(1.0, max(0.0, done / max(1, opt.ramp * opt.steps)))

    def step(self) -> dict:
        """One update of D and one of G and Q; returns the losses as floats. RoiganError on NaN."""
        opt, alone = self.cfg.optimisation, ("reader", "classifier")
        ramp = 0 if opt.learns in alone else self.ramp()
        for optimizer, rate in ((self.opt_g, opt.lr_g), (self.opt_d, opt.lr_d)):
            optimizer.param_groups[0]["lr"] = rate * self.rate()
        self.generator.train(), self.discriminator.train()
        if self.cfg.model.architecture == "grown":
            self.generator.fade.fill_(self.ramp()), self.discriminator.fade.fill_(self.ramp())
        now = self.through(self.batches.draw(self.step_count))
        if ramp:
            self.objective.discriminator_loss(now, self.step_count).backward()
            self.update(self.opt_d, self.d_params)
        if opt.learns != "discriminator":
            with frozen(self.d_params):
                if opt.learns == "classifier":
                    loss = labelled.classifier_loss(now, self.ramp())
                else:
                    loss = self.objective.generator_loss(now, ramp)
            loss.backward()
            self.update(self.opt_g, self.g_params)
        if opt.learns in ("all", "shells"):
            self.average_weights()
        self.step_count += 1
        return self.checked(now.logs)

    def update(self, optimizer, parameters):
        """A step of the optimizer on gradients that the processes share."""
        parallel.average_gradients(parameters)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def average_weights(self):
        """Move the EMA of the generator's weights, the one that is shipped."""
        n = self.step_count + 1
        decay = min(self.cfg.optimisation.ema, (1 + n) / (10 + n))
        ours, theirs = list(self.ema.parameters()), list(self.generator.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for kept, new in zip(self.ema.buffers(), self.generator.buffers()):
            kept.copy_(new)

    def checked(self, logs):
        """The means of the processes' logs. RoiganError where a loss became NaN."""
        if parallel.size() > 1:
            values = torch.tensor(list(logs.values()), device=self.device)
            logs = dict(zip(logs, parallel.average(values).tolist()))
        if not all(isfinite(logs.get(k, 0.0)) for k in ("g", "d", "d_projected", "mse")):
            raise RoiganError(
                f"The loss became NaN at step {self.step_count}; the last checkpoint is intact: "
                f"continue with a lower lr_g and lr_d, or with precision='fp32'."
            )
        return logs

    # -- what the loop asks ---------------------------------------------------------------------
    def share(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return self.step_count / self.cfg.optimisation.steps

    def model(self) -> RoIGAN:
        """The averaged generator, ready to inpaint."""
        name = f"{self.cfg.data.dataset}-{self.cfg.run.profile}"
        return RoIGAN(copy.deepcopy(self.ema).cpu(), name, card=checkpoint.card(self))

    def write_model(self, path):
        """The averaged generator as a file to ship."""
        save_model(self.ema.state_dict(), self.cfg.model, path, checkpoint.card(self))


@contextmanager
def frozen(parameters):
    """Within it these parameters get no gradient, though gradients pass through them."""
    for p in parameters:
        p.requires_grad_(False)
    yield
    for p in parameters:
        p.requires_grad_(True)


def train(
    cfg: Config | None = None,
    folder=None,
    data=None,
    progress=print,
    fresh=False,
    device=None,
    grid=None,
    trainer=Trainer,
) -> Run:
    """Train to the last step, or go on from the checkpoint in `folder`; returns a Run.

    cfg: a Config (default: the laptop profile). folder: of checkpoint.pt, log.jsonl and
    model.safetensors (default runs/<profile>-<dataset>). data: an ImageSet in place of cfg's.
    progress: takes a line of text every cfg.run.log_every steps; None: silence. fresh: forget an
    earlier checkpoint. grid: called as grid(step, images, masks, completed) every
    cfg.run.grid_every steps. device: default the GPU where there is one.
    Ctrl-C and SIGTERM save, and return an unfinished run. Raises RoiganError: before the first step
    for a folder that cannot be written or where another run is at work, images or a checkpoint that
    do not fit; later for NaN, a full disk.
    """
    if not isinstance(cfg := load_config() if cfg is None else cfg, Config):
        raise RoiganError(f"cfg is {shown(cfg)} but has to be a Config, as load_config makes one.")
    check_calls(progress=progress or None, grid=grid, trainer=trainer)
    first = parallel.rank() == 0
    say = progress if progress and first else (lambda text: None)
    folder = run_folder(cfg, folder)
    hold = checkpoint.own_folder(folder) if first else nullcontext()
    with hold, on_signals(signal.default_int_handler, signal.SIGTERM):
        if cfg.run.start:
            cfg = checkpoint.with_start(cfg)
        made = (trainer or Trainer)(cfg, data, device)
        journal = Journal(made, folder, say, grid)
        journal.begin(fresh)
        try:
            while made.share() < 1 and not journal.late:
                with whole_step():
                    logs = made.step()
                journal.note(logs)
        except KeyboardInterrupt:
            journal.save()
            say(f"stopped at step {made.step_count}; the same command goes on from here")
        if first:
            made.write_model(folder / "model.safetensors")
    return Run(made.model(), folder, journal.rows, made.share() >= 1)
