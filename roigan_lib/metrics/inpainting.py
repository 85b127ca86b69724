"""Scores of completed images against the originals. All take tensors, none knows a model.

Images are float (n, 3, H, W) in [-1, 1], masks (n, 1, H, W) in {0, 1} with 1 = the filled region. `METRICS` lists
what `compare` reports: functions (completed, images, masks) -> one float for the set, or one score per image (n,), of
which the row gets the mean and the standard deviation. A new metric is one function and one line there.
"""
import torch
import torch.nn.functional as F


def l1_hole(completed, images, masks, each=False):
    """Mean |completed - image| over all hole pixels and channels of the set, on the [0, 1] scale. A float, 0 to 1.

    A large hole so counts for more than a small one; each=True gives one mean per image instead, (n,).
    """
    masks = masks.expand(len(images), -1, -1, -1)                                    # one mask may serve all
    error = ((completed - images).abs() * masks).sum((1, 2, 3)) / 2                  # (n,)
    count = masks.sum((1, 2, 3)) * images.shape[1]
    return error / count.clamp(min=1) if each else float(error.double().sum() / count.double().sum().clamp(min=1))


def psnr(completed, images, masks=None):
    """Peak signal-to-noise ratio of the whole completed image in dB, the peak being 2; at most 100.  -> (n,)"""
    error = (completed - images).square().mean((1, 2, 3)) / 4
    return -10 * error.clamp(min=1e-10).log10()


def ssim(completed, images, masks=None, sigma=1.5, radius=5):
    """Structural similarity (Wang et al. 2004): 11×11 Gaussian window, sigma 1.5, range 2, mean of channels.  -> (n,)

    Windows that leave the image are left out, as scikit-image does; 1 = identical.
    """
    x, y = completed.double(), images.double()
    channels = x.shape[1]
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    line = torch.exp(-offsets.square() / (2 * sigma ** 2))
    line = (line / line.sum()).expand(channels, 1, 1, -1)                            # (3, 1, 1, 11)

    def blur(t):
        return F.conv2d(F.conv2d(t, line, groups=channels), line.transpose(2, 3), groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x ** 2, blur(y * y) - mean_y ** 2, blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    score = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x ** 2 + mean_y ** 2 + c1) * (var_x + var_y + c2))
    return score.mean((1, 2, 3)).to(images.dtype)


def outside_change(completed, images, masks):
    """Largest |completed - image| outside the hole: exactly 0 for completed images, not for raw output."""
    return float(((completed - images).abs() * (masks < 0.5)).max())


def _border_jump(images, masks):
    total = images.new_zeros((), dtype=torch.float64)
    for axis in (2, 3):
        straddles = masks.diff(dim=axis).abs() > 0.5                                 # one pixel inside, one outside
        total += (images.diff(dim=axis).abs() * straddles).sum(dtype=torch.float64)
    return total


def border_ratio(completed, images, masks):
    """Seam of the whole set: summed jump between neighbours on the two sides of the hole's edge, completed ÷ real.

    A float: 1 = edges as in real images, above 1 a visible seam, below 1 an edge that is too smooth. Taken over all
    pairs of the set at once, since a single flat image would give a ratio of anything to nothing.
    """
    real, fake = _border_jump(images, masks), _border_jump(completed, masks)
    if real == 0:
        return 1.0 if fake == 0 else float("inf")
    return float(fake / real)


def diversity(completions, masks):
    """Mean `l1_hole` between each two of k completions (k, n, 3, H, W) of the same images; 0 = codes are ignored."""
    pairs = [l1_hole(completions[i], completions[j], masks) for i in range(len(completions)) for j in range(i)]
    return sum(pairs) / len(pairs)


METRICS = {"l1_hole": l1_hole, "psnr": psnr, "ssim": ssim, "border_ratio": border_ratio,
           "outside_change": outside_change}
