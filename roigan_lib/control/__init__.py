"""What the codes move: visible change, meaning in named factors, monotonicity (thesis 4.3).

A model is anything with `.inpaint(images, masks, codes=, seed=)`, `.n_continuous`, `.n_discrete` and `.n_categories`.
Images are float (n, 3, H, W) in [-1, 1], masks (n, 1, H, W) in {0, 1}, 1 = the hole, codes as in `RoIGAN.inpaint`.
"""

import torch
from torch.nn import functional as F

from ..errors import RoiganError
from ..regularizers import visible_change
from ..metrics.features import factor_net
from .tracing import total_effect, traces
from .true_sliders import TrueSliders

BATCH = (
    16  # RoIGAN keeps the encoder's maps of up to 16 images: further codes cost the decoder alone
)


def code_names(gan):
    """c1, c2, … for the continuous codes, then d1, d2, … for the discrete ones."""
    return [f"c{k + 1}" for k in range(gan.n_continuous)] + [
        f"d{k + 1}" for k in range(gan.n_discrete)
    ]


def sweep(gan, images, masks, settings, seed=0):
    """Completions for each row of codes in settings (v, n_codes), on every image: (v, n, 3, H, W).

    All settings of one image share its noise z0, which `seed` fixes; other images have other noise.
    """
    settings = torch.as_tensor(settings, dtype=torch.float32)
    if settings.ndim != 2:
        raise RoiganError(
            f"A sweep takes rows of codes (v, n_codes), not a tensor {tuple(settings.shape)}."
        )
    if len(masks) == 1:
        masks = masks.expand(len(images), -1, -1, -1)
    parts = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        parts.append(
            torch.stack(
                [
                    gan.inpaint(images[part], masks[part], codes=row, seed=seed + start)
                    for row in settings
                ]
            )
        )
    return torch.cat(parts, 1)


def ends(gan, k, base=None):
    """The settings between which code k is judged: -1 and 1, or every category; the other codes stay at `base` (0)."""
    values = (-1.0, 1.0) if k < gan.n_continuous else range(gan.n_categories)
    settings = _row(gan, base).repeat(len(values), 1)
    settings[:, k] = torch.tensor([float(v) for v in values])
    return settings


def _row(gan, base):
    """A row of codes as a tensor (n_codes,); None stands for 0 and category 0."""
    return (
        torch.zeros(gan.n_continuous + gan.n_discrete)
        if base is None
        else torch.as_tensor(base).reshape(-1).float()
    )


def end_completions(gan, images, masks, base=None, seed=0):
    """{code: completions (v, n, 3, H, W) at its `ends`}; "z0": the base codes with two different noises.

    base: one row of codes, the position of all sliders that are not being moved; default 0 and category 0 (figure A.3).
    """
    found = {
        name: sweep(gan, images, masks, ends(gan, k, base), seed)
        for k, name in enumerate(code_names(gan))
    }
    found["z0"] = torch.cat(
        [sweep(gan, images, masks, _row(gan, base)[None], seed + 7_000_001 * i) for i in (0, 1)]
    )
    return found


def visible_change_per_code(gan, images, masks, base=None, seed=0):
    """{code: (n,) visible change between its ends}, and under "z0" that of the noise: 0 … 1, see `visible_change`."""
    return {
        name: visible_change(stack, masks)
        for name, stack in end_completions(gan, images, masks, base, seed).items()
    }


def effect_on_factors(stacks, read, scale=1.0):
    """What each code does to what `read` sees: {code: (n, F) signed change} in units of `scale`, an effect size.

    stacks: {code: completions (v, n, 3, H, W)} as from `end_completions`. read: images (m, 3, H, W) -> readings (m, F).
    scale: (F,) or a number, as a rule each factor's standard deviation over the data. A continuous code gives the
    reading at 1 minus that at -1; one of more than two settings the mean |difference| over their pairs, without a sign.
    """
    effects = {}
    for name, stack in stacks.items():
        readings = read(stack.flatten(0, 1))  # (v · n, F)
        readings = readings.reshape(*stack.shape[:2], -1) / torch.as_tensor(
            scale, dtype=readings.dtype
        )
        first, second = torch.triu_indices(len(stack), len(stack), 1)
        gaps = readings[second] - readings[first]  # (pairs, n, F)
        effects[name] = gaps[0] if len(stack) == 2 else gaps.abs().mean(0)
    return effects


def agreement(effect):
    """How far a signed effect (n, F) points one way on all images, |mean| ÷ mean |·|: 1 always, 0 as often back; (F,)."""
    return effect.mean(0).abs() / effect.abs().mean(0).clamp_min(1e-12)


def monotonicity(readings):
    """Spearman's rank correlation of readings (steps, n) with the rising slider values they belong to: (n,), -1 … 1."""
    steps = len(readings)
    if steps < 3:
        raise RoiganError("Monotonicity needs three slider positions or more.")
    rank = readings.argsort(stable=True, dim=0).argsort(dim=0).float()  # (steps, n)
    order = torch.arange(steps, dtype=torch.float32)[:, None]
    flat = readings.amax(0) == readings.amin(0)
    rho = 1 - 6 * (rank - order).square().sum(0) / (steps * (steps**2 - 1))
    return torch.where(flat, torch.zeros_like(rho), rho)


def readability(deltas, codes, held_out=0.25, ridge=1e-2):
    """R² of each code, read back from pictures by a linear reader, on pictures it was not fitted to: (k,), at most 1.

    deltas: (m, …) completions of ONE image with ONE noise under codes (m, k). Kernel ridge regression, the last share
    of rows held out; ridge is a share of the kernel's mean diagonal. High means *legible*, which is not yet visible.
    """
    x, y = deltas.flatten(1).double(), codes.double()
    m = round(len(x) * (1 - held_out))
    if m < 2 or len(x) - m < 2:
        raise RoiganError(
            "Readability needs more pictures: two or more to fit and two or more to test."
        )
    x, centre = x - x[:m].mean(0), y[:m].mean(0)
    kernel = x[:m] @ x[:m].T
    kernel = kernel + ridge * kernel.diagonal().mean().clamp_min(1e-30) * torch.eye(
        m, dtype=x.dtype
    )
    guess = x[m:] @ x[:m].T @ torch.linalg.solve(kernel, y[:m] - centre) + centre
    return (
        1
        - (guess - y[m:]).square().sum(0) / (y[m:] - y[m:].mean(0)).square().sum(0).clamp_min(1e-12)
    ).float()


def locality(stack, masks):
    """Visible change inside the region ÷ outside it, each a mean over its pixels, per image: (n,).

    stack (v, n, 3, H, W) as in `visible_change`. 1 = a code moves the whole frame alike. Infinite where nothing outside
    moves, as in every completed image: it is for raw output (`gan.generate`). NaN: nothing moves at all.
    """
    return visible_change(stack, masks) / visible_change(stack, 1 - masks)


def consistency(stack, masks):
    """How alike a traversal changes different images: mean cosine of any two images' difference pictures, -1 … 1.

    stack (v, n, 3, H, W): the last setting minus the first, inside masks. A float: 1 = the same change on every image,
    about 0 for noise drawn anew. Comparable over images only for a region in one place. RoiganError: one image.
    """
    n = stack.shape[1]
    if n < 2:
        raise RoiganError("Consistency across images needs two images or more: this stack has one.")
    unit = F.normalize(((stack[-1] - stack[0]) * masks).flatten(1).double(), dim=1)  # (n, 3·H·W)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1)))


def feature_change(stack, masks, net=None):
    """Change of FactorNet's maps between all pairs of the v settings in stack (v, n, 3, H, W), per image: (n,), 0 … 2.

    Computed as in LPIPS (Zhang et al. 2018), but it is not LPIPS: squared distance of unit-length feature vectors, mean
    over the positions in the hole and over three maps, without weights fitted to human judgement, by a network that has
    seen drawn portraits only. Two different images give the yardstick. RoiganError: one setting, FactorNet missing.
    """
    net = net or factor_net()
    if net is None or len(stack) < 2:
        raise RoiganError(
            "A change of features needs two settings or more, and the weights of FactorNet."
        )
    total = 0
    with torch.inference_mode():
        settings = [[F.normalize(y, dim=1) for y in net.maps(pictures)] for pictures in stack]
        for level in zip(*settings):  # v maps (n, c, h, w)
            weights = F.adaptive_avg_pool2d(masks, level[0].shape[-2:])[:, 0]  # (n or 1, h, w)
            weights = weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-12)
            pairs = [
                ((level[i] - level[j]).square().sum(1) * weights).sum((1, 2))
                for i in range(len(level))
                for j in range(i)
            ]
            total = total + torch.stack(pairs).mean(0)
    return total / len(settings[0])
