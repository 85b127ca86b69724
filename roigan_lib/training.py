"""The training loop (thesis 3.8): one loop for every recipe, profile and data set.

All randomness of a step (masks, codes, noise, mirrored images) comes from (seed, step), and the data order from
(seed, epoch); a checkpoint therefore continues exactly, with no generator states to store.
"""

from __future__ import annotations

import copy
import errno
import json
import os
import signal
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from . import losses as L
from . import parallel, precision, released
from .checks import check_device, check_images, check_output, on_signals, only_run
from .config import Config, ModelConfig, label_names, load_config
from .data import open_dataset, synthfaces
from .data.augment import augment
from .errors import RoiganError
from .files import place, write_atomically
from .inpainter import WEIGHTS, RoIGAN, load_model, sample_codes, save_model
from .losses import visible_change
from .masks import sample_masks
from .models import ProjectedHeads, Reader, networks, pyramid_fill
from .perceptual import PerceptualNet


@dataclass
class Run:
    """What `train` returns: the model (EMA weights), the folder, the log rows and whether all steps were made."""

    model: RoIGAN
    folder: Path
    rows: list
    finished: bool


def steps_within(cfg: Config, minutes: float, seconds: float, folder=None) -> int:
    """How many steps, of so many seconds each, fit into 0.9 of the minutes: at least 1, at most cfg.steps.

    The other tenth is for sample grids and checkpoints. Warm-up, ramp and decay are shares of cfg.steps, so a run with
    this number of steps completes its schedule in time. A run that has begun in `folder` keeps the steps it began with.
    """
    checkpoint = (Path(folder) if folder else run_folder(cfg)) / "checkpoint.pt"
    if checkpoint.is_file():
        try:
            return torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)[
                "config"
            ]["steps"]
        except Exception:  # `train` says what is wrong with it
            pass
    return max(1, min(cfg.steps, int(0.9 * 60 * minutes / seconds)))


def run_folder(cfg: Config) -> Path:
    """Where a run of this configuration lives: $ROIGAN_RUNS (default runs/ in the repository) / <profile>-<dataset>."""
    return place("ROIGAN_RUNS", "runs") / f"{cfg.profile}-{cfg.dataset}"


def _memory() -> float:
    """Resident memory of this process, or peak memory of the GPU, in GiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (OSError, ValueError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


class Trainer:
    """Networks, optimizers and one `step`. Use `train` unless you want to look inside."""

    def __init__(self, cfg: Config, data=None, device=None):
        self.cfg = cfg
        self.device = check_device(device)
        self.precision, self.remark = precision.decide(cfg.precision, self.device)
        self.data = (
            open_dataset(cfg.dataset, "train", cfg.size, cfg.root, cfg.crop)
            if data is None
            else check_images(data, cfg.size)
        )
        if len(self.data) < cfg.batch:
            raise RoiganError(
                f"The data set has {len(self.data)} images, fewer than one batch of {cfg.batch}; add "
                f"images or lower batch."
            )
        self.n_a = (
            cfg.batch - round(cfg.batch * cfg.path_b) if cfg.own_reader else 0
        )  # rows of path A in a batch
        shares = parallel.size() * cfg.accumulate
        if self.n_a % shares or (cfg.batch - self.n_a) % shares:
            raise RoiganError(
                f"{parallel.size()} process(es) with accumulate={cfg.accumulate} cannot share a batch of "
                f"{cfg.batch} with {self.n_a} images on path A; choose a batch of which both paths divide "
                f"by {shares}."
            )
        if cfg.siblings and (cfg.batch - self.n_a) % (cfg.siblings * shares):
            raise RoiganError(
                f"Groups of siblings={cfg.siblings} do not fill the {cfg.batch - self.n_a} rows of path B, "
                f"in {shares} part(s); choose siblings, batch and path_b so that they do."
            )
        self.labels = true_labels(self.data, label_names(cfg.labels))
        self.n_labels = self.labels.shape[1]
        self.turned = torch.tensor(
            [name in synthfaces.MIRRORED for name in label_names(cfg.labels)], dtype=torch.bool
        )
        torch.manual_seed(cfg.seed)
        model = cfg.model()
        place = dict(device=self.device, memory_format=torch.channels_last)
        generator, discriminator = networks(model)
        self.generator, self.discriminator = (
            generator(model).to(**place),
            discriminator(model).to(**place),
        )
        self.reader = Reader(model).to(**place) if cfg.own_reader else None
        self.ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        q = self.reader.parameters() if self.reader else self.discriminator.q.parameters()
        self.g_params = list(self.generator.parameters()) + list(q)
        ids = {id(p) for p in self.g_params}
        self.d_params = [p for p in self.discriminator.parameters() if id(p) not in ids]
        betas = (cfg.beta1, cfg.beta2)
        self.perceptual = None
        if cfg.perceptual > 0 and cfg.perceptual_net != "none":
            self.perceptual = PerceptualNet(cfg.perceptual_net, cfg.perceptual_weights).to(
                self.device
            )
        self.heads = None
        if cfg.projected > 0:
            shapes = [
                y.shape[1:3]
                for y in self.perceptual(torch.zeros(1, 3, cfg.size, cfg.size, device=self.device))
            ]
            self.heads = ProjectedHeads(shapes).to(**place)
            self.d_params += self.heads.parameters()
        self.opt_g = torch.optim.Adam(self.g_params, lr=cfg.lr_g, betas=betas, fused=True)
        self.opt_d = torch.optim.Adam(self.d_params, lr=cfg.lr_d, betas=betas, fused=True)
        self.step_count, self.seconds, self.started_from = 0, 0.0, None
        self._order = (-1, None)

    # -- what a step draws ------------------------------------------------------------------------------------------
    def _batch(self, step, generator):
        """The images of a step, (batch, 3, S, S)."""
        return self._pictures(step, generator)[0]

    def _pictures(self, step, generator):
        """The images of a step, their numbers in the data set (batch,), and which of them are mirrored (batch,)."""
        n, size = len(self.data), self.cfg.batch
        per_epoch = n // size
        epoch, i = divmod(step, per_epoch)
        if self._order[0] != epoch:
            order = torch.randperm(
                n, generator=torch.Generator().manual_seed(self.cfg.seed * 7919 + epoch)
            )
            self._order = (epoch, order)
        chosen = self._order[1][i * size : (i + 1) * size]
        images, flip = self.data[chosen], torch.zeros(size, dtype=torch.bool)
        if self.cfg.flip:
            flip = torch.rand(size, generator=generator) < 0.5
            images[flip] = images[flip].flip(-1)
        return (
            augment(images, self.cfg.shift, self.cfg.soften, generator).to(self.device),
            chosen,
            flip,
        )

    def _draw(self, step):
        cfg = self.cfg
        g = torch.Generator().manual_seed((cfg.seed * 1_000_003 + step) * 31 + 17)
        images, chosen, flip = self._pictures(step, g)
        labels = torch.where(flip[:, None] & self.turned, -self.labels[chosen], self.labels[chosen])
        masks = sample_masks(cfg.mask_family, cfg.batch, cfg.size, generator=g).to(self.device)
        codes = sample_codes(cfg, cfg.batch, g)
        noise = torch.randn(cfg.batch, cfg.n_noise, generator=g)
        if cfg.siblings:
            first = torch.arange(self.n_a, cfg.batch, cfg.siblings).repeat_interleave(cfg.siblings)
            for rows in (images, masks, codes, noise):
                rows[self.n_a :] = rows[first]
            codes[self.n_a :] = one_moved(cfg, codes[self.n_a :], g)
        jitter = torch.randn(cfg.batch, cfg.n_continuous, generator=g) * cfg.code_noise
        uniform = torch.rand(cfg.batch, cfg.n_discrete, cfg.n_categories, generator=g)
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-6, 1 - 1e-6)))
        alpha = torch.rand(cfg.batch, 1, 1, 1, generator=g)
        drawn = [images, masks, codes, noise, jitter, gumbel, labels, alpha]
        if cfg.recipe == "published":  # for the noise on the images, and for D's own drawing
            drawn += [
                torch.randn(images.shape, generator=g),
                sample_codes(cfg, cfg.batch, g),
                torch.randn(cfg.batch, cfg.n_noise, generator=g),
            ]
        drawn = [t.to(self.device) for t in drawn]
        rows = parallel.share(self.n_a, cfg.batch)
        return drawn if rows is None else [t[rows.to(self.device)] for t in drawn]

    def _rate(self):
        """Learning-rate factor: 1, then a linear fall to 0.02 over the last `decay` of the run."""
        left = (self.cfg.steps - self.step_count) / self.cfg.steps
        return (
            1.0
            if self.cfg.decay == 0 or left >= self.cfg.decay
            else 0.02 + 0.98 * left / self.cfg.decay
        )

    # -- one step ---------------------------------------------------------------------------------------------------
    def step(self) -> dict:
        """One update of D and one of G and Q; returns the losses as floats. Raises RoiganError on NaN.

        With `accumulate` the batch goes through in parts, whose gradients are added: each part judges its losses by
        itself, and is drawn once for D and again for G, so that one part at a time needs memory.
        """
        cfg = self.cfg
        for optimizer, rate in ((self.opt_g, cfg.lr_g), (self.opt_d, cfg.lr_d)):
            optimizer.param_groups[0]["lr"] = rate * self._rate()
        logs = self._released() if cfg.recipe == "published" else self._two_paths()
        self.step_count += 1
        with torch.no_grad():
            decay = min(cfg.ema, (1 + self.step_count) / (10 + self.step_count))
            torch._foreach_lerp_(
                list(self.ema.parameters()), list(self.generator.parameters()), 1 - decay
            )
            for kept, new in zip(self.ema.buffers(), self.generator.buffers()):
                kept.copy_(new)
        if parallel.size() > 1:
            logs = dict(
                zip(
                    logs,
                    parallel.average(
                        torch.tensor(list(logs.values()), device=self.device)
                    ).tolist(),
                )
            )
        if not all(_finite(logs.get(k, 0.0)) for k in ("g", "d", "d_projected")):
            raise RoiganError(
                f"The loss became NaN at step {self.step_count}; the last checkpoint is intact: continue "
                f"with a lower lr_g and lr_d, or with precision='fp32'."
            )
        return logs

    def _two_paths(self):
        """D's update, then that of G and Q, from one drawing (all recipes but `published`)."""
        parts = self._parts(self._draw(self.step_count))
        self.generator.train(), self.discriminator.train()
        found, drawings, real_maps = [{} for _ in parts], [None] * len(parts), [None] * len(parts)
        ramp = self._ramp()
        if ramp or len(parts) == 1:
            for i, part in enumerate(parts):
                with torch.set_grad_enabled(len(parts) == 1):
                    drawings[i] = self._drawing(part, found[i])
                if ramp:
                    real_maps[i] = self._discriminate(part, drawings[i], len(parts), found[i])
        if ramp:
            parallel.average_gradients(self.d_params)
            self.opt_d.step()
            self.opt_d.zero_grad(set_to_none=True)
        self.opt_g.zero_grad(set_to_none=True)
        for i, part in enumerate(parts):
            drawing = drawings[i] if len(parts) == 1 else self._drawing(part, found[i])
            self._learn(part, drawing, real_maps[i], ramp, len(parts), found[i])
        parallel.average_gradients(self.g_params)
        self.opt_g.step()
        return {k: sum(part[k] for part in found) / len(found) for k in found[0]}

    def _released(self):
        """The step of the author's release: noise on the images, a drawing for D in eval mode, another for G, D then in eval
        mode, Q's batch norm never in training mode.
        """
        cfg, n_c = self.cfg, self.cfg.n_continuous
        x, m, codes, noise, *_, alpha, image_noise, codes_d, noise_d = self._draw(self.step_count)
        x = x + released.IMAGE_NOISE * image_noise
        g, d = self.generator.eval(), self.discriminator.train()
        with self._cast():
            with torch.no_grad():
                raw = g(x, m, g.join_codes(codes_d, noise_d))[0]
            terms, real, fake = released.discriminator_terms(d, x, L.complete(raw, x, m), m, alpha)
        loss = terms["hinge"] + cfg.penalty * terms["penalty"] + cfg.zero * terms["zero"]
        loss.backward()
        parallel.average_gradients(self.d_params)
        self.opt_d.step()
        logs = {
            "d": loss.item(),
            "penalty": terms["penalty"].item(),
            "d_real": real.mean().item(),
            "d_fake": fake.mean().item(),
        }
        self.opt_d.zero_grad(set_to_none=True)
        self.opt_g.zero_grad(set_to_none=True)
        g, d = self.generator.train(), self.discriminator.eval()
        for p in self.d_params:
            p.requires_grad_(False)
        with self._cast():
            f = g.features_of(x, m)
            raw = g.decode(f, m, g.join_codes(codes, noise))
            terms = released.generator_terms(
                d, x, m, codes, raw, f["style"], f["logvar"], n_c, self.perceptual
            )
        for p in self.d_params:
            p.requires_grad_(True)
        weights = dict(
            adversarial=cfg.adversarial,
            matching=cfg.matching,
            perceptual=cfg.perceptual,
            variation=cfg.variation,
            kl=cfg.kl,
            info_c=cfg.info,
            info_d=cfg.info,
        )
        loss = sum(weights[k] * v for k, v in terms.items())
        loss.backward()
        parallel.average_gradients(self.g_params)
        self.opt_g.step()
        return logs | {"g": loss.item()} | {k: v.item() for k, v in terms.items()}

    def _cast(self):
        return (
            torch.autocast(self.device.type, torch.bfloat16)
            if self.precision == "bf16"
            else nullcontext()
        )

    def _parts(self, drawn):
        """The draw of this process in `accumulate` parts, each with its share of path A and of path B."""
        k, n_a = self.cfg.accumulate, self.n_a // parallel.size()
        if k == 1:
            return [drawn]
        return list(
            zip(
                *(
                    map(torch.cat, zip(t[:n_a].chunk(k), t[n_a:].chunk(k)))
                    if 0 < n_a < len(t)
                    else t.chunk(k)
                    for t in drawn
                )
            )
        )

    def _drawing(self, part, logs):
        """What G draws for a part: raw and completed images, its features, and the prior loss of the codes."""
        x, m, codes, noise, jitter, gumbel, labels, _ = part
        with self._cast():
            z_codes, prior = self._codes(
                x, m, codes, jitter, gumbel, labels, self._paths(x)[0], logs
            )
            f = self.generator.features_of(x, m)
            z = torch.cat([noise, z_codes], 1)
            raw = self.generator.decode(f, m, z)
            return {"f": f, "raw": raw, "done": L.complete(raw, x, m), "prior": prior, "z": z}

    @torch.no_grad()
    def _twins(self, x, m, z):
        """Mean of what the EMA draws and of what it draws, mirrored, in the mirrored images, with the same z: (n, 3, S, S).

        Faces know no left and right, so half of the difference between the two is error.
        """
        raw, twin = self.ema(*(torch.cat([t, t.flip(-1)]) for t in (x, m)), z.repeat(2, 1))[
            0
        ].chunk(2)
        return (raw + twin.flip(-1)) / 2

    def _seen(self, x, drawing):
        """The perceptual network's maps of the real and of the completed images, made once for D's heads and G's losses."""
        if "seen" not in drawing:
            with torch.no_grad():
                real = self.perceptual(x)
            drawing["seen"] = real, self.perceptual(drawing["done"])
        return drawing["seen"]

    def _judge(self, maps, real, masks):
        """What D's heads say of maps, each scaled by the mean size of the real ones."""
        scaled = [y / L.mean_size(r).clamp_min(1e-6).to(y.dtype) for y, r in zip(maps, real)]
        return self.heads(scaled, masks)

    def _paths(self, x):
        """The rows of path A and of path B in a part."""
        n_a = len(x) * self.n_a // self.cfg.batch
        return slice(0, n_a), slice(n_a, None)

    def _learn(self, part, drawing, real_maps, ramp, n_parts, logs):
        """Add the gradient of the generator's loss (3.18) on a part."""
        cfg = self.cfg
        x, m, codes = part[:3]
        if (
            real_maps is not None and cfg.reduction != "relative"
        ):  # (3.11) asks the D of now, not of an update ago
            with torch.no_grad(), self._cast():
                real_maps = self.discriminator.maps(x, m)
        for p in self.d_params:
            p.requires_grad_(False)
        with self._cast():
            terms = self._generator_terms(x, m, drawing, codes, real_maps, *self._paths(x))
        for p in self.d_params:
            p.requires_grad_(True)
        terms["prior"] = drawing["prior"]
        weights = dict(
            adversarial=ramp * cfg.adversarial,
            matching=ramp * cfg.matching,
            perceptual=cfg.perceptual,
            perceptual_prior=cfg.perceptual_prior,
            l1_prior=cfg.l1_prior,
            l1_border=cfg.l1_border,
            l1_hole=cfg.l1_hole,
            l1_outside=cfg.l1_outside,
            tone=cfg.tone,
            variation=cfg.variation,
            apart=cfg.apart,
            faint=cfg.faint,
            kl=cfg.kl,
            info_c=cfg.info,
            info_d=cfg.info,
            prior=cfg.prior,
            projected=ramp * cfg.projected,
            style=cfg.style,
            mirror=cfg.mirror,
        )
        loss = sum(
            weights[k] * v for k, v in terms.items() if weights[k] != 0 and torch.is_tensor(v)
        )
        (loss / n_parts).backward()
        logs |= {"g": loss.item()} | {
            k: float(torch.as_tensor(v).detach()) for k, v in terms.items()
        }

    def _ramp(self):
        """Share of the adversarial terms: 0 through the warm-up, where D does not run at all, then up to 1."""
        cfg = self.cfg
        done = self.step_count + 1 - cfg.warmup * cfg.steps
        return min(1.0, max(0.0, done / max(1, cfg.ramp * cfg.steps)))

    def _discriminate(self, part, drawing, n_parts, logs):
        """Add the gradient of D's loss (3.19) on a part; returns its maps of the real images for feature matching."""
        cfg = self.cfg
        x, m, alpha, done = part[0], part[1], part[-1], drawing["done"].detach()
        with self._cast():  # real and fake in one pass
            scores, maps = self.discriminator(torch.cat([x, done]), torch.cat([m, m]))
            real, fake = scores.chunk(2)
            loss = L.hinge_discriminator(real, fake) + cfg.zero * L.zero_concentrator(real)
            if cfg.penalty > 0 and self.step_count % cfg.penalty_every == 0:
                gp = L.gradient_penalty(self.discriminator, x, done, m, alpha, cfg.penalty_inside)
                logs["penalty"] = gp.item()
                loss = loss + cfg.penalty * cfg.penalty_every * gp
            logs |= dict(d=loss.item(), d_real=real.mean().item(), d_fake=fake.mean().item())
            if self.heads is not None:
                real_seen, seen = self._seen(x, drawing)
                both = [torch.cat([r, y.detach()]) for r, y in zip(real_seen, seen)]
                judged = L.projected_discriminator(self._judge(both, real_seen, torch.cat([m, m])))
                logs["d_projected"] = judged.item()
                loss = loss + judged
        (loss / n_parts).backward()
        return [y.detach()[: len(x)] for y in maps]

    def _codes(self, x, m, codes, jitter, gumbel, labels, a, logs):
        """Code part of z, and the prior loss. Path A: labels, and the rest read from the real hole; path B: from the prior."""
        cfg, k = self.cfg, self.n_labels
        c0, hot = (
            codes[:, : cfg.n_continuous],
            F.one_hot(codes[:, cfg.n_continuous :].long(), cfg.n_categories).float(),
        )
        if self.reader is None:
            return torch.cat([c0, hot.flatten(1)], 1), 0.0
        mean, _, logits = self.reader(x, m, pyramid_fill(x, m))
        n_prior = cfg.siblings or 1  # siblings show one real hole
        own = torch.cat([torch.arange(a.stop), torch.arange(a.stop, len(x), n_prior)])
        loss = L.match_uniform(mean[own, k:]) if k < cfg.n_continuous else 0.0
        loss = loss + 0.5 * L.match_categories(logits[own].softmax(-1))
        if a.stop == 0:
            return torch.cat([c0, hot.flatten(1)], 1), loss
        soft = (logits[a] + cfg.gumbel * gumbel[a]).softmax(-1)
        picked = F.one_hot(soft.argmax(-1), cfg.n_categories).float()
        straight = picked + soft - soft.detach()
        c0 = torch.cat([torch.cat([labels[a], mean[a][:, k:]], 1) + jitter[a], c0[a.stop :]])
        if not k:  # a drop-down that read the region would tell the labels once more
            hot = torch.cat([straight, hot[a.stop :]])
        logs["code_sd"] = parallel.gather(mean.detach()).std(0, correction=0).mean().item()
        return torch.cat([c0, hot.flatten(1)], 1), loss

    def _generator_terms(self, x, m, drawing, codes, real_maps, a, b):
        """Every term of the generator's loss (3.18), unweighted; the info terms are (3.14).

        Paired terms see path A where there is one.
        """
        cfg, n_c = self.cfg, self.cfg.n_continuous
        reduction = "sum" if cfg.reduction == "sum" else "mean"
        over_codes = "sum" if cfg.code_sums else "mean"
        f, raw, done = drawing["f"], drawing["raw"], drawing["done"]
        paired = a if a.stop else slice(None)
        terms = dict(
            l1_hole=L.masked_l1(raw[paired], x[paired], m[paired]),
            l1_outside=L.masked_l1(raw, x, 1 - m),
            variation=L.total_variation(done, m, reduction),
            kl=L.kl_style(f["mean"].float(), f["logvar"].float(), reduction),
        )
        if real_maps is not None:
            scores, maps = self.discriminator(done, m)
            terms["adversarial"] = L.hinge_generator(scores)
            terms["matching"] = L.feature_matching(
                [y[paired] for y in real_maps], [y[paired] for y in maps], reduction
            )
        if cfg.tone > 0:
            terms["tone"] = L.tone(raw, x, m, cfg.size // 8)
        if self.perceptual is not None:
            real_seen, seen = self._seen(x, drawing)
            literal = cfg.reduction != "relative"

            def distance(rows):
                return L.match_maps(
                    [y[rows] for y in real_seen], [y[rows] for y in seen], not literal, reduction
                )

            terms["perceptual"] = distance(paired)
            if literal:  # (3.12) has both; outside the hole they agree
                target = [y[paired] for y in real_seen]
                terms["perceptual"] = terms["perceptual"] + L.perceptual(
                    self.perceptual, target, raw[paired], False, reduction
                )
            if a.stop and len(codes[b]) and cfg.perceptual_prior > 0:
                terms["perceptual_prior"] = distance(b)
            if cfg.style > 0:
                terms["style"] = L.style(real_seen, seen, m)
            if self.heads is not None and real_maps is not None:
                terms["projected"] = L.projected_generator(self._judge(seen, real_seen, m))
        if a.stop and cfg.path_b > 0:
            terms["l1_prior"] = L.masked_l1(raw[b], x[b], m[b])
        if cfg.mirror > 0 and len(codes[b]):
            terms["mirror"] = L.masked_l1(raw[b], self._twins(x[b], m[b], drawing["z"][b]), m[b])
        if cfg.siblings:
            group = (-1, cfg.siblings, *done.shape[1:])
            drawn, region = done[b].reshape(group), m[b][:: cfg.siblings]
            differences = drawn[:, 1:] - drawn[:, :1]
            if cfg.siblings > 2:
                terms["apart"] = L.overlap(differences)
            terms["faint"] = L.faint(
                differences, region, cfg.visible / 2
            )  # a code moved half its way
        if cfg.l1_border > 0:
            terms["l1_border"] = L.masked_l1(raw, x, L.border_band(m, max(1, cfg.size // 16)))
        if cfg.info > 0 and len(codes[b]):
            if self.reader is not None:
                fill = pyramid_fill(x[b], m[b]) if f["fill"] is None else f["fill"][b]
                mean, logvar, logits = self.reader(done[b], m[b], fill)
            else:  # Q reads x_g (3.14)
                mean, logvar, logits = self.discriminator.q(self.discriminator.maps(raw, m)[-1])
            k = self.n_labels  # a label that the hole does not show must not be written into it
            if k < n_c:
                terms["info_c"] = L.info_continuous(
                    codes[b, k:n_c], mean[:, k:], logvar[:, k:], over_codes
                )
            terms["info_d"] = L.info_discrete(codes[b, n_c:], logits)
        return terms

    # -- checkpoints ------------------------------------------------------------------------------------------------
    def save(self, path: Path) -> None:
        """Write everything a run needs to go on, to a temporary file that then takes the old one's place."""
        state = {
            "format": "roigan-train-1",
            "config": asdict(self.cfg),
            "step": self.step_count,
            "seconds": self.seconds,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": self.ema.state_dict(),
            "reader": self.reader.state_dict() if self.reader else {},
            "heads": self.heads.state_dict() if self.heads else {},
            "opt_g": self.opt_g.state_dict(),
            "opt_d": self.opt_d.state_dict(),
            "data": self.data.fingerprint,
            "started_from": self.started_from,
        }
        if not all(p.isfinite().all() for p in self.g_params + self.d_params):
            raise RoiganError(
                f"The weights became NaN at step {self.step_count}; the last checkpoint is intact: "
                f"continue with a lower lr_g and lr_d, or with precision='fp32'."
            )
        temporary = path.with_name(
            f"{path.stem}.{os.getpid()}.tmp"
        )  # another process has another one
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, temporary)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:
            if path.parent.is_dir():
                temporary.unlink(missing_ok=True)
            full = getattr(error, "errno", None) == errno.ENOSPC or "PytorchStreamWriter" in str(
                error
            )
            why = "no space is left on the disk" if full else str(error)
            raise RoiganError(
                f"The checkpoint {path} could not be written: {why}; the previous one is intact."
            ) from None

    def load(self, path: Path, start: bool = False) -> None:
        """Continue from a checkpoint of the same configuration. Raises RoiganError where it does not fit.

        start: take the networks alone, whatever images they were trained on, and count from 0; path may then be the
        name of a shipped model whose discriminator and reader ship as well.
        """
        beside = WEIGHTS / "training" / f"{Path(path).name}.safetensors"
        named = start and not Path(path).exists() and beside.is_file()
        if not named and not Path(path).is_file():
            raise RoiganError(
                f"There is no checkpoint {path} to start from; give the checkpoint.pt of a run, or one of "
                f"{', '.join(sorted(p.stem for p in beside.parent.glob('*.safetensors')))}, which ship."
            )
        try:
            state = (
                _shipped_state(beside)
                if named
                else torch.load(path, weights_only=True, map_location=self.device)
            )
        except Exception:
            raise RoiganError(
                f"{path} is damaged and cannot be continued; remove it to train from the start."
            ) from None
        if not isinstance(state, dict) or state.get("format") != "roigan-train-1":
            raise RoiganError(
                f"{path} is not a training checkpoint of this kit; remove it or choose another folder."
            )
        ours = asdict(self.cfg.model())
        theirs = asdict(ModelConfig()) | {k: v for k, v in state["config"].items() if k in ours}
        found = [(k, theirs[k], v) for k, v in ours.items() if theirs[k] != v]
        if not start:
            found += [("data", state["data"], self.data.fingerprint)] * (
                state["data"] != self.data.fingerprint
            )
            heads = (
                state["config"].get("projected", 0.0),
                asdict(self.cfg).get("projected", 0.0),
            )  # GLCIC has none
            found += [("projected", *heads)] * ((heads[0] > 0) != (heads[1] > 0))
        if found:
            k, old, new = found[0]
            way = (
                f"leave {k} out, or start from another model"
                if start
                else "choose another output folder or start with fresh=True"
            )
            raise RoiganError(
                f"{path} was trained with {k}={old!r}, this run asks for {k}={new!r}; {way}."
            )
        try:
            self.generator.load_state_dict(state["generator"])
            self.discriminator.load_state_dict(state["discriminator"])
            self.ema.load_state_dict(state["ema"])
            if self.reader:
                self.reader.load_state_dict(state["reader"])
            same = state["config"].get("perceptual_net") == asdict(self.cfg).get("perceptual_net")
            if (
                self.heads and state.get("heads") and same
            ):  # a start without them, or on other maps, is welcome
                self.heads.load_state_dict(state["heads"])
        except RuntimeError:
            raise RoiganError(
                f"{path} holds networks of another version of the kit; choose another output folder or "
                f"start with fresh=True."
            ) from None
        if start:
            about = state["config"]
            self.started_from = {
                "dataset": about["dataset"],
                "steps": state["step"],
                "seconds": round(state["seconds"]),
                "images_seen": state.get("images_seen", state["step"] * about["batch"]),
                "before": state.get("started_from"),
            }
            return
        self.opt_g.load_state_dict(state["opt_g"])
        self.opt_d.load_state_dict(state["opt_d"])
        self.step_count, self.seconds, self.started_from = (
            state["step"],
            state["seconds"],
            state.get("started_from"),
        )

    def _machine(self):
        cuda = self.device.type == "cuda"
        return (
            torch.cuda.get_device_name(self.device)
            if cuda
            else f"{torch.get_num_threads()} CPU threads"
        )

    def model(self) -> RoIGAN:
        """The averaged generator, ready to inpaint."""
        ema = copy.deepcopy(self.ema).cpu()
        return RoIGAN(ema, f"{self.cfg.dataset}-{self.cfg.profile}", card=self.card())

    def card(self) -> dict:
        """What a reader of the weights should know: data, steps, seconds, configuration."""
        return {
            "dataset": self.cfg.dataset,
            "data": self.data.fingerprint,
            "images": len(self.data),
            "steps": self.step_count,
            "images_seen": self.step_count * self.cfg.batch,
            "seconds": round(self.seconds),
            "config_hash": self.cfg.hash(),
            "training": asdict(self.cfg),
            "precision": self.precision,
            "machine": self._machine(),
            "torch": torch.__version__,
        } | ({"started_from": self.started_from} if self.started_from else {})


def _shipped_state(beside):
    """A shipped model, and the networks that learned beside it (a file of their own), as a training checkpoint holds them."""
    from safetensors.torch import load_file

    model, parts = load_model(beside.stem), {"heads": {}}
    for key, value in load_file(beside).items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = value.float()
    weights, card = model.generator.state_dict(), model.card
    return {
        "format": "roigan-train-1",
        "config": card["training"] | {"dataset": card["dataset"]},
        "step": card["steps"],
        "images_seen": card["images_seen"],
        "seconds": card["seconds"],
        "generator": weights,
        "ema": weights,
        **parts,
    }


@contextmanager
def _whole_step():
    """Ctrl-C and SIGTERM wait for the end of the step: one saved between D's update and G's would not continue exactly."""
    pressed = []
    with on_signals(lambda *_: pressed.append(True), signal.SIGINT, signal.SIGTERM):
        yield
    if parallel.any_of(pressed):
        raise KeyboardInterrupt


def _finite(value):
    return value == value and abs(value) != float("inf")


def true_labels(data, names):
    """Factors of an ImageSet by name, their range scaled to [-1, 1]: (n, len(names)). RoiganError where it has none."""
    if not names:
        return torch.zeros(len(data), 0)
    if data.factors is None or list(data.factor_names) != synthfaces.NAMES:
        raise RoiganError(
            f"{data!r} has no factors that could be labels; leave labels out, or use synthfaces."
        )
    columns = [synthfaces.index(name) for name in names]
    low, high = (
        torch.tensor([getattr(synthfaces.FACTORS[k], end) for k in columns])
        for end in ("low", "high")
    )
    return 2 * (data.factors[:, columns] - low) / (high - low) - 1


def one_moved(cfg: Config, codes, generator):
    """Code rows (n, n_codes) in groups of cfg.siblings: the first stays, each other differs from it in one code.

    No two of a group move the same code. A continuous code moves by half its range towards the other side of 0, a
    discrete one to another category, so every row still follows the prior.
    """
    codes = codes.clone()
    for start in range(0, len(codes), cfg.siblings):
        moved = torch.randperm(cfg.n_codes, generator=generator)[: cfg.siblings - 1]
        for row, k in enumerate(moved.tolist(), start + 1):
            c = codes[start, k]
            step = torch.randint(1, max(2, cfg.n_categories), (), generator=generator)
            codes[row] = codes[start]
            codes[row, k] = (
                (c + step) % cfg.n_categories
                if k >= cfg.n_continuous
                else c - 1
                if c > 0
                else c + 1
            )
    return codes


def fixed_grid(cfg: Config, data, n: int = 8):
    """The images, masks and codes of every sample grid of a run: (n, 3, S, S), (n, 1, S, S), (n, n_codes).

    Fewer than n where the data set has fewer images.
    """
    n = min(n, len(data))
    images = data[:n]
    masks = sample_masks(cfg.mask_family, n, cfg.size, seed=cfg.seed + 5)
    return images, masks, sample_codes(cfg, n, torch.Generator().manual_seed(cfg.seed + 6))


def diversity(model: RoIGAN, images, masks, seed: int = 0) -> float:
    """Visible change in the hole between two draws of all codes and the noise, as a share of the value range (0 … 1)."""
    draws = torch.stack([model.inpaint(images, masks, seed=s) for s in (seed, seed + 1)])
    return visible_change(draws, masks).mean().item()


def _line(row, cfg, rate, left):
    picked = [
        f"{k} {row[k]:.3f}"
        for k in ("d", "g", "l1_hole", "perceptual", "info_c", "info_d")
        if k in row
    ]
    return (
        f"step {row['step']}/{cfg.steps}  {rate:.1f} images/s  {left / 60:.1f} min left  "
        f"{row['memory_gib']:.2f} GiB  " + "  ".join(picked)
    )


def train(
    cfg: Config | None = None,
    folder=None,
    data=None,
    progress=print,
    fresh=False,
    device=None,
    grid=None,
) -> Run:
    """Train to cfg.steps, or go on from the checkpoint in `folder`; returns a Run.

    Args: cfg: a Config (default: the laptop profile). folder: where checkpoint.pt, log.jsonl and model.safetensors
    go (default runs/<profile>-<dataset>). data: an ImageSet, instead of the one that cfg names. progress: called with
    a line of text every cfg.log_every steps, None for silence. fresh: forget an earlier checkpoint. grid: called as
    grid(step, images, masks, completed) every cfg.grid_every steps with the fixed sample grid. device: default the GPU
    where there is one.
    Ctrl-C and SIGTERM save, and return an unfinished run. Raises RoiganError: before the first step for a folder that
    cannot be written or where another run is at work, images or a checkpoint that do not fit; later for NaN, a full disk.
    """
    cfg = cfg or load_config()
    first = parallel.rank() == 0
    say = progress if progress and first else (lambda text: None)
    folder = Path(folder) if folder else run_folder(cfg)
    for name in ("checkpoint.pt", "log.jsonl", "model.safetensors") * first:
        check_output(folder / name)
    with (
        only_run(folder) if first else nullcontext(),
        on_signals(signal.default_int_handler, signal.SIGTERM),
    ):
        for left in (
            folder.glob("checkpoint.*.tmp") if first else ()
        ):  # of a process that was killed while it wrote
            left.unlink()
        return _train(cfg, folder, data, say, fresh, device, grid)


def _train(cfg, folder, data, say, fresh, device, grid):
    first = parallel.rank() == 0
    checkpoint, log = folder / "checkpoint.pt", folder / "log.jsonl"
    trainer = Trainer(cfg, data, device)
    rows = []
    if checkpoint.is_file() and not fresh:
        trainer.load(checkpoint)
        say(f"continuing {checkpoint} at step {trainer.step_count}")
        rows = _read_log(log, trainer.step_count, say)
    elif cfg.start:
        trainer.load(Path(cfg.start), start=True)
        say(f"starting with the networks of {cfg.start}")
    say(cfg.describe())
    if trainer.remark:
        say(trainer.remark)
    images, masks, codes = fixed_grid(cfg, trainer.data)
    began, start, quiet = time.perf_counter(), trainer.step_count, 0
    found = {}
    before = trainer.seconds
    try:
        while trainer.step_count < cfg.steps:
            with _whole_step():
                logs = trainer.step()
            trainer.seconds = before + time.perf_counter() - began
            for k, v in logs.items():
                found.setdefault(k, []).append(v)  # D's terms are missing during the warm-up
            step = trainer.step_count
            if step % cfg.log_every == 0 or step == cfg.steps:
                row = {
                    "step": step,
                    "seconds": round(trainer.seconds, 1),
                    "memory_gib": round(_memory(), 3),
                    "precision": trainer.precision,
                }
                row |= {k: round(sum(v) / len(v), 5) for k, v in found.items()}
                found = {}
                rate = (step - start) * cfg.batch / (time.perf_counter() - began)
                row["images_per_second"] = round(rate, 2)
                rows.append(row)
                left = (cfg.steps - step) * cfg.batch / rate
                if cfg.stop_after_minutes:
                    left = min(
                        left, max(0.0, 60 * cfg.stop_after_minutes - time.perf_counter() + began)
                    )
                say(_line(row, cfg, rate, left))
                quiet = quiet + 1 if row.get("d", 1.0) < 0.05 else 0
                if quiet == 5:
                    say(
                        "alarm: the discriminator tells every fake apart (its loss is near 0); lower lr_d."
                    )
            if first and (step % cfg.grid_every == 0 or step == cfg.steps):
                model = trainer.model()
                change = diversity(model, images, masks)
                if rows:
                    rows[-1]["diversity"] = round(change, 5)
                if change < 0.002 and step > 0.2 * cfg.steps:
                    say(
                        "alarm: other codes change the picture by less than 0.2 % of the range; the codes are dead."
                    )
                if grid:
                    grid(step, images, masks, model.inpaint(images, masks, codes))
            late = parallel.any_of(0 < 60 * cfg.stop_after_minutes < time.perf_counter() - began)
            if first and (step % cfg.checkpoint_every == 0 or step == cfg.steps or late):
                trainer.save(checkpoint)
                _write_log(log, rows)
            if late:
                break
    except KeyboardInterrupt:
        if first:
            trainer.save(checkpoint)
            _write_log(log, rows)
        say(f"stopped at step {trainer.step_count}; the same command goes on from here")
    model = trainer.model()
    if first:
        save_model(
            trainer.ema.state_dict(), cfg.model(), folder / "model.safetensors", trainer.card()
        )
    return Run(model, folder, rows, trainer.step_count >= cfg.steps)


def _read_log(path, step, say):
    """The rows of a log up to a step. Damaged lines are left out, and said to be."""
    rows, damaged = [], []
    for number, line in enumerate(
        path.read_text(errors="replace").splitlines() if path.is_file() else [], 1
    ):
        try:
            row = json.loads(line)
            rows += [row] * (row["step"] <= step)
        except (ValueError, KeyError, TypeError):
            damaged.append(number)
    if damaged:
        say(
            f"{path} is damaged in line {', '.join(map(str, damaged))}, left out here; the training does not depend on it"
        )
    return rows


def _write_log(path, rows):
    write_atomically(path, "".join(json.dumps(r) + "\n" for r in rows).encode())
