"""What a step draws: pictures, regions, codes and noise, all of it from (seed, step)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from . import parallel
from .config import Config
from .data.augment import augment
from .data.labels import label_names, labels_of
from .errors import RoiganError
from .inpainter import sample_codes
from .masks import sample_masks


class Batch(NamedTuple):
    """What is drawn for a step, rows of path A first."""

    images: torch.Tensor  # (n, 3, S, S) in [-1, 1]
    masks: torch.Tensor  # (n, 1, S, S), 1 = the region
    codes: torch.Tensor  # (n, n_codes) from the prior
    noise: torch.Tensor  # (n, n_noise) from N(0, 1)
    jitter: torch.Tensor  # (n, n_continuous): what is added to codes read from images
    gumbel: torch.Tensor  # (n, n_discrete, n_categories)
    labels: torch.Tensor  # (n, labels) in [-1, 1]
    asked: torch.Tensor  # (n, labels) in [0, 1]: how far the hole covers the label's place
    alpha: torch.Tensor  # (n, 1, 1, 1) in [0, 1]: where the gradient penalty looks
    more: tuple = ()  # recipe published: noise on the images; codes and noise of D's own drawing


class Batches:
    """The batches of a run. n_a: how many rows of each go through path A; workers: threads that
    draw the next steps meanwhile, where a GPU leaves the processor the time; what is drawn is the
    same with any number of them.
    """

    def __init__(self, cfg, data, device):
        self.cfg, self.data, self.device, self._order = cfg, data, device, (-1, None)
        self.workers, self._pool, self._ahead = 6 * (torch.device(device).type == "cuda"), None, {}
        o, opt = cfg.objective, cfg.optimisation
        # rows of path A in a batch
        self.n_a = opt.batch - round(opt.batch * o.path_b) if cfg.model.own_reader else 0
        shares, n_b = parallel.size(), opt.batch - self.n_a
        if self.n_a % shares or n_b % shares:
            raise RoiganError(
                f"{shares} processes cannot share a batch of {opt.batch} with {self.n_a} images on "
                f"path A; choose a batch of which both paths divide by {shares}."
            )
        if o.siblings and n_b % (o.siblings * shares):
            raise RoiganError(
                f"Groups of siblings={o.siblings} do not fill the {n_b} rows of path B, in "
                f"{shares} process(es); choose siblings, batch and path_b so that they do."
            )
        names = label_names(o.labels)
        self.labels = labels_of(data, names, cfg.model.n_continuous)
        unseen = [name for name, place in zip(names, self.labels.places) if not place.any()]
        if unseen and o.weight("label"):
            raise RoiganError(
                f"label asks for {unseen[0]!r}, which has no place of its own in the frame; "
                f"leave it out of labels, or label at 0."
            )

    def pictures(self, step, generator, rows=None):
        """Images of a step (batch, 3, S, S), their numbers in the data set, which are mirrored.

        rows: this process' share, which is read alone where rows do not depend on each other.
        """
        n, size, d = len(self.data), self.cfg.optimisation.batch, self.cfg.data
        epoch, i = divmod(step, n // size)
        order = self._order
        if order[0] != epoch:
            seed = self.cfg.run.seed * 7919 + epoch
            order = epoch, torch.randperm(n, generator=torch.Generator().manual_seed(seed))
            self._order = order
        chosen = order[1][i * size : (i + 1) * size]
        flip = torch.zeros(size, dtype=torch.bool)
        if d.flip:
            flip = torch.rand(size, generator=generator) < 0.5
        own = slice(None) if rows is None else rows
        images, turned = self.data[chosen[own]], flip[own]
        if d.flip:
            images[turned] = images[turned].flip(-1)
        return augment(images, d.shift, d.soften, generator).to(self.device), chosen, flip

    def random(self, step):
        """The CPU generator of a step."""
        return torch.Generator().manual_seed((self.cfg.run.seed * 1_000_003 + step) * 31 + 17)

    def asked(self, masks):
        """How much of each label's place the regions cover, from half of it on: (n, k), 0 to 1."""
        places = self.labels.places
        if not len(places):
            return masks.new_zeros(len(masks), 0)
        covered = torch.einsum("nohw,kohw->nk", masks, places) / places.sum((1, 2, 3)).clamp_min(1)
        return (2 * covered - 1).clamp_min(0)

    def draw(self, step) -> Batch:
        """Everything random of a step; of several processes, this one's share."""
        if not self.workers:
            return self._draw(step)
        self._pool = self._pool or ThreadPoolExecutor(self.workers)
        steps = range(step, step + self.workers + 1)
        self._ahead = {s: self._ahead.get(s) or self._pool.submit(self._draw, s) for s in steps}
        return self._ahead[step].result()

    def _draw(self, step):
        model, o, n = self.cfg.model, self.cfg.objective, self.cfg.optimisation.batch
        g, rows, d = self.random(step), parallel.share(self.n_a, n), self.cfg.data
        alone = rows is not None and not (d.shift or d.soften or o.siblings)
        images, chosen, flip = self.pictures(step, g, rows if alone else None)
        labels = self.labels.values[chosen]
        labels = torch.where(flip[:, None] & self.labels.turned, -labels, labels)
        masks = sample_masks(d.mask_family, n, model.size, generator=g)
        codes = sample_codes(model, n, g)
        noise = torch.randn(n, model.n_noise, generator=g)
        if o.siblings:
            first = torch.arange(self.n_a, n, o.siblings).repeat_interleave(o.siblings)
            for drawn in (images, labels, masks, codes, noise):
                drawn[self.n_a :] = drawn[first]
            codes[self.n_a :] = one_moved(model, o.siblings, codes[self.n_a :], g)
        jitter = torch.randn(n, model.n_continuous, generator=g) * o.code_noise
        uniform = torch.rand(n, model.n_discrete, model.n_categories, generator=g)
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-6, 1 - 1e-6)))
        drawn = [masks, codes, noise, jitter, gumbel, labels, self.asked(masks)]
        drawn.append(torch.rand(n, 1, 1, 1, generator=g))
        if model.architecture == "published":
            drawn += [torch.randn(n, *images.shape[1:], generator=g), sample_codes(model, n, g)]
            drawn.append(torch.randn(n, model.n_noise, generator=g))
        if rows is not None:
            drawn, images = [t[rows] for t in drawn], images if alone else images[rows]
        drawn = [t.to(self.device) for t in (images, *drawn)]
        return Batch(*drawn[:9], more=tuple(drawn[9:]))


def one_moved(model, siblings, codes, generator):
    """Code rows (n, n_codes) in groups of siblings: the first stays, each other has one code moved.

    No two of a group move the same code. A continuous code moves by half its range towards the
    other side of 0, a discrete one to another category, so every row still follows the prior.
    """
    codes, n = codes.clone(), model.n_categories
    for start in range(0, len(codes), siblings):
        moved = torch.randperm(model.n_codes, generator=generator)[: siblings - 1]
        for row, k in enumerate(moved.tolist(), start + 1):
            c = codes[start, k]
            step = torch.randint(1, max(2, n), (), generator=generator)
            codes[row] = codes[start]
            by_half = c - 1 if c > 0 else c + 1
            codes[row, k] = (c + step) % n if k >= model.n_continuous else by_half
    return codes


def fixed_grid(cfg: Config, data, n: int = 8):
    """Images (n, 3, S, S), masks and codes of every sample grid of a run; all images if fewer."""
    n, seed = min(n, len(data)), cfg.run.seed
    family = cfg.data.mask_family.split("+")[-1]
    masks = sample_masks(family, n, cfg.model.size, seed=seed + 5)
    codes = sample_codes(cfg.model, n, torch.Generator().manual_seed(seed + 6))
    return data[:n], masks, codes
