"""What one step minimises: (3.18) for generator and Q, (3.19) for the discriminator, term by term.

A `Step` carries a batch through the networks. `TERMS` lists what is asked of the generator; a term
is a function of the step and one line above it: name, equation, and on which rows it looks. Path A
is the rows whose codes are read from the real hole, so that the original is the right answer; path
B the rows whose codes are drawn from the prior. The thesis has path B only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional as F

from . import labelled, parallel
from . import losses as L
from . import regularizers as R
from .models import pyramid_fill
from .precision import autocast

GUMBEL = 0.5  # noise on category choices read from images (straight-through Gumbel softmax)


class Step:
    """A batch and what the networks make of it, each thing once and when it is first asked for.

    net: an object with generator, discriminator, reader, heads, perceptual and ema (reader, heads
    and perceptual may be None); n_a: rows of path A.
    """

    def __init__(self, cfg, net, batch, n_a, precision="fp32"):
        self.cfg, self.net, self.batch, self.precision = cfg, net, batch, precision
        self.x, self.m, self.codes = batch.images, batch.masks, batch.codes
        self.a, self.b = slice(0, n_a), slice(n_a, None)
        self.paired = self.a if n_a else slice(None)
        self.has_a, self.has_b = n_a > 0, n_a < len(self.x)
        self.reduction = "sum" if cfg.objective.reduction == "sum" else "mean"
        self.relative = cfg.objective.reduction == "relative"
        self.n_labels = batch.labels.shape[1]
        self.logs = {}

    def cast(self):
        """Passes through the networks run in here."""
        return autocast(self.precision, self.x.device)

    @cached_property
    def read(self):
        """μ, log σ² and logits that Q reads in the real hole."""
        return self.net.reader(self.x, self.m, pyramid_fill(self.x, self.m))

    @cached_property
    def z(self):
        """(z0, c0, one-hot c1). Path A: labels, the rest as read; path B: from the prior."""
        model, a, k = self.cfg.model, self.a, self.n_labels
        c0, c1 = self.codes[:, : model.n_continuous], self.codes[:, model.n_continuous :].long()
        hot = F.one_hot(c1, model.n_categories).float()
        if self.net.reader is not None:
            mean, _, logits = self.read
        if self.has_a:
            soft = (logits[a] + GUMBEL * self.batch.gumbel[a]).softmax(-1)
            picked = F.one_hot(soft.argmax(-1), model.n_categories).float()
            shown = torch.cat([self.shown_labels, mean[a][:, k:]], 1) + self.batch.jitter[a]
            c0 = torch.cat([shown, c0[a.stop :]])
            if not k:  # a drop-down that read the region would tell the labels once more
                hot = torch.cat([picked + soft - soft.detach(), hot[a.stop :]])
            spread = parallel.gather(mean.detach()).std(0, correction=0)
            self.logs["code_sd"] = spread.mean().item()
        return torch.cat([self.batch.noise, c0, hot.flatten(1)], 1)

    shown_labels = cached_property(labelled.shown_labels)

    @cached_property
    def drawn(self):
        """The encoder's features, and the raw output of the generator."""
        with self.cast():
            z = self.z
            features = self.net.generator.features_of(self.x, self.m)
            return features, self.net.generator.decode(features, self.m, z)

    @property
    def features(self):
        return self.drawn[0]

    @property
    def raw(self):
        return self.drawn[1]

    @cached_property
    def done(self):
        """The completed images (3.9)."""
        with self.cast():
            return L.complete(self.raw, self.x, self.m)

    @cached_property
    def real_maps(self):
        """D's maps of the real images."""
        with torch.no_grad():
            return self.net.discriminator.maps(self.x, self.m)

    @cached_property
    def judged(self):
        """D's scores and maps of the completed images.

        As printed, (3.11) asks the D of now for the maps of the real ones, not of an update ago.
        """
        self.real_maps  # noqa: B018 (spectral norm counts the passes: first the real images)
        return self.net.discriminator(self.done, self.m)

    @cached_property
    def seen(self):
        """The perceptual network's maps of the real and of the completed images."""
        with torch.no_grad():
            real = self.net.perceptual(self.x)
        return real, self.net.perceptual(self.done)

    @cached_property
    def told(self):
        """What Q reads in the rows of path B: its own drawing there (3.14)."""
        if self.net.reader is None:
            return self.net.discriminator.q(self.net.discriminator.maps(self.raw, self.m)[-1])
        x, m, fill, b = self.x, self.m, self.features["fill"], self.b
        fill = pyramid_fill(x[b], m[b]) if fill is None else fill[b]
        return self.net.reader(self.done[b], m[b], fill)

    def heads(self, maps, masks):
        """What D's heads say of maps, each scaled by the mean size of the real ones."""
        sizes = (L.mean_size(real).clamp_min(1e-6) for real in self.seen[0])
        return self.net.heads([y / size.to(y.dtype) for y, size in zip(maps, sizes)], masks)

    def perceptual_distance(self, rows):
        real, done = ([y[rows] for y in maps] for maps in self.seen)
        return L.match_maps(real, done, self.relative, self.reduction)

    @cached_property
    def siblings(self):
        """What each moved code changed: (groups, k, 3, S, S), and the groups' regions."""
        k = self.cfg.objective.siblings
        drawn = self.done[self.b].reshape(-1, k, *self.done.shape[1:])
        return drawn[:, 1:] - drawn[:, :1], self.m[self.b][::k]


@dataclass(frozen=True)
class Term:
    """One term of the generator's loss."""

    name: str
    equation: str
    rows: str  # A, B, A or all (A where there is one), A and B
    function: Callable[[Step], torch.Tensor]
    weight: str  # the weight of the recipe that it goes by
    adversarial: bool  # grows from 0 after the warm-up, in which D does not run
    measured: bool  # in the log, even where its weight is 0
    applies: Callable[[Step], bool]


TERMS: dict[str, Term] = {}


def term(name, equation, rows="A and B", weight=None, adversarial=False, measured=False, when=None):
    """Enter a function of a step as a term; `when(step)`: the batch has what it needs."""

    def enter(function):
        applies = when or (lambda step: True)
        told = name, equation, rows, function, weight or name, adversarial, measured, applies
        TERMS[name] = Term(*told)
        return function

    return enter


@term("l1_hole", "(2.8)", rows="A or all", measured=True)
def l1_hole(s):
    """The original inside the region, where the codes were read from it."""
    return L.masked_l1(s.raw[s.paired], s.x[s.paired], s.m[s.paired])


@term("l1_outside", "(2.12)", measured=True)
def l1_outside(s):
    """The original outside the region: the raw output stays continuous across the border."""
    return L.masked_l1(s.raw, s.x, 1 - s.m)


@term("variation", "(2.10)", measured=True)
def variation(s):
    """Total variation of the completed image."""
    return L.total_variation(s.done, s.m, s.reduction)


@term("kl", "(1.6)", measured=True)
def kl(s):
    """VAE loss: the global style follows N(0, 1)."""
    mean, logvar = s.features["mean"].float(), s.features["logvar"].float()
    return L.kl_style(mean, logvar, s.reduction)


@term("adversarial", "(1.17)", adversarial=True)
def adversarial(s):
    """Hinge loss: D is to take the completed image for a real one."""
    return L.hinge_generator(s.judged[0])


@term("matching", "(3.11)", rows="A or all", adversarial=True)
def matching(s):
    """Feature matching: D's maps of the completed image are those of the original."""
    real, done = ([y[s.paired] for y in maps] for maps in (s.real_maps, s.judged[1]))
    return L.feature_matching(real, done, s.reduction)


@term("tone", "ours")
def tone(s):
    """The original's means over patches: no code may change a face's tone."""
    return R.tone(s.raw, s.x, s.m, s.cfg.model.size // 8)


@term("perceptual", "(3.12)", rows="A or all", when=lambda s: s.net.perceptual is not None)
def perceptual(s):
    """Perceptual loss of x_c and, as printed, of x_g; outside the region the two agree."""
    distance = s.perceptual_distance(s.paired)
    if s.relative:
        return distance
    target = [y[s.paired] for y in s.seen[0]]
    raw = s.net.perceptual(s.raw[s.paired])
    return distance + L.match_maps(target, raw, False, s.reduction)


@term(
    "perceptual_prior",
    "(3.12)",
    rows="B",
    when=lambda s: s.net.perceptual is not None and s.has_a and s.has_b,
)
def perceptual_prior(s):
    """The same on path B, lighter: a face of random codes is to hold together, too."""
    return s.perceptual_distance(s.b)


@term("style", "Gatys et al. 2016", when=lambda s: s.net.perceptual is not None)
def style(s):
    """Gram matrices of the perceptual maps in the region: texture."""
    return R.style(*s.seen, s.m)


@term("projected", "(1.17)", adversarial=True, when=lambda s: s.net.heads is not None)
def projected(s):
    """Hinge loss of discriminators on the perceptual network's maps (Sauer et al. 2021)."""
    return R.projected_generator(s.heads(s.seen[1], s.m))


@term("l1_prior", "ours", rows="B", measured=True, when=lambda s: s.has_a and s.has_b)
def l1_prior(s):
    """The original inside the region on path B, light: random codes stay plausible."""
    return L.masked_l1(s.raw[s.b], s.x[s.b], s.m[s.b])


@term("mirror", "ours", rows="B", when=lambda s: s.has_b)
def mirror(s):
    """The mean of the average generator's drawing and of its mirrored twin (faces know no left)."""
    x, m, z = s.x[s.b], s.m[s.b], s.z[s.b]
    with torch.no_grad():
        both = (torch.cat([t, t.flip(-1)]) for t in (x, m))
        raw, twin = s.net.ema(*both, z.repeat(2, 1))[0].chunk(2)
    return L.masked_l1(s.raw[s.b], (raw + twin.flip(-1)) / 2, m)


@term("apart", "ours", rows="B", measured=True, when=lambda s: s.cfg.objective.siblings > 2)
def apart(s):
    """Siblings: different codes are to move different places."""
    return R.overlap(s.siblings[0])


@term("faint", "ours", rows="B", measured=True, when=lambda s: s.cfg.objective.siblings > 0)
def faint(s):
    """Siblings: a code, moved half its way, is to change half of what is wanted."""
    return R.faint(*s.siblings, s.cfg.objective.visible / 2)


@term("l1_border", "ours")
def l1_border(s):
    """The original in a band inside the border: no seams."""
    return L.masked_l1(s.raw, s.x, R.border_band(s.m, max(1, s.cfg.model.size // 16)))


@term(
    "info_c",
    "(3.15)",
    rows="B",
    weight="info",
    when=lambda s: s.has_b and s.n_labels < s.cfg.model.n_continuous,
)
def info_c(s):
    """Q reads the drawn sliders back; a label that the hole does not show is not asked for."""
    n, k, (mean, logvar, _) = s.cfg.model.n_continuous, s.n_labels, s.told
    over_codes = "mean" if s.relative else "sum"
    return L.info_continuous(s.codes[s.b, k:n], mean[:, k:], logvar[:, k:], over_codes)


@term("info_d", "(3.16)", rows="B", weight="info", when=lambda s: s.has_b)
def info_d(s):
    """Q reads the drawn categories back."""
    return L.info_discrete(s.codes[s.b, s.cfg.model.n_continuous :], s.told[2])


@term(
    "label",
    "ControlGAN, thesis 2.2",
    rows="B",
    measured=True,
    when=lambda s: s.has_b and s.net.classifier is not None,
)
def label(s):
    """The classifier, taught on real holes, reads the drawn labels where the hole shows them. A
    slider's ends stand for the strongest real examples, its middle for an undecided classifier.
    """
    (low, high), codes = s.net.ends, s.codes[s.b, : s.n_labels]
    wanted = torch.where(codes > 0, codes * high, -codes * low).sigmoid()
    return R.told(s.net.classifier(s.done[s.b], s.m[s.b]), wanted, s.batch.asked[s.b])


@term("prior", "Tolstikhin et al. 2018", measured=True, when=lambda s: s.net.reader is not None)
def prior(s):
    """Codes read from images follow the prior."""
    (mean, _, logits), k, first = s.read, s.n_labels, s.cfg.objective.siblings or 1
    rows = torch.arange(len(s.x))  # siblings show one real hole
    own = torch.cat([rows[s.a], rows[s.b][::first]])
    loss = R.match_uniform(mean[own, k:]) if k < s.cfg.model.n_continuous else 0.0
    return loss + 0.5 * R.match_categories(logits[own].softmax(-1))


def generator_loss(s: Step, ramp: float):
    """(3.18), of which G and Q follow the gradient: a scalar, and its terms in `s.logs`."""
    loss, found = 0, {}
    with s.cast():
        s.done  # noqa: B018 (drawn before the first term looks at a part of it)
        for t in TERMS.values():
            weight = s.cfg.objective.weight(t.weight) * (ramp if t.adversarial else 1)
            if (weight or (t.measured and not t.adversarial)) and t.applies(s):
                found[t.name] = t.function(s)
                if weight:
                    loss = loss + weight * found[t.name]
    s.logs |= {"g": loss.item()} | {k: v.item() for k, v in found.items()}
    return loss


def discriminator_loss(s: Step, step: int):
    """(3.19): hinge, gradient penalty, zero concentrator, and the hinge of the heads: a scalar."""
    n, every, weight = len(s.x), s.cfg.objective.penalty_every, s.cfg.objective.weight
    done = s.done.detach()
    with s.cast():  # real and fake in one pass
        scores, maps = s.net.discriminator(torch.cat([s.x, done]), torch.cat([s.m, s.m]))
        real, fake = scores.chunk(2)
        loss = L.hinge_discriminator(real, fake) + weight("zero") * L.zero_concentrator(real)
        if weight("penalty") and step % every == 0:
            alpha = s.batch.alpha
            penalty = L.gradient_penalty(s.net.discriminator, s.x, done, s.m, alpha)
            s.logs["penalty"] = penalty.item()
            loss = loss + weight("penalty") * every * penalty
        s.logs |= dict(d=loss.item(), d_real=real.mean().item(), d_fake=fake.mean().item())
        if s.net.heads is not None:
            both = [torch.cat([r, y.detach()]) for r, y in zip(*s.seen)]
            judged = R.projected_discriminator(s.heads(both, torch.cat([s.m, s.m])))
            s.logs["d_projected"] = judged.item()
            loss = loss + judged
    if s.relative:
        s.real_maps = [y.detach()[:n] for y in maps]
    return loss


def page(cfg) -> str:
    """The objective of a configuration as a Markdown table, a line for each term."""
    lines = ["| term | equation | weight | rows | |", "|---|---|---:|---|---|"]
    for t in TERMS.values():
        weight = cfg.objective.weight(t.weight)
        if weight:
            words = " ".join(t.function.__doc__.split())
            lines.append(f"| {t.name} | {t.equation} | {weight:g} | {t.rows} | {words} |")
    return "\n".join(lines)
