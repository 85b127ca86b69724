"""How far codes and factors go together one to one: mutual information, MIG, SAP, DCI, and reading the codes back.

A table of codes (n, K) holds one column a code: values of U(-1, 1), or category indices. A table of factors (n, F)
holds what was read from the n generated pictures. A column of at most `bins` different values counts as categorical.

Codes are the causes here, drawn independently, and factors are read off the pictures: `mig`, `sap` and completeness
judge each factor (is it moved by one code alone?). Transposed, the same gaps judge each code (does it move one factor
more than any other?). Pass only factors that are painted inside the region: all else is bit-equal to the input.
The entropy or variance that scores are shares of is that of the readings over all n pictures. With many faces among
them it holds what the face decides and no code can move, and what the noise does; that counts against a score, as it
should: an effect is large or small beside the differences between faces. `deviations` takes the face away, but the
measures then know no scale: a faint trace that follows the code without noise scores as much as a large effect.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ..checks import check_seed
from ..errors import RoiganError
from . import BATCH, code_names

BINS = 20


def _table(values, name):
    """Numbers (n, columns) as float64, or RoiganError."""
    values = torch.as_tensor(values).double()
    if values.ndim != 2 or not values.numel():
        raise RoiganError(
            f"The {name} have to be a table (n, columns) of numbers, not of shape {tuple(values.shape)}."
        )
    if not torch.isfinite(values).all():
        raise RoiganError(
            f"The {name} hold NaN or infinity: look at the pictures or the reader they come from."
        )
    return values


def _tables(codes, factors, least=3):
    codes, factors = _table(codes, "codes"), _table(factors, "factors")
    if len(codes) != len(factors):
        raise RoiganError(
            f"There are {len(codes)} rows of codes and {len(factors)} of factors: one of each a picture."
        )
    if len(codes) < least:
        raise RoiganError(
            f"{len(codes)} pictures are too few here: take {least} or more, or fewer bins."
        )
    return codes, factors


# ---- what codes and factors tell about each other


def _binned(column, bins):
    """A column (n,) as indices from 0: its categories, or bins of equal frequency (equal values stay together)."""
    values, index = column.unique(return_inverse=True)
    if len(values) <= bins:
        return index
    inner = torch.arange(1, bins, dtype=column.dtype) / bins
    edges = column.quantile(inner).unique()
    return torch.bucketize(column.contiguous(), edges, right=True).unique(return_inverse=True)[1]


def _entropy(index):
    """(plug-in entropy in nats, number of cells in use) of indices (n,)."""
    count = index.bincount()
    share = count[count > 0].double() / len(index)
    return -(share * share.log()).sum(), len(share)


def entropies(values, bins=BINS):
    """Entropy of each column of a table (n, columns) cut into `bins`: (columns,) in nats, log(bins) at most."""
    return torch.stack(
        [_entropy(_binned(column, bins))[0] for column in _table(values, "values").T]
    )


def mutual_information(codes, factors, bins=BINS, corrected=True):
    """Mutual information of every code with every factor: (K, F) in nats, from 0 to the smaller of their `entropies`.

    Columns are cut into bins of equal frequency. Two errors of the plug-in estimate: cutting loses a little (a Gaussian
    pair of ρ = 0.8: 0.49 of 0.51 nats at 20 bins), and chance adds about (bins − 1)² / 2n, 0.045 nats at n = 4,000.
    The second is taken off after Miller and Madow (1955), by the count of cells in use, unless corrected=False; a value
    may then fall a little below 0. RoiganError: NaN, other shapes, fewer than bins² rows (below that chance rules).
    """
    codes, factors = _tables(codes, factors, bins * bins)
    n = len(codes)
    found = []
    ys = [_binned(column, bins) for column in factors.T]
    for x in (_binned(column, bins) for column in codes.T):
        for y in ys:
            (h_x, m_x), (h_y, m_y), (h, m) = _entropy(x), _entropy(y), _entropy(x * bins + y)
            found.append(h_x + h_y - h - (max(0, m - m_x - m_y + 1) / (2 * n) if corrected else 0))
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
    """Mutual information gap of each factor (Chen et al. 2018): (F,), 0 … 1; their mean is the MIG of a model.

    information (K, F) of `mutual_information`, entropy (F,) of the factors' `entropies` with the same bins. 1: one code
    tells all there is to know of the factor, no other anything. The scale is steep and depends on the bins: one code
    with 80 % of the variance, Gaussian noise the rest, scores 0.26 at 20 bins, 0.32 at 10. A code of k categories
    reaches log k ÷ entropy at most (0.46 for 4 categories, 20 bins).
    Of the codes instead, (K,): mig(information.T, entropies(codes)).
    """
    gap, entropy = _gap(information), torch.as_tensor(entropy)
    if entropy.shape != gap.shape:
        raise RoiganError(
            f"MIG takes one entropy a factor, {len(gap)}, not {tuple(entropy.shape)}."
        )
    return torch.where(entropy > 0, gap / entropy.clamp_min(1e-12), 0.0)


def explained_variance(codes, factors, bins=BINS):
    """Adjusted R² of each factor by a linear regression on each code alone: (K, F), 0 … 1; categories go in one-hot.

    For independent codes the entries of a column add up to the R² of all codes together. RoiganError as above.
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
    """Separated attribute predictability of each factor (Kumar et al. 2018): (F,), 0 … 1; SAP is their mean.

    explained (K, F) of `explained_variance`: the gap between the best and the second best single predictor. Kumar's
    score for a categorical factor is an accuracy; here a factor has to have an order, or two categories.
    """
    return _gap(explained)


class DCI(NamedTuple):
    """Scores of `dci`, each 0 … 1: of every code (K,), of every factor (F,), and their means.

    `disentanglement` and `completeness` weigh codes and factors by their importance, so a dead code
    counts for nothing; in the `_unweighted` means all count alike, and a dead one as 0.
    """

    codes: torch.Tensor
    factors: torch.Tensor
    disentanglement: float
    completeness: float

    @property
    def disentanglement_unweighted(self):
        """Plain mean of `codes`."""
        return float(self.codes.mean())

    @property
    def completeness_unweighted(self):
        """Plain mean of `factors`."""
        return float(self.factors.mean())


def dci(importance):
    """How peaked the rows (disentanglement) and columns (completeness) of an importance matrix are.

    Eastwood & Williams (2018): 1 minus the entropy of the matrix (K, F) along each row, in base F,
    and along each column, in base K. Returns a `DCI`; its weighted means are those of
    disentanglement_lib (Locatello et al. 2019). As importance take
    `explained_variance`, a share of variance like the impurity of the paper's random forests (|weights| of its lasso
    would give lower scores). `informativeness` is the third letter; where it is near 0, chance decides the other two.
    Raises RoiganError for another shape, less than 2 × 2, negative numbers, or nothing but 0.
    """
    importance = torch.as_tensor(importance).double()
    if (
        importance.ndim != 2
        or min(importance.shape) < 2
        or not (importance >= 0).all()
        or importance.sum() == 0
    ):
        raise RoiganError(
            "DCI takes a matrix of importances (K, F), 2 × 2 or larger, not negative and not all 0."
        )

    def peaked(rows):
        total = rows.sum(1)
        share = rows / total.clamp_min(1e-12)[:, None]
        score = 1 + torch.xlogy(share, share).sum(1) / math.log(rows.shape[1])
        score = torch.where(total > 0, score, 0.0)
        return score, float((score * total).sum() / total.sum())

    (codes, d), (factors, c) = peaked(importance), peaked(importance.T)
    return DCI(codes, factors, d, c)


def informativeness(codes, factors, held_out=0.25, bins=BINS):
    """R² of each factor by a linear regression on all codes, on the last share of rows, held out: (F,), at most 1."""
    codes, factors = _tables(codes, factors)
    x, m = _design(codes, bins), round(len(codes) * (1 - held_out))
    if m <= x.shape[1] or len(x) - m < 2:
        raise RoiganError(
            f"Informativeness needs more pictures: over {x.shape[1]} to fit and two or more to test."
        )
    centre_x, centre_y = x[:m].mean(0), factors[:m].mean(0)
    weights = torch.linalg.pinv(x[:m] - centre_x, rtol=1e-9) @ (factors[:m] - centre_y)
    rest = factors[m:]
    error = (rest - centre_y - (x[m:] - centre_x) @ weights).square().sum(0)
    return 1 - error / (rest - rest.mean(0)).square().sum(0).clamp_min(1e-12)


def deviations(readings, index):
    """Readings (n, F) minus the mean of all that share an index (n,), the face: what codes and noise did, (n, F)."""
    readings = _table(readings, "readings")
    faces = torch.as_tensor(index).unique(return_inverse=True)[1]
    if faces.shape != (len(readings),):
        raise RoiganError(
            f"Deviations take one face's index a reading, {len(readings)}, not {tuple(faces.shape)}."
        )
    total = torch.zeros(int(faces.max()) + 1, readings.shape[1], dtype=readings.dtype).index_add_(
        0, faces, readings
    )
    return readings - (total / faces.bincount()[:, None])[faces]


# ---- reading codes back from pictures


class Drawn(NamedTuple):
    """Completions under random codes: pictures (n, 3, S, S), masks (n, 1, S, S), codes (n, n_codes), index (n,)."""

    pictures: torch.Tensor
    masks: torch.Tensor
    codes: torch.Tensor
    index: torch.Tensor


def completions(gan, images, masks, n, seed=0):
    """n completions of images with codes and noise drawn anew for each, as `Drawn`; index names the image of each.

    Every image serves n ÷ len(images) times, rounded up for the first ones. In groups of 16, as `control.sweep`.
    """
    if n < 1 or not len(images) or len(masks) not in (1, len(images)):
        raise RoiganError(
            f"Completions take one mask, or one an image, and n ≥ 1, not {len(masks)} for {len(images)}."
        )
    masks = masks.expand(len(images), -1, -1, -1)
    index = torch.arange(n) % len(images)
    group = index // BATCH
    index, codes, pictures, done = (
        index[group.argsort(stable=True)],
        gan.sample_codes(n, seed),
        [],
        0,
    )
    for k in group.unique().tolist():
        for rows in index[index // BATCH == k].split(min(BATCH, len(images) - k * BATCH)):
            pictures.append(
                gan.inpaint(
                    images[rows],
                    masks[rows],
                    codes=codes[done : done + len(rows)],
                    seed=seed + 7_000_001 + done,
                )
            )
            done += len(rows)
    return Drawn(torch.cat(pictures), masks[index], codes, index)


def _reader(height, width, n_out, base=24):
    """Pictures and masks (n, 4, h, w) to scores (n, n_out): as FactorNet, batch norm included; 0.26 M weights."""
    layers, c_in = [], 4
    for c in (base, 2 * base, 4 * base):
        for a, stride in ((c_in, 2), (c, 1)):
            layers += [nn.Conv2d(a, c, 3, stride, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
        c_in = c
    layers += [
        nn.Conv2d(c_in, base, 1, bias=False),
        nn.BatchNorm2d(base),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(base * height * width // 64, 128, bias=False),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(128, n_out),
    ]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _window(masks, margin=4):
    """Slices (rows, columns) around all holes, with sides in multiples of 8 as far as the frame allows."""
    where = []
    for axis, size in zip((2, 3), masks.shape[2:]):
        used = masks.amax([d for d in range(4) if d != axis]).nonzero()
        low, high = max(0, int(used.min()) - margin), min(size, int(used.max()) + 1 + margin)
        low = max(0, min(low, size - -(-(high - low) // 8) * 8))
        where.append(slice(low, low + -(-(high - low) // 8) * 8))
    return where


def read_back(gan, drawn, steps=1000, batch=64, held_out=0.25, seed=0, log=None):
    """How well a network of its own reads each code from single completions: ({code: score}, n_train, n_test).

    R² of a continuous code (1 at best, 0 = the mean would do, a little below 0 for a dead code), accuracy of a discrete
    one (chance: 1 ÷ n_categories). drawn: `completions` of many faces, 4,000 pictures or more for a fair score: with
    fewer the reader is the limit. A convolutional network is trained here for `steps` on picture and mask alone, cut to
    the surroundings of the holes (one minute on a CPU core for the fixed region of notebook 09 at 64×64, more where
    holes lie all over the frame); faces and codes of the test part are new to it. log: takes lines of progress.
    RoiganError: fewer than 2 faces, an empty mask, fewer than 2 batches of pictures.
    """
    pictures, masks, codes, index = drawn
    faces = index.unique()
    generator = torch.Generator().manual_seed(check_seed(seed))
    tested = faces[
        torch.randperm(len(faces), generator=generator)[: max(1, round(held_out * len(faces)))]
    ]
    test = torch.isin(index, tested)
    if (
        len(faces) < 2
        or len(pictures) < 2 * batch
        or not masks.any()
        or test.all()
        or test.sum() < 2
    ):
        raise RoiganError(
            f"Reading back takes {2 * batch} completions or more of two faces or more, with a hole, not "
            f"{len(pictures)} of {len(faces)}."
        )
    rows, columns = _window(masks)
    x = torch.cat([pictures, masks], 1)[..., rows, columns].contiguous(
        memory_format=torch.channels_last
    )
    c, k = gan.n_continuous, gan.n_categories
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _reader(*x.shape[-2:], c + gan.n_discrete * k)
        optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
        train, average = (~test).nonzero()[:, 0], None
        for step in range(1, steps + 1):
            optimiser.param_groups[0]["lr"] = 4e-3 * min(1, step / 50) * max(0.01, 1 - step / steps)
            part = train[torch.randint(len(train), (batch,))]
            out, true = net(x[part] + 0.03 * torch.randn_like(x[part])), codes[part]
            loss = 3 * F.mse_loss(out[:, :c], true[:, :c]) if c else 0  # U(-1, 1) has variance 1/3
            for logits, category in zip(out[:, c:].split(k, 1), true[:, c:].long().T):
                loss = loss + 0.3 * F.cross_entropy(logits, category)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
            if log and step % 100 == 0:
                log(f"reader: step {step} of {steps}, loss {average:.3f}")
    net.eval()
    with torch.inference_mode():
        out = torch.cat([net(part) for part in x[test].split(256)])
    true = codes[test]
    r2 = 1 - (out[:, :c] - true[:, :c]).square().sum(0) / (
        true[:, :c] - true[:, :c].mean(0)
    ).square().sum(0)
    right = [
        (logits.argmax(1) == category).float().mean()
        for logits, category in zip(out[:, c:].split(k, 1), true[:, c:].long().T)
    ]
    scores = dict(zip(code_names(gan), [*r2.tolist(), *(share.item() for share in right)]))
    return scores, int((~test).sum()), int(test.sum())
