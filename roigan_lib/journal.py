"""What a run says and keeps while it trains: log rows, progress, alarms, grids, checkpoints."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch

from . import checkpoint, parallel
from .batches import fixed_grid
from .errors import RoiganError, shown
from .files import write_atomically
from .regularizers import visible_change

STATM = Path("/proc/self/statm")  # Linux


class Journal:
    """The rows of a run, and what happens between its steps.

    trainer: anything with cfg, step(), share(), model(), step_count, seconds, limit, marks,
    shown, has_codes, and what `checkpoint.save` writes. say: called with lines of text; grid: see
    `train`.
    """

    def __init__(self, trainer, folder, say, grid=None):
        self.trainer, self.folder, self.say, self.grid = trainer, Path(folder), say, grid
        self.rows, self.found, self.quiet, self.late, self.saved = [], {}, 0, False, -1
        self.first = parallel.rank() == 0

    def read(self):
        """Take up the rows of an earlier part of the run. Damaged lines are left out, and named."""
        path, damaged = self.folder / "log.jsonl", []
        lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
        for number, text in enumerate(lines, 1):
            try:
                row = json.loads(text)
                self.rows += [row] * (row["step"] <= self.trainer.step_count)
            except (ValueError, KeyError, TypeError):
                damaged.append(str(number))
        if damaged:
            self.say(
                f"{path} is damaged in line {', '.join(damaged)}, left out here; the training does "
                f"not depend on it"
            )

    def begin(self, fresh=False):
        """Go on from the folder's checkpoint, unless `fresh`, or start with other networks; say
        what the run takes; start the clock.
        """
        trainer, there = self.trainer, self.folder / "checkpoint.pt"
        if not isinstance(fresh, bool):  # 'no' would forget a run
            raise RoiganError(f"fresh is {shown(fresh)}; give True or False.")
        if there.is_file() and not fresh:
            checkpoint.load(trainer, there)
            self.say(f"continuing {there} at step {trainer.step_count}")
            if trainer.changed:
                what = "; ".join(trainer.changed)
                self.say(f"not the run that its settings name, as they were changed: {what}")
            self.read()
        elif start := trainer.cfg.run.start:
            checkpoint.load(trainer, start, start=True)
            self.say(f"starting with the networks of {start}")
        self.say(trainer.cfg.describe())
        if trainer.remark:
            self.say(trainer.remark)
        self.scene = fixed_grid(trainer.cfg, trainer.data) if self.first else None
        self.start = trainer.step_count, trainer.share(), trainer.seconds
        self.began = time.perf_counter()

    def note(self, logs):
        """What follows a step: a log row, a sample grid, a checkpoint, each when it is due."""
        trainer, run = self.trainer, self.trainer.cfg.run
        elapsed = time.perf_counter() - self.began
        trainer.seconds, step = self.start[2] + elapsed, trainer.step_count
        for name, value in logs.items():
            self.found.setdefault(name, []).append(value)  # D's are missing during the warm-up
        last = trainer.share() >= 1
        try:
            if step % run.log_every == 0 or last:
                self.write_row(elapsed)
            if self.first and trainer.has_codes and (step % run.grid_every == 0 or last):
                self.look()
        except Exception:  # of the caller's progress or grid: no step is lost with it
            self.save()
            raise
        self.late = parallel.any_of(0 < trainer.limit < elapsed)
        if step % run.checkpoint_every == 0 or last or self.late:
            self.save()

    def write_row(self, elapsed):
        """A row of the log, and its line of progress."""
        trainer, opt = self.trainer, self.trainer.cfg.optimisation
        step, share = trainer.step_count, trainer.share()
        row = {"step": step, "seconds": round(trainer.seconds, 1)}
        row |= {"memory_gib": round(memory(), 3), "precision": trainer.precision}
        row |= trainer.marks | {k: round(sum(v) / len(v), 5) for k, v in self.found.items()}
        rate = (step - self.start[0]) * opt.batch / elapsed
        self.rows.append(row | {"images_per_second": round(rate, 2)})
        left = (1 - share) * elapsed / (share - self.start[1])
        left = min(left, max(0.0, trainer.limit - elapsed)) if trainer.limit else left
        marks = [f"{k} {v}" for k, v in trainer.marks.items()]
        shown = "  ".join(marks + [f"{k} {row[k]:.3f}" for k in trainer.shown if k in row])
        self.say(
            f"step {step}/{opt.steps}  {rate:.1f} images/s  {left / 60:.1f} min left  "
            f"{row['memory_gib']:.2f} GiB  {shown}"
        )
        self.found = {}
        self.quiet = self.quiet + 1 if row.get("d", 1.0) < 0.05 and "g" in row else 0
        if self.quiet == 5:
            why = "tells every fake apart (its loss is near 0); lower lr_d."
            self.say(f"alarm: the discriminator {why}")

    def look(self):
        """The sample grid of this step, and an alarm where other codes draw the same picture."""
        images, masks, codes = self.scene
        model, step = self.trainer.model(), self.trainer.step_count
        change = diversity(model, images, masks)
        if self.rows:
            self.rows[-1]["diversity"] = round(change, 5)
        if change < 0.002 and step > 0.2 * self.trainer.cfg.optimisation.steps:
            why = "by less than 0.2 % of the range; the codes are dead."
            self.say(f"alarm: other codes change the picture {why}")
        if self.grid:
            self.grid(step, images, masks, model.inpaint(images, masks, codes))

    def save(self):
        """Checkpoint and log of this step, once."""
        if self.first and self.saved != self.trainer.step_count:
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            write_atomically(self.folder / "log.jsonl", text.encode())  # `read` drops what is ahead
            checkpoint.save(self.trainer, self.folder / "checkpoint.pt")
            self.saved = self.trainer.step_count


def diversity(model, images, masks, seed: int = 0) -> float:
    """Visible change in the hole between two draws of codes and noise, 0 … 1 of the range."""
    draws = torch.stack([model.inpaint(images, masks, seed=s) for s in (seed, seed + 1)])
    return visible_change(draws, masks).mean().item()


def memory() -> float:
    """Resident memory of this process, or peak memory of the GPU, in GiB; 0: not known."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    if STATM.exists():
        return int(STATM.read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    try:
        import resource
    except ImportError:  # Windows, where nobody is asked
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # macOS, in bytes
