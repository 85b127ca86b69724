"""What one step of the author's release minimizes (recipe `published`), as its code computes it.

Where they depart from thesis 3.7, each function says so. Conventions as in `losses`;
tests/yardstick.py is the same step once more, written plainly. Facts: the public repository
vaden4d/roi-gan, files Trainer.py and Losses.py.
"""

from __future__ import annotations

import math

import torch

from . import losses as L
from . import parallel
from .models.layers import full

IMAGE_NOISE = 0.05  # times N(0, 1), added to the real images of a step
VGG19_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def discriminator_loss(s, step):
    """(3.19) on noisy images, with a drawing for D alone by a generator in eval mode: a scalar."""
    image_noise, codes, noise = s.batch.more
    s.x = s.x + IMAGE_NOISE * image_noise
    g, d, weight = s.net.generator.eval(), s.net.discriminator.train(), s.cfg.objective.weight
    with s.cast():
        with torch.no_grad():
            raw = g(s.x, s.m, g.join_codes(codes, noise))[0]
        done = L.complete(raw, s.x, s.m)
        terms, real, fake = discriminator_terms(d, s.x, done, s.m, s.batch.alpha)
    loss = terms["hinge"] + weight("penalty") * terms["penalty"] + weight("zero") * terms["zero"]
    s.logs |= {"d": loss.item(), "penalty": terms["penalty"].item()}
    s.logs |= {"d_real": real.mean().item(), "d_fake": fake.mean().item()}
    return loss


def generator_loss(s, ramp):
    """(3.18) on the same noisy images and another drawing, D in eval mode: a scalar."""
    g, d, weight = s.net.generator.train(), s.net.discriminator.eval(), s.cfg.objective.weight
    with s.cast():
        f = g.features_of(s.x, s.m)
        raw = g.decode(f, s.m, g.join_codes(s.codes, s.batch.noise))
        terms = generator_terms(
            d,
            s.x,
            s.m,
            s.codes,
            raw,
            f["style"],
            f["logvar"],
            s.cfg.model.n_continuous,
            s.net.perceptual,
        )
    loss = sum(weight(k.removesuffix("_c").removesuffix("_d")) * v for k, v in terms.items())
    s.logs |= {"g": loss.item()} | {k: v.item() for k, v in terms.items()}
    return loss


def discriminator_terms(discriminator, x, done, m, alpha):
    """Hinge, penalty and zero concentrator (3.19) of D in training mode; real and fake scores.

    x, done (n, 3, 64, 64), m (n, 1, 64, 64), alpha (n, 1, 1, 1). Fake, real and mixed images pass
    one after the other, each with a power iteration of its own.
    """
    fake, real = discriminator(done, m)[0], discriminator(x, m)[0]
    return (
        {
            "hinge": L.hinge_discriminator(real, fake),
            "penalty": penalty(discriminator, x, done, m, alpha),
            "zero": L.zero_concentrator(real),
        },
        real,
        fake,
    )


def penalty(discriminator, x, done, m, alpha):
    """(3.10) as printed, outside the region, of the sum of all scores; 1e-12 under the root."""
    t = (alpha * x + (1 - alpha) * done).detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(t, m)[0].sum(), t, create_graph=True)
    length = (((1 - m) * slope).flatten(1).square().sum(1) + 1e-12).sqrt()
    return ((length - 1) ** 2).mean()


def generator_terms(discriminator, x, m, codes, raw, style, logvar, n_continuous, perceptual=None):
    """Every term of (3.18), unweighted, with D and Q in eval mode: a dictionary of scalars.

    codes (n, n_codes); raw and logvar as the generator gives them; perceptual: a network images ->
    maps, or None. Q reads the completed image; features are matched on the first image of the
    batch; total variation runs over the frame of RoI · x_c; the info terms are sums over codes. The
    KL is a mean over the style vector, and takes σZ + μ, here `style`, where (1.6) has μ: the
    variable is overwritten before it is returned.
    """
    done = L.complete(raw, x, m)
    scores, maps = discriminator(done, m)
    with torch.no_grad():
        real_maps = discriminator.maps(x[:1], m[:1])
    mu, log_variance, logits = discriminator.q(maps[-1])
    terms = {
        "adversarial": L.hinge_generator(scores),
        "matching": parallel.of_first(L.feature_matching(real_maps, [y[:1] for y in maps])),
        "variation": variation(m * done),
        "kl": L.kl_style(full(style), full(logvar)),
        "info_c": info_continuous(codes[:, :n_continuous], mu, log_variance),
        "info_d": L.info_discrete(codes[:, n_continuous:], logits, "sum"),
    }
    if perceptual is not None:
        with torch.no_grad():
            target = perceptual(x)
        terms["perceptual"] = sum(
            w * ((a - r).abs().mean() + (b - r).abs().mean())
            for w, r, a, b in zip(VGG19_WEIGHTS, target, perceptual(raw), perceptual(done))
        )
    return terms


def variation(images):
    """Mean |difference| of neighbours in the whole frame, both ways; images: RoI · x_c."""
    return images.diff(dim=3).abs().mean() + images.diff(dim=2).abs().mean()


def info_continuous(codes, mean, log_variance):
    """−L_con (3.15) summed over the codes, with the release's 1e-6 beside the variance."""
    variance = log_variance.exp()
    nll = 0.5 * (2 * math.pi * variance + 1e-6).log() + (codes - mean) ** 2 / (2 * variance + 1e-6)
    return nll.sum(1).mean()
