"""What the codes move: visible change, meaning in named factors, monotonicity (thesis 4.3).

A model is anything with `.inpaint(images, masks, codes=, seed=)`, `.n_continuous`, `.n_discrete`
and `.n_categories`. Images are float (n, 3, H, W) in [-1, 1], masks (n, 1, H, W) in {0, 1}, 1 = the
hole, codes as in `RoIGAN.inpaint`. A stack (v, n, 3, H, W) holds completions under v settings.
"""

import torch
from torch.nn import functional as F

from ..checks import check_model, check_whole, numbers
from ..errors import RoiganError
from ..regularizers import visible_change
from .tracing import total_effect, traces
from .true_sliders import TrueSliders

BATCH = 16  # RoIGAN keeps the encoder's maps of so many images: more codes cost the decoder alone


def code_names(gan):
    """c1, c2, … for the continuous codes, then d1, d2, … for the discrete ones."""
    check_model(gan, "n_continuous", "n_discrete")
    counts = {"c": gan.n_continuous, "d": gan.n_discrete}
    return [f"{kind}{k + 1}" for kind, count in counts.items() for k in range(count)]


def sweep(gan, images, masks, settings, seed=0):
    """The stack (v, n, 3, H, W) of completions for each row of codes in settings (v, n_codes).

    All settings of one image share its noise z0, which `seed` fixes; other images have other noise.
    """
    settings = numbers("settings, rows of codes,", settings).float()
    if settings.ndim != 2:
        raise RoiganError(
            f"A sweep takes rows of codes (v, n_codes), not a tensor {tuple(settings.shape)}."
        )
    pairs = zip(images.split(BATCH), masks.expand(len(images), -1, -1, -1).split(BATCH))
    parts = [
        torch.stack([gan.inpaint(x, m, codes=row, seed=seed + BATCH * i) for row in settings])
        for i, (x, m) in enumerate(pairs)
    ]
    return torch.cat(parts, 1)


def ends(gan, k, base=None):
    """The settings that judge code k: -1 and 1, or every category; the others stay at base (0)."""
    k = check_whole("k", k, 0, len(code_names(gan)) - 1)
    values = (-1.0, 1.0) if k < gan.n_continuous else range(gan.n_categories)
    settings = _row(gan, base).repeat(len(values), 1)
    settings[:, k] = torch.tensor([float(v) for v in values])
    return settings


def _row(gan, base):
    """A row of codes as a tensor (n_codes,); None stands for 0 and category 0."""
    base = [0] * (gan.n_continuous + gan.n_discrete) if base is None else base
    return torch.as_tensor(base).reshape(-1).float()


def end_completions(gan, images, masks, base=None, seed=0):
    """{code: stack at its `ends`}; "z0": the base codes with two different noises.

    base: one row of codes, where the sliders that are not moved stay; default 0 (figure A.3).
    """
    names, row = code_names(gan), _row(gan, base)[None]
    found = {k: sweep(gan, images, masks, ends(gan, i, base), seed) for i, k in enumerate(names)}
    noises = [sweep(gan, images, masks, row, seed + 7_000_001 * i) for i in (0, 1)]
    return found | {"z0": torch.cat(noises)}


def visible_change_per_code(gan, images, masks, base=None, seed=0):
    """{code: (n,) visible change between its ends}, "z0" that of the noise; 0 … 1."""
    stacks = end_completions(gan, images, masks, base, seed)
    return {name: visible_change(stack, masks) for name, stack in stacks.items()}


def effect_on_factors(stacks, read, scale=1.0):
    """What each code does to what `read` sees: {code: (n, F) signed change}, an effect size.

    stacks: as from `end_completions`. read: images (m, 3, H, W) -> readings (m, F). scale: (F,) or
    a number, the unit, as a rule each factor's standard deviation over the data. Two settings give
    the reading at the last minus that at the first, more the mean |difference| over their pairs.
    """
    effects = {}
    for name, stack in stacks.items():
        readings = read(stack.flatten(0, 1)).unflatten(0, stack.shape[:2])  # (v, n, F)
        readings = readings / torch.as_tensor(scale, dtype=readings.dtype)
        first, second = torch.triu_indices(len(stack), len(stack), 1)
        gaps = readings[second] - readings[first]  # (pairs, n, F)
        effects[name] = gaps[0] if len(stack) == 2 else gaps.abs().mean(0)
    return effects


def agreement(effect):
    """How far a signed effect (n, F) points one way on all images, |mean| ÷ mean |·|: (F,)."""
    return effect.mean(0).abs() / effect.abs().mean(0).clamp_min(1e-12)


def monotonicity(readings):
    """Spearman's rank correlation of readings (steps, n) with rising slider values: (n,), -1 … 1.

    Raises RoiganError for fewer than three steps.
    """
    steps = len(readings)
    if steps < 3:
        raise RoiganError("Monotonicity needs three slider positions or more.")
    rank = readings.argsort(stable=True, dim=0).argsort(dim=0).float()  # (steps, n)
    order = torch.arange(steps, dtype=torch.float32)[:, None]
    rho = 1 - 6 * (rank - order).square().sum(0) / (steps * (steps**2 - 1))
    return rho.where(readings.amax(0) != readings.amin(0), torch.zeros_like(rho))


def readability(deltas, codes, held_out=0.25, ridge=1e-2):
    """R² of each code, read by a linear reader from pictures it was not fitted to: (k,), at most 1.

    deltas: (m, …) completions of ONE image with ONE noise under codes (m, k). Kernel ridge
    regression, the last share of rows held out; ridge is a share of the kernel's mean diagonal.
    High means *legible*, which is not yet visible. RoiganError: too few pictures.
    """
    x, y = deltas.flatten(1).double(), codes.double()
    m = round(len(x) * (1 - held_out))
    if m < 2 or len(x) - m < 2:
        raise RoiganError(
            "Readability needs more pictures: two or more to fit and two or more to test."
        )
    x, centre = x - x[:m].mean(0), y[:m].mean(0)
    kernel = x[:m] @ x[:m].T
    weight = ridge * kernel.diagonal().mean().clamp_min(1e-30)
    kernel = kernel + weight * torch.eye(m, dtype=x.dtype)
    guess = x[m:] @ x[:m].T @ torch.linalg.solve(kernel, y[:m] - centre) + centre
    return r_squared(guess - y[m:], y[m:]).float()


def r_squared(error, true):
    """R² of each column: 1 minus its squared error (n, k) ÷ the variance of true (n, k); (k,)."""
    return 1 - error.square().sum(0) / (true - true.mean(0)).square().sum(0).clamp_min(1e-12)


def locality(stack, masks):
    """Visible change inside the region ÷ outside it, each a mean over its pixels: (n,).

    1 = a code moves the whole frame alike. Infinite where nothing outside moves, as in every
    completed image: it is for raw output (`gan.generate`). NaN: nothing moves at all.
    """
    return visible_change(stack, masks) / visible_change(stack, 1 - masks)


def consistency(stack, masks):
    """How alike a traversal changes different images: mean cosine of difference pictures, -1 … 1.

    The last setting minus the first, inside masks. 1 = the same change on every image, about 0 for
    noise drawn anew. Comparable only for a region in one place. RoiganError: one image.
    """
    n = stack.shape[1]
    if n < 2:
        raise RoiganError("Consistency across images needs two images or more: this stack has one.")
    unit = F.normalize(((stack[-1] - stack[0]) * masks).flatten(1).double(), dim=1)  # (n, 3·H·W)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1)))
