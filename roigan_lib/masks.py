"""The RoI block (thesis 3.2): random binary masks, 1 = the region to fill.

A mask is drawn in two steps. Its parameters come from a CPU generator in float64, so that one seed
means one set of masks on every device. Its pixels are then decided for the whole batch: a rectangle
or an ellipse is one run of pixels in each row, whose ends have a closed form; `mixtures` sums many.
"""

import math
from typing import NamedTuple

import torch

from .checks import check_device, check_name, check_seed, check_whole, height_width
from .errors import enough_memory
from .mixtures import paint_mixtures


class Law(NamedTuple):
    """The constants of a family's Gaussians, by default those that the thesis gives."""

    gaussians: int = 1  # n of (3.6)
    narrow: float = 5  # (3.3): σ ~ U(I / narrow, I / wide)
    wide: float = 3
    tilt: float = 0.8  # (3.3): ρ ~ U(-tilt, tilt)
    spread: float = 1  # of the centre, in standard deviations of (3.2)
    down: float = 0.5  # (3.2): where the centre lies on average, as a share of the height


LAWS = {
    "rectangular": None,
    "elliptic": Law(),
    "mixed": Law(gaussians=15),
    "mixed-released": Law(gaussians=15, narrow=10, wide=6, tilt=0.9),
    "elliptic-wide": Law(narrow=20, spread=2),
    "elliptic-broad": Law(narrow=30, wide=2.5, spread=2),
    "elliptic-face": Law(narrow=5, wide=2.8, tilt=0.3, down=0.6),
}
FAMILIES = ("rectangular", "elliptic", "mixed", "mixed-released")  # the others are for training

# The regions of figures 4.5 and A.1-A.4: centre x, y and half axes, as shares of the frame.
FACE = (0.5, 0.61, 0.29, 0.36)
HAIR = (0.5, 0.12, 0.28, 0.16)

LEVEL = 2 * math.log(2)  # f > max f / 2 is the same as (x-μ)ᵀ Σ⁻¹ (x-μ) < 2 ln 2


@enough_memory("n or size")
def sample_masks(family: str, n: int, size, seed=0, device="cpu", generator=None) -> torch.Tensor:
    """n random masks (n, 1, H, W), float32 of {0, 1}, 1 = the region to fill, on `device`.

    `size` is H = W or a pair (H, W), each from 8 to 4096; below, I_w = W and I_h = H, and pixels
    lie at x = 0…W-1, y = 0…H-1. `generator`, a torch.Generator, is used and moved on in place of
    `seed`. The families:

    rectangular     (3.1) Two opposite corners, each coordinate uniform on the pixel edges 0…I_w
                    (0…I_h): the pixels between them.
    elliptic        (3.2-3.5) μ ~ N(I/2, diag(I_w, I_h)), a covariance, so 8 pixels of standard
                    deviation at 64; ρ ~ U(-0.8, 0.8), σ_x ~ U(I_w/5, I_w/3), σ_y ~ U(I_h/5, I_h/3).
                    The matrix of (3.3) is printed as Σ⁻¹ but holds the entries of Σ, and is taken
                    as Σ. The mask is f > max f / 2 with the maximum over the plane: the ellipse
                    (x-μ)ᵀ Σ⁻¹ (x-μ) < 2 ln 2, of area 2π ln 2 · σ_x σ_y √(1-ρ²).
    mixed           (3.6-3.7) f_n = Σ w_j f(·|μ_j, Σ_j) with the Gaussians of "elliptic"; the mask
                    is f_n > max f_n / 2 with the maximum over the pixels. The thesis gives neither
                    n nor the law of w; the released code has n = 15, w = softmax of U(-1, 1).
                    (3.7) prints max f without the n; read as the highest single Gaussian it leaves
                    many masks empty, so it is read as max f_n. Means 8 pixels apart under widths of
                    13-21 melt together: rounded blobs, a little larger than the ellipses.
    mixed-released  The mixture of the released code: σ ~ U(I/10, I/6) and ρ ~ U(-0.9, 0.9).
    elliptic-wide   For training beyond the thesis, whose ellipses are never small and seldom far
                    from the centre: σ ~ U(I/20, I/3) and twice the spread of the centre.
    elliptic-broad  The same with σ ~ U(I/30, I/2.5): it covers the largest rectangles of (3.1),
                    one in twelve of which takes over 0.3 of the image.
    elliptic-face   Large ellipses over what an aligned photograph has of a face, mouth and chin
                    too: the centre lies at 0.6 of the height.
    one+other       Masks of each in turn.

    A mask that comes out empty or full is drawn again, so each law is conditional on neither; at
    64x64 that happens to rectangles, elliptic-wide and elliptic-broad only. RoiganError: an unknown
    family, an n below 1, a size out of range, a seed or a device that cannot be.
    """
    families = family.split("+") if isinstance(family, str) else [family]
    for name in families:
        check_name("mask family", name, LAWS)
    height, width = height_width(size)
    n, device = check_whole("n", n, 1, 2**36 // (height * width)), check_device(device)
    if generator is None:
        generator = torch.Generator().manual_seed(check_seed(seed))
    if len(families) > 1:
        masks, k = torch.empty(n, 1, height, width, device=device).float(), len(families)
        for i, name in enumerate(families[:n]):
            masks[i::k] = sample_masks(name, len(range(i, n, k)), size, 0, device, generator)
        return masks
    masks, area = _draw(family, n, height, width, generator, device)
    while len(bad := ((area == 0) | (area == height * width)).nonzero()[:, 0]):
        masks[bad.to(device)], area[bad] = _draw(family, len(bad), height, width, generator, device)
    return masks


def _draw(family, n, height, width, generator, device):
    """Masks (n, 1, H, W) on the device, and their areas in pixels, (n,) on the CPU."""
    if family == "rectangular":
        rows = _rectangle_rows(_uniform(generator, n, 4), height, width)
        return _paint_rows(*rows, width, device)
    parameters = gaussians(family, n, height, width, generator)
    if LAWS[family].gaussians == 1:
        return _paint_rows(*_ellipse_rows(parameters, height, width), width, device)
    return paint_mixtures(parameters, height, width, device)


def gaussians(family, n, height, width, generator):
    """The parameters of n masks of k Gaussians, float64; see `sample_masks` for their laws.

    (means (n, k, 2), sigmas (n, k, 2), rho (n, k), weights (n, k)); the two are (x, y) in pixels.
    """
    law, extent = LAWS[family], torch.tensor([width, height], dtype=torch.float64)
    u = _uniform(generator, n, law.gaussians, 6)
    normal = torch.special.ndtri(u[..., 0:2].clamp_min(1e-16))
    centre = extent * extent.new_tensor([0.5, law.down])
    mean = centre + law.spread * extent.sqrt() * normal  # (3.2)
    sigma = extent * (1 / law.narrow + (1 / law.wide - 1 / law.narrow) * u[..., 2:4])  # (3.3)
    rho = law.tilt * (2 * u[..., 4] - 1)  # (3.3)
    weight = torch.softmax(2 * u[..., 5] - 1, 1)  # (3.6)
    return mean, sigma, rho, weight


def _uniform(generator, *shape):
    device = generator.device
    return torch.rand(shape, generator=generator, device=device, dtype=torch.float64).cpu()


# ---- rectangles and ellipses: in each row the first column and the one after the last, (n, H) each


def _rectangle_rows(u, height, width):
    """(3.1) from four uniform numbers a mask, (n, 4)."""
    left, right = (u[:, 0:2] * (width + 1)).floor().sort(1).values.unbind(1)
    top, bottom = (u[:, 2:4] * (height + 1)).floor().sort(1).values.unbind(1)
    y = torch.arange(height)
    inside = (y >= top[:, None]) & (y < bottom[:, None])  # (n, H)
    return left[:, None].expand_as(inside), torch.where(inside, right[:, None], left[:, None])


def _ellipse_rows(parameters, height, width):
    """(3.5), solved for x: ((x-μ_x)/σ_x - ρv)² < (1-ρ²)(2 ln 2 - v²) with v = (y-μ_y)/σ_y."""
    mean, sigma, rho, _ = parameters  # one Gaussian a mask
    v = (torch.arange(height) - mean[..., 1]) / sigma[..., 1]  # (n, H)
    room = (1 - rho**2) * (LEVEL - v**2)
    half = sigma[..., 0] * room.clamp_min(0).sqrt()
    centre = mean[..., 0] + sigma[..., 0] * rho * v
    first = ((centre - half).floor() + 1).clamp(0, width)
    stop = torch.where(room > 0, (centre + half).ceil().clamp(0, width), first)
    return first, torch.maximum(first, stop)


def _paint_rows(first, stop, width, device):
    """The masks of these rows and their areas."""
    masks = torch.empty(len(first), 1, first.shape[1], width, device=device, dtype=torch.float32)
    x = torch.arange(width, dtype=torch.int16, device=device)
    starts, stops = (edge.to(device, torch.int16)[..., None] for edge in (first, stop))  # (n, H, 1)
    for part, a, b in zip(masks.split(256), starts.split(256), stops.split(256)):
        part[:, 0] = (x >= a) & (x < b)
    return masks, (stop - first).sum(1)


def region(size: int, x, y, across, down) -> torch.Tensor:
    """An upright ellipse as a mask (1, 1, S, S): centre and half axes as shares, like `*FACE`."""
    line = (torch.arange(size) + 0.5) / size
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return (((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1).float()[None, None]
