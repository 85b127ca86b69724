"""Scores of completed images against the originals. All take tensors, none knows a model.

Images are float (n, 3, H, W) in [-1, 1], masks (n, 1, H, W) in {0, 1}, 1 = the hole. `METRICS`
lists what `compare` reports: functions (completed, images, masks) -> one float for the set, or one
score per image (n,). A new metric is one function and one line there.
"""

import torch

from ..errors import RoiganError


def _fit(completed, images, masks=None):
    """RoiganError where the scores are asked of other things than tensors of one shape."""
    given = [completed, images] + ([] if masks is None else [masks])
    if not all(isinstance(t, torch.Tensor) and t.ndim == 4 for t in given):
        raise RoiganError("scores compare tensors (n, 3, H, W), and take masks as (n, 1, H, W).")
    if completed.shape != images.shape or given[-1].shape[2:] != images.shape[2:]:
        shapes = " and ".join(str(tuple(t.shape)) for t in given)
        raise RoiganError(f"scores compare tensors of one shape, not {shapes}; resize one of them.")


def l1_hole(completed, images, masks):
    """Mean |completed - image| over all hole pixels of the set, on [0, 1]: a float, 0 … 1.

    A large hole so counts for more than a small one.
    """
    _fit(completed, images, masks)
    masks = masks.expand(len(images), -1, -1, -1)  # one mask may serve all
    error = ((completed - images).abs() * masks).sum((1, 2, 3)) / 2  # (n,)
    count = masks.sum((1, 2, 3)) * images.shape[1]
    return float(error.double().sum() / count.double().sum().clamp(min=1))


def psnr(completed, images, masks=None):
    """Peak signal-to-noise ratio of the whole image in dB, peak 2; at most 100.  -> (n,)"""
    _fit(completed, images)
    error = (completed - images).square().mean((1, 2, 3)) / 4
    return -10 * error.clamp(min=1e-10).log10()


def ssim(completed, images, masks=None):
    """Structural similarity (Wang et al. 2004) of whole images by scikit-image, 1 at best.  -> (n,)

    Scored on [0, 1], since SSIM is defined for intensities, which begin at black = 0. Gaussian
    window of sigma 1.5 (11×11), only where it lies in the image, mean over channels. Raises
    RoiganError for images smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _fit(completed, images)
    if min(images.shape[2:]) < 11:
        raise RoiganError(
            "SSIM looks through a window of 11×11 pixels, and these images have "
            f"{images.shape[2]}×{images.shape[3]}: take larger ones."
        )
    wang = dict(sigma=1.5, gaussian_weights=True, use_sample_covariance=False)
    pairs = zip(*((y.double().cpu().numpy() + 1) / 2 for y in (completed, images)))  # in [0, 1]
    scores = [structural_similarity(*pair, data_range=1, channel_axis=0, **wang) for pair in pairs]
    return torch.tensor(scores, dtype=images.dtype, device=images.device)


def outside_change(completed, images, masks):
    """Largest |completed - image| outside the hole: 0 for completed images, not for raw output."""
    _fit(completed, images, masks)
    return float(((completed - images).abs() * (masks < 0.5)).max())


def _border_jump(images, masks):
    total = 0.0
    for axis in (2, 3):
        straddles = masks.diff(dim=axis).abs() > 0.5  # one pixel inside, one outside
        total += (images.diff(dim=axis).abs() * straddles).sum(dtype=torch.float64)
    return total


def border_ratio(completed, images, masks):
    """Seam: summed jump between neighbours on the two sides of the hole's edge, completed ÷ real.

    A float for the whole set, since one flat image would give a ratio of anything to nothing: 1 =
    edges as in real images, above 1 a visible seam, below 1 an edge that is too smooth.
    """
    _fit(completed, images, masks)
    real, fake = _border_jump(images, masks), _border_jump(completed, masks)
    if real == 0:
        return 1.0 if fake == 0 else float("inf")
    return float(fake / real)


def diversity(completions, masks):
    """Mean `l1_hole` between each two of k completions (k, n, 3, H, W) of the same images.

    0 = codes are ignored. Raises RoiganError for fewer than two completions.
    """
    if len(completions) < 2:
        raise RoiganError(f"Diversity takes two completions or more, not {len(completions)}.")
    pairs = [l1_hole(x, y, masks) for i, x in enumerate(completions) for y in completions[:i]]
    return sum(pairs) / len(pairs)


METRICS = {f.__name__: f for f in (l1_hole, psnr, ssim, border_ratio, outside_change)}
