"""The objective of the improved recipe once more, written plainly from its equations, to compare.

Loops over images, layers and codes; nothing of the objective, losses and regularizers is used.
The networks are those of the kit, given as an object with generator, discriminator, reader, heads,
perceptual and ema. Rows before `n_a` are path A: their codes are read from the real hole.
"""

import math

import torch
from torch.nn import functional as F

from roigan_lib.models import pyramid_fill


def inside(values, masks):
    """Mean of values (n, 3, H, W) over the pixels where masks (n, 1, H, W) is 1."""
    total = sum((v * m).sum() for v, m in zip(values, masks))
    return total / (3 * sum(m.sum() for m in masks))


def read_codes(nets, batch, n_a):
    """z = (z0, c0, one-hot c1): read from the image on path A, drawn from the prior on path B."""
    cfg, told = nets.generator.cfg, batch.labels.shape[1]
    found = nets.reader(batch.images, batch.masks, pyramid_fill(batch.images, batch.masks))
    mean, _, logits = found
    rows = []
    for i, drawn in enumerate(batch.codes):
        sliders = drawn[: cfg.n_continuous]
        kinds = [F.one_hot(c.long(), cfg.n_categories) for c in drawn[cfg.n_continuous :]]
        if i < n_a:
            shown = batch.labels[i]
            if nets.classifier is not None:  # half what is true, half how strongly it is seen
                seen = nets.classifier(batch.images[i : i + 1], batch.masks[i : i + 1])[0]
                low, high = nets.ends
                shown = (shown + (seen / torch.where(seen > 0, high, -low)).clamp(-1, 1)) / 2
            sliders = torch.cat([shown.detach(), mean[i, told:]]) + batch.jitter[i]
        if i < n_a and not told:
            kinds = []
            for scores, gumbel in zip(logits[i], batch.gumbel[i]):
                soft = torch.softmax(scores + 0.5 * gumbel, 0)
                hard = F.one_hot(soft.argmax(), cfg.n_categories)
                kinds.append(hard - soft.detach() + soft)  # straight through
        rows.append(torch.cat([batch.noise[i], sliders, *kinds]))
    return torch.stack(rows), found


def draw(nets, batch, n_a):
    """Everything that the losses look at."""
    x, m = batch.images, batch.masks
    z, found = read_codes(nets, batch, n_a)
    features = nets.generator.features_of(x, m)
    raw = nets.generator.decode(features, m, z)
    return dict(z=z, read=found, features=features, raw=raw, done=m * raw + (1 - m) * x)


def hinge(real, fake):
    """(1.17), for the discriminator."""
    return (1 - real).clamp_min(0).mean() + (1 + fake).clamp_min(0).mean()


def head_scores(nets, maps, real, masks):
    """The heads' scores of maps that are divided by the mean size of the real ones."""
    scaled = [y / r.abs().mean() for y, r in zip(maps, real)]
    return nets.heads(scaled, masks)


def where_they_look(scores, looks):
    """Mean of scores over the places that look at the region."""
    return (scores * looks).sum() / looks.sum()


def judge(nets, weights, batch, done, every=1):
    """(3.19): {term: value}, the loss, and D's maps of the real images, which (3.11) asks for."""
    x, m, n = batch.images, batch.masks, len(batch.images)
    done = done.detach()
    scores, maps = nets.discriminator(torch.cat([x, done]), torch.cat([m, m]))
    terms = {"d_real": scores[:n].mean(), "d_fake": scores[n:].mean()}
    loss = hinge(scores[:n], scores[n:]) + weights.get("zero", 0) * (scores[:n] ** 2).mean()
    if weights.get("penalty") and every:
        t = batch.alpha * x + (1 - batch.alpha) * done
        t.requires_grad_()
        value = nets.discriminator(t, m)[0].mean(1).sum()
        (slope,) = torch.autograd.grad(value, t, create_graph=True)
        lengths = [(part * mask).pow(2).sum().sqrt() for part, mask in zip(slope, m)]
        terms["penalty"] = sum((length - 1) ** 2 for length in lengths) / n  # (3.10)
        loss = loss + every * weights["penalty"] * terms["penalty"]
    terms["d"] = loss
    if nets.heads is not None:
        with torch.no_grad():
            real, fake = nets.perceptual(x), nets.perceptual(done)
        both = [torch.cat(pair) for pair in zip(real, fake)]
        found = head_scores(nets, both, real, torch.cat([m, m]))
        sides = 0.0
        for scores, looks in found:
            truth = where_they_look((1 - scores[:n]).clamp_min(0), looks[:n])
            fakes = where_they_look((1 + scores[n:]).clamp_min(0), looks[n:])
            sides = sides + (truth + fakes) / len(found)
        terms["d_projected"] = sides
        loss = loss + sides
    return loss, terms, [y[:n].detach() for y in maps]


def wasserstein(codes):
    """Squared distance of each code from U(-1, 1) in one dimension, by ranks: codes (n, k)."""
    n, k = codes.shape
    total = 0.0
    for j in range(k):
        order = codes[:, j].argsort()
        for rank, i in enumerate(order):
            total = total + (codes[i, j] - (2 * (rank + 0.5) / n - 1)) ** 2
    return total / (n * k)


def repeated(codes):
    """Mean squared correlation of two codes, each of variance 1/3; the diagonal counts as 0."""
    n, k = codes.shape
    centred = [codes[:, j] - codes[:, j].mean() for j in range(k)]
    pairs = [(a, b) for a in range(k) for b in range(k) if a != b]
    return sum(((centred[a] * centred[b]).sum() / n / (1 / 3)) ** 2 for a, b in pairs) / k**2


def unevenness(logits):
    """log k − H(mean p) of each drop-down, on average: logits (n, L_d, k)."""
    total = 0.0
    for j in range(logits.shape[1]):
        p = logits[:, j].softmax(-1).mean(0)
        total = total + math.log(len(p)) + (p * p.log()).sum()
    return total / logits.shape[1]


def gram(maps, share):
    """The Gram matrix of one image's maps (c, h, w) over the region: share (h, w) of each place."""
    y = maps.flatten(1)
    return (y * share.flatten()) @ y.T / share.sum()


def generator_terms(nets, objective, batch, n_a, drawn, real_maps):
    """Every term of (3.18) that this batch has: {name: value}. objective: cfg.objective."""
    x, m, raw, done, k = batch.images, batch.masks, drawn["raw"], drawn["done"], objective.siblings
    n, size, told, model = len(x), x.shape[-1], batch.labels.shape[1], nets.generator.cfg
    path_a, path_b = range(n_a), range(n_a, n)
    own = list(path_a or range(n))  # where the original is the right answer
    rest = list(path_b)
    terms = {
        "l1_hole": inside((raw - x).abs()[own], m[own]),  # (2.8)
        "l1_outside": inside((raw - x).abs(), 1 - m),  # (2.12)
    }
    if n_a and rest:
        terms["l1_prior"] = inside((raw - x).abs()[rest], m[rest])
    total, pairs = 0.0, 0  # (2.10), pairs of neighbours with one or both in the region
    for axis in (1, 2):
        for picture, mask in zip(done, m):
            a, b = (picture.narrow(axis, start, size - 1) for start in (0, 1))
            p, q = (mask.narrow(axis, start, size - 1) for start in (0, 1))
            either = ((p + q) > 0).to(picture.dtype)
            total, pairs = total + ((a - b).abs() * either).sum(), pairs + 3 * either.sum()
    terms["variation"] = total / pairs
    mu, logvar = drawn["features"]["mean"], drawn["features"]["logvar"]
    terms["kl"] = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).mean()  # (1.6)

    scores, maps = nets.discriminator(done, m)
    terms["adversarial"] = -scores.mean()  # (1.17)
    layers = zip(real_maps, maps)
    terms["matching"] = sum((r[own] - f[own]).abs().mean() for r, f in layers)  # (3.11)

    patch = size // 8
    mean = lambda t: F.avg_pool2d(t, patch)
    terms["tone"] = mean((raw - x) * m).abs().sum() / (3 * mean(m).sum())
    near = 1 - m  # what lies within a sixteenth of the frame from a pixel outside
    for _ in range(size // 16):
        near = F.max_pool2d(near, 3, 1, 1)
    terms["l1_border"] = inside((raw - x).abs(), m * near)

    with torch.no_grad():
        real = nets.perceptual(x)
    fake = nets.perceptual(done)
    for name, rows in (("perceptual", own), ("perceptual_prior", rest)):  # (3.12)
        if name == "perceptual" or (n_a and rest):
            terms[name] = sum(
                (r[rows] - f[rows]).abs().mean() / r[rows].abs().mean() for r, f in zip(real, fake)
            )
    terms["style"] = 0.0
    for r, f in zip(real, fake):
        shares = F.adaptive_avg_pool2d(m, r.shape[-1])[:, 0]
        grams = [
            torch.stack([gram(y, s) for y, s in zip(maps, shares)]) for maps in (r, f)
        ]  # (n, c, c)
        terms["style"] += (grams[0] - grams[1]).abs().mean() / grams[0].abs().mean()
    if nets.heads is not None:
        found = head_scores(nets, fake, real, m)
        terms["projected"] = -sum(where_they_look(*pair) for pair in found) / len(found)

    mean_read, _, logits_read = drawn["read"]
    faces = list(path_a) + rest[:: k or 1]  # siblings show one real hole
    terms["prior"] = 0.5 * unevenness(logits_read[faces])
    if told < model.n_continuous:
        codes = mean_read[faces][:, told:]
        terms["prior"] = terms["prior"] + wasserstein(codes) + repeated(codes)
    if not rest:
        return terms

    with torch.no_grad():
        z = drawn["z"][rest]
        one = nets.ema(x[rest], m[rest], z)[0]
        twin = nets.ema(x[rest].flip(3), m[rest].flip(3), z)[0].flip(3)
    terms["mirror"] = inside((raw[rest] - (one + twin) / 2).abs(), m[rest])
    if k:
        lacking, cosines = [], []
        for first in rest[::k]:
            moved = [done[first + j] - done[first] for j in range(1, k)]
            area = 3 * m[first].sum()
            for change in moved:
                seen = (change * m[first]).abs().sum() / area / 2  # of a range of 2
                lacking.append((1 - seen / (objective.visible / 2)).clamp_min(0))
            where = [F.avg_pool2d(c.abs().mean(0)[None], 4).flatten() for c in moved]
            for a in range(k - 1):
                for b in range(a):
                    cosines.append(F.cosine_similarity(where[a], where[b], 0))
        terms["faint"] = sum(lacking) / len(lacking)
        if cosines:
            terms["apart"] = sum(cosines) / len(cosines)
    fill = pyramid_fill(x[rest], m[rest])
    mean, logvar, logits = nets.reader(done[rest], m[rest], fill)
    sliders = batch.codes[rest][:, : model.n_continuous]
    if told < model.n_continuous:  # (3.15), here the mean over the codes
        normal = torch.distributions.Normal(mean[:, told:], (logvar[:, told:] / 2).exp())
        terms["info_c"] = -normal.log_prob(sliders[:, told:]).mean()
    if nets.classifier is not None:  # a logit between the ends, where the hole shows the label
        total, asked = 0.0, 0.0
        for i in rest:
            seen = nets.classifier(done[i : i + 1], m[i : i + 1])[0]
            for logit, code, share, low, high in zip(
                seen, batch.codes[i], batch.asked[i], *nets.ends
            ):
                p = torch.sigmoid(code * high if code > 0 else -code * low)
                total = total - share * (p * F.logsigmoid(logit) + (1 - p) * F.logsigmoid(-logit))
                asked = asked + share
        terms["label"] = total / asked
    kinds = batch.codes[rest][:, model.n_continuous :].long()
    terms["info_d"] = -torch.distributions.Categorical(logits=logits).log_prob(kinds).mean()  # 3.16
    return terms


ADVERSARIAL = ("adversarial", "matching", "projected")  # they grow from 0 after the warm-up


def generator_loss(weights, terms, ramp):
    """(3.18): the weighted sum of the terms."""
    loss = 0.0
    for name, value in terms.items():
        weight = weights.get("info" if name.startswith("info_") else name, 0.0)
        loss = loss + weight * (ramp if name in ADVERSARIAL else 1.0) * value
    return loss
