"""How far codes and factors go together one to one: information, MIG, SAP, DCI; reading back.

A table of codes (n, K) holds one column a code: values of U(-1, 1), or category indices. A table of
factors (n, F) holds what was read from the n generated pictures. A column of at most `bins`
different values counts as categorical. RoiganError: tables of NaN, other shapes, too few rows.

Codes are the causes here, drawn independently, and factors are read off the pictures: `mig`, `sap`
and completeness judge each factor (is it moved by one code alone?). Pass only factors that are
painted inside the region. Scores are shares of the entropy or variance over all n pictures: an
effect is large or small beside the differences between faces.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ..checks import check_seed
from ..data.synthfaces.reader import stage
from ..errors import RoiganError
from . import BATCH, code_names, r_squared

BINS = 20


def _table(values, name):
    """Numbers (n, columns) as float64, or RoiganError."""
    values = torch.as_tensor(values).double()
    if values.ndim != 2 or not values.numel():
        raise RoiganError(
            f"The {name} have to be a table (n, columns) of numbers, not of shape "
            f"{tuple(values.shape)}."
        )
    if not torch.isfinite(values).all():
        raise RoiganError(
            f"The {name} hold NaN or infinity: look at the pictures or the reader they come from."
        )
    return values


def _tables(codes, factors, least=3):
    codes, factors = _table(codes, "codes"), _table(factors, "factors")
    n, m = len(codes), len(factors)
    if n != m:
        raise RoiganError(f"There are {n} rows of codes and {m} of factors: one of each a picture.")
    if n < least:
        raise RoiganError(f"{n} pictures are too few here: take {least} or more, or fewer bins.")
    return codes, factors


def _binned(table, bins):
    """Columns of a table as indices from 0: categories, or bins of equal frequency."""
    for column in table.T:
        values, index = column.unique(return_inverse=True)
        if len(values) > bins:  # equal values stay together
            inner = torch.arange(1, bins, dtype=column.dtype) / bins
            edges = column.quantile(inner).unique()
            index = torch.bucketize(column.contiguous(), edges, right=True)
            index = index.unique(return_inverse=True)[1]
        yield index


def _entropy(index):
    """(plug-in entropy in nats, number of cells in use) of indices (n,)."""
    count = index.bincount()
    share = count[count > 0].double() / len(index)
    return -(share * share.log()).sum(), len(share)


def entropies(values, bins=BINS):
    """Entropy of each column of a table (n, columns) cut into `bins`: (columns,), in nats."""
    return torch.stack([_entropy(index)[0] for index in _binned(_table(values, "values"), bins)])


def mutual_information(codes, factors, bins=BINS, corrected=True):
    """Mutual information of every code with every factor: (K, F) in nats, at most the `entropies`.

    Columns are cut into bins of equal frequency. What chance adds, about (bins − 1)² / 2n, is taken
    off after Miller and Madow (1955), by the count of cells in use, unless corrected=False; a value
    may then fall a little below 0. RoiganError: fewer than bins² rows.
    """
    codes, factors = _tables(codes, factors, bins * bins)
    found, ys = [], [(y, *_entropy(y)) for y in _binned(factors, bins)]
    for x in _binned(codes, bins):
        h_x, m_x = _entropy(x)
        for y, h_y, m_y in ys:
            h, m = _entropy(x * bins + y)
            chance = max(0, m - m_x - m_y + 1) / (2 * len(codes)) if corrected else 0
            found.append(h_x + h_y - h - chance)
    return torch.stack(found).reshape(codes.shape[1], -1)


def _gap(scores):
    """The largest of each column of scores (K, F) minus the second largest: (F,)."""
    scores = torch.as_tensor(scores)
    if scores.ndim != 2 or len(scores) < 2:
        raise RoiganError(
            f"A gap needs scores (K, F) of two codes or more, not of shape {tuple(scores.shape)}."
        )
    first, second = scores.clamp_min(0).topk(2, 0).values
    return first - second


def mig(information, entropy):
    """Mutual information gap of each factor (Chen et al. 2018): (F,), 0 … 1; a model's is the mean.

    information (K, F) of `mutual_information`, entropy (F,) of the factors' `entropies` with the
    same bins. The scale is steep and depends on the bins: one code with 80 % of the variance scores
    0.26 at 20 bins, 0.32 at 10. Of the codes, (K,): mig(information.T, entropies(codes)).
    """
    gap, entropy = _gap(information), torch.as_tensor(entropy)
    if entropy.shape != gap.shape:
        raise RoiganError(
            f"MIG takes one entropy a factor, {len(gap)}, not {tuple(entropy.shape)}."
        )
    return torch.where(entropy > 0, gap / entropy.clamp_min(1e-12), 0.0)


def explained_variance(codes, factors, bins=BINS):
    """Adjusted R² of each factor by a linear regression on each code alone: (K, F), 0 … 1.

    Categories go in one-hot. For independent codes a column adds up to the R² of all together.
    """
    codes, factors = _tables(codes, factors, bins + 2)
    y = factors - factors.mean(0)
    rows = []
    for column in codes.T:
        x = _design(column[:, None], bins)
        left, scale, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
        left = left[:, scale > 1e-9 * scale.max().clamp_min(1e-9)]  # one-hot columns are dependent
        r2 = (left.T @ y).square().sum(0) / y.square().sum(0).clamp_min(1e-12)
        rows.append(1 - (1 - r2) * (len(y) - 1) / (len(y) - 1 - left.shape[1]))
    return torch.stack(rows).clamp(0, 1)


def _design(codes, bins):
    """Codes (n, K) as regressors: continuous columns as they are, categorical ones one-hot."""
    columns = []
    for column in codes.T:
        values, index = column.unique(return_inverse=True)
        columns.append(F.one_hot(index).double() if len(values) <= bins else column[:, None])
    return torch.cat(columns, 1)


def sap(explained):
    """Separated attribute predictability of each factor (Kumar et al. 2018): (F,), 0 … 1.

    The gap between the best and the second best single predictor in `explained_variance`. Kumar's
    score for a categorical factor is an accuracy; here it has to have an order, or two categories.
    """
    return _gap(explained)


class DCI(NamedTuple):
    """Scores of `dci`, each 0 … 1: of every code (K,), of every factor (F,), and their means.

    `disentanglement` and `completeness` weigh codes and factors by their importance, so a dead code
    counts for nothing; in the means of `codes` and `factors` all count alike, a dead one as 0.
    """

    codes: torch.Tensor
    factors: torch.Tensor
    disentanglement: float
    completeness: float


def dci(importance):
    """How peaked the rows (disentanglement) and columns (completeness) of importances (K, F) are.

    Eastwood & Williams (2018): 1 minus the entropy along each row, in base F, and along each
    column, in base K. Returns a `DCI`; its weighted means are those of disentanglement_lib
    (Locatello et al. 2019). As importance take `explained_variance`; where all
    of it is near 0, chance decides. Raises RoiganError for another shape, less than 2 × 2, negative
    numbers, or nothing but 0.
    """
    rows = torch.as_tensor(importance).double()
    if rows.ndim != 2 or min(rows.shape) < 2 or not (rows >= 0).all() or rows.sum() == 0:
        raise RoiganError(
            "DCI takes a matrix of importances (K, F), 2 × 2 or larger, not negative and not all 0."
        )

    def peaked(rows):
        total = rows.sum(1)
        share = rows / total.clamp_min(1e-12)[:, None]
        score = 1 + torch.xlogy(share, share).sum(1) / math.log(rows.shape[1])
        score = torch.where(total > 0, score, 0.0)
        return score, float((score * total).sum() / total.sum())

    (codes, d), (factors, c) = peaked(rows), peaked(rows.T)
    return DCI(codes, factors, d, c)


class Drawn(NamedTuple):
    """Completions under random codes: n pictures, masks, codes, and the index of each image."""

    pictures: torch.Tensor
    masks: torch.Tensor
    codes: torch.Tensor
    index: torch.Tensor


def completions(gan, images, masks, n, seed=0):
    """n completions of images with codes and noise drawn anew for each, as `Drawn`.

    Every image serves n ÷ len(images) times, rounded up for the first ones. In groups of 16, as
    `control.sweep`. RoiganError: no image, n below 1, masks that do not pair.
    """
    if n < 1 or not len(images) or len(masks) not in (1, len(images)):
        raise RoiganError(
            f"Completions take one mask, or one an image, and n ≥ 1, not {len(masks)} for "
            f"{len(images)}."
        )
    masks, codes = masks.expand(len(images), -1, -1, -1), gan.sample_codes(n, seed)
    index = torch.arange(n) % len(images)
    index = index[(index // BATCH).argsort(stable=True)]
    pictures, done = [], 0
    for k in range(int(index.max()) // BATCH + 1):
        for rows in index[index // BATCH == k].split(min(BATCH, len(images) - k * BATCH)):
            own, lot = codes[done : done + len(rows)], seed + 7_000_001 + done
            pictures.append(gan.inpaint(images[rows], masks[rows], codes=own, seed=lot))
            done += len(rows)
    return Drawn(torch.cat(pictures), masks[index], codes, index)


def _reader(height, width, n_out, base=24):
    """Pictures and masks (n, 4, h, w) to scores (n, n_out): as FactorNet; 0.26 M weights."""
    sides = 4, base, 2 * base, 4 * base
    looks = [stage(c_in, c_out) for c_in, c_out in zip(sides, sides[1:])]
    looks += [nn.Conv2d(4 * base, base, 1, bias=False), nn.BatchNorm2d(base), nn.ReLU()]
    reads = [nn.Flatten(), nn.Linear(base * height * width // 64, 128, bias=False)]
    reads += [nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, n_out)]
    return nn.Sequential(*looks, *reads).to(memory_format=torch.channels_last)


def _window(masks, margin=4):
    """Slices (rows, columns) around all holes, with sides in multiples of 8 where they fit."""
    where = []
    for axis, size in zip((2, 3), masks.shape[2:]):
        used = masks.amax([d for d in range(4) if d != axis]).nonzero()
        low, high = max(0, int(used.min()) - margin), min(size, int(used.max()) + 1 + margin)
        side = -(-(high - low) // 8) * 8
        low = max(0, min(low, size - side))
        where.append(slice(low, low + -(-(high - low) // 8) * 8))
    return where


def read_back(gan, drawn, steps=1000, batch=64, held_out=0.25, seed=0, log=None):
    """How well a network reads each code from single completions: ({code: score}, n_train, n_test).

    R² of a continuous code (1 at best, 0 = the mean would do, a little below 0 for a dead code),
    accuracy of a discrete one (chance: 1 ÷ n_categories). drawn: `completions` of many faces, 4,000
    pictures or more for a fair score. A convolutional network is trained here for `steps` on
    picture and mask, cut to the surroundings of the holes; faces and codes of the test part are new
    to it. RoiganError: fewer than 2 faces, an empty mask, fewer than 2 batches of pictures.
    """
    pictures, masks, codes, index = drawn
    faces = index.unique()
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(check_seed(seed)))
    test = torch.isin(index, faces[order[: max(1, round(held_out * len(faces)))]])
    few = len(faces) < 2 or len(pictures) < 2 * batch or test.sum() < 2
    if few or not masks.any() or test.all():
        raise RoiganError(
            f"Reading back takes {2 * batch} completions or more of two faces or more, with a "
            f"hole, not {len(pictures)} of {len(faces)}."
        )
    rows, columns = _window(masks)
    x = torch.cat([pictures, masks], 1)[..., rows, columns]
    x = x.contiguous(memory_format=torch.channels_last)
    c, k = gan.n_continuous, gan.n_categories

    def kinds(out, true):
        """(scores (n, k), categories (n,)) of each discrete code."""
        return zip(out[:, c:].split(k, 1), true[:, c:].long().T)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _reader(*x.shape[-2:], c + gan.n_discrete * k)
        optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
        train = (~test).nonzero()[:, 0]
        for step in range(1, steps + 1):
            optimiser.param_groups[0]["lr"] = 4e-3 * min(1, step / 50) * max(0.01, 1 - step / steps)
            part = train[torch.randint(len(train), (batch,))]
            out, true = net(x[part] + 0.03 * torch.randn_like(x[part])), codes[part]
            loss = 3 * F.mse_loss(out[:, :c], true[:, :c]) if c else 0  # U(-1, 1) has variance 1/3
            for logits, category in kinds(out, true):
                loss = loss + 0.3 * F.cross_entropy(logits, category)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if log and step % 100 == 0:
                log(f"reader: step {step} of {steps}, loss {loss.item():.3f}")
    net.eval()
    with torch.inference_mode():
        out, true = torch.cat([net(part) for part in x[test].split(256)]), codes[test]
    scores = r_squared(out[:, :c] - true[:, :c], true[:, :c]).tolist()
    scores += [(s.argmax(1) == category).float().mean().item() for s, category in kinds(out, true)]
    return dict(zip(code_names(gan), scores)), int((~test).sum()), int(test.sum())
