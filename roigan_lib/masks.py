"""The RoI block (thesis 3.2): random binary masks, 1 = the region to fill, and the checks of masks that people bring.

Every family is drawn in two steps. The parameters come from a CPU generator in float64, so one seed means one set of
masks whatever the device. The pixels are then decided for the whole batch: a rectangle or an ellipse is one run of
pixels in each row, whose ends have a closed form; a mixture is evaluated in float32 and the few pixels that float32
cannot tell from the threshold are decided again in float64, so that the masks agree bit for bit between devices.
"""

import difflib
import math

import torch

from .checks import check_device, check_seed, height_width, is_whole
from .errors import RoiganError

# family -> (Gaussians, narrowest I/σ, widest I/σ, largest |ρ|, spread of the centre over that of (3.2))
LAWS = {
    "rectangular": None,
    "elliptic": (1, 5, 3, 0.8, 1),
    "mixed": (15, 5, 3, 0.8, 1),
    "mixed-released": (15, 10, 6, 0.9, 1),
    "elliptic-wide": (1, 20, 3, 0.8, 2),
    "elliptic-broad": (1, 30, 2.5, 0.8, 2),
}
FAMILIES = tuple(
    law for law in LAWS if law not in ("elliptic-wide", "elliptic-broad")
)  # those are for training alone
FACE, HAIR = (
    (0.5, 0.52, 0.25, 0.27),
    (0.5, 0.12, 0.28, 0.16),
)  # centre x, y and half axes, shares of the frame
LEVEL = 2 * math.log(2)  # f > max f / 2 is the same as (x-μ)ᵀ Σ⁻¹ (x-μ) < 2 ln 2
TOO_CLOSE = (
    1e-4  # of the maximum: well above float32's error (about 1e-6), yet about one pixel a mask
)


def sample_masks(family, n, size, seed=0, device="cpu", generator=None):
    """n random masks (n, 1, H, W), float32 of {0, 1}, 1 = the region to fill, on `device`.

    `size` is H = W or a pair (H, W), each from 8 to 4096; I_w = W, I_h = H below, pixels lie at x = 0…W-1, y = 0…H-1.
    `generator` (a torch.Generator) is used, and moved on, in place of `seed`.

    rectangular     (3.1) Two opposite corners, each coordinate uniform on the pixel edges 0…I_w (0…I_h): the pixels
                    between them. Equal coordinates (no area) are drawn again.
    elliptic        (3.2-3.5) μ ~ N(I/2, diag(I_w, I_h)), a covariance, so 8 pixels of standard deviation at 64;
                    ρ ~ U(-0.8, 0.8), σ_x ~ U(I_w/5, I_w/3), σ_y ~ U(I_h/5, I_h/3). The matrix of (3.3) is printed as
                    Σ⁻¹ but holds the entries of Σ, and is taken as Σ. The mask is f > max f / 2 with the maximum over
                    the plane: the ellipse (x-μ)ᵀ Σ⁻¹ (x-μ) < 2 ln 2, of area 2π ln 2 · σ_x σ_y √(1-ρ²).
    mixed           (3.6-3.7) f_n = Σ w_j f(·|μ_j, Σ_j) with the Gaussians of "elliptic"; the mask is f_n > max f_n / 2
                    with the maximum over the pixels. The thesis gives neither n nor the law of w; both are taken from
                    the released code: n = 15, w = softmax of U(-1, 1). (3.7) prints max f without the n; read as the
                    highest single Gaussian it leaves many masks empty, so it is read as max f_n. Means 8 pixels apart
                    under widths of 13-21 melt together: these masks are rounded blobs, a little larger than ellipses.
    mixed-released  The mixture of the released code: as above with σ ~ U(I/10, I/6) and ρ ~ U(-0.9, 0.9).
    elliptic-wide   For training beyond the thesis, whose ellipses are never small and seldom far from the centre:
                    "elliptic" with σ ~ U(I/20, I/3) and twice the spread of the centre.
    elliptic-broad  The same with σ ~ U(I/30, I/2.5): the largest of the rectangles (3.1), of which one in twelve covers over
                    0.3 of the image, have their like among these ellipses, too.

    A mask that comes out empty or full is drawn again, so each law is conditional on neither (at 64x64 this happens to
    rectangles and the last two only; other ellipses can fall outside a frame of a few pixels). RoiganError: an
    unknown family, an n below 1, a size out of range, a seed or a device that cannot be.
    """
    if family not in LAWS:
        close = difflib.get_close_matches(str(family), LAWS, n=1)
        raise RoiganError(
            f"unknown mask family {family!r}: {f'did you mean {close[0]!r}' if close else 'choose one'} "
            f"(there are {', '.join(LAWS)})."
        )
    height, width = height_width(size)
    if not is_whole(n) or n < 1:
        raise RoiganError(f"n={n!r} masks cannot be drawn: ask for a whole number from 1.")
    device = check_device(device)
    if generator is None:
        generator = torch.Generator().manual_seed(check_seed(seed))
    masks, wanted = None, torch.arange(int(n))
    while len(wanted):
        drawn, area = _draw(family, len(wanted), height, width, generator, device)
        if masks is None:
            masks = drawn
        else:
            masks[wanted.to(device)] = drawn
        wanted = wanted[(area == 0) | (area == height * width)]
    return masks


def _draw(family, n, height, width, generator, device):
    """Masks (n, 1, H, W) on the device and their areas (n,) in pixels on the CPU."""
    if family == "rectangular":
        return _paint_rows(
            *_rectangle_rows(_uniform(generator, n, 4), height, width), width, device
        )
    parameters = gaussians(family, n, height, width, generator)
    if LAWS[family][0] == 1:
        return _paint_rows(*_ellipse_rows(parameters, height, width), width, device)
    return _paint_mixtures(parameters, height, width, device)


def gaussians(family, n, height, width, generator):
    """The parameters of n masks of k Gaussians, float64: means (n, k, 2), sigmas (n, k, 2), rho (n, k), weights (n, k).

    The last axis of two is (x, y), in pixels; see `sample_masks` for the laws.
    """
    k, narrow, wide, tilt, spread = LAWS[family]
    extent = torch.tensor([width, height], dtype=torch.float64)
    u = _uniform(generator, n, k, 6)
    mean = extent / 2 + spread * extent.sqrt() * torch.special.ndtri(
        u[..., 0:2].clamp_min(1e-16)
    )  # (3.2)
    sigma = extent * (1 / narrow + (1 / wide - 1 / narrow) * u[..., 2:4])  # (3.3)
    rho = tilt * (2 * u[..., 4] - 1)  # (3.3)
    weight = torch.softmax(2 * u[..., 5] - 1, 1)  # (3.6)
    return mean, sigma, rho, weight


def _uniform(generator, *shape):
    return torch.rand(
        shape, generator=generator, device=generator.device, dtype=torch.float64
    ).cpu()


def _rectangle_rows(u, height, width):
    """First column and the one after the last, (n, H) each, from four uniform numbers a mask."""
    left, right = (u[:, 0:2] * (width + 1)).floor().sort(1).values.unbind(1)
    top, bottom = (u[:, 2:4] * (height + 1)).floor().sort(1).values.unbind(1)
    y = torch.arange(height)
    inside = (y >= top[:, None]) & (y < bottom[:, None])  # (n, H)
    return left[:, None].expand_as(inside), torch.where(inside, right[:, None], left[:, None])


def _ellipse_rows(parameters, height, width):
    """First column and the one after the last, (n, H) each: where ((x-μ_x)/σ_x - ρv)² < (1-ρ²)(2 ln 2 - v²)."""
    mean, sigma, rho, _ = parameters
    v = (torch.arange(height) - mean[..., 1]) / sigma[..., 1]  # (n, H)
    room = (1 - rho**2) * (LEVEL - v**2)
    half = sigma[..., 0] * room.clamp_min(0).sqrt()
    centre = mean[..., 0] + sigma[..., 0] * rho * v
    first = ((centre - half).floor() + 1).clamp(0, width)
    stop = torch.where(room > 0, (centre + half).ceil().clamp(0, width), first)
    return first, torch.maximum(first, stop)


def _paint_rows(first, stop, width, device):
    area = (stop - first).sum(1)
    masks = torch.empty(len(first), 1, first.shape[1], width, device=device)
    x = torch.arange(width, dtype=torch.int16, device=device)
    first, stop = (edge.to(device, torch.int16)[..., None] for edge in (first, stop))  # (n, H, 1)
    for i in range(0, len(masks), 256):
        masks[i : i + 256, 0] = (x >= first[i : i + 256]) & (x < stop[i : i + 256])
    return masks, area


def _paint_mixtures(parameters, height, width, device):
    masks = torch.empty(len(parameters[0]), 1, height, width, device=device)
    areas = []
    block = max(1, 2 ** (18 if masks.device.type == "cpu" else 22) // (height * width))
    for i in range(0, len(masks), block):
        part = [p[i : i + block] for p in parameters]
        f = _mixture(part, height, width, masks.device)  # (m, H, W)
        f /= f.amax((1, 2), keepdim=True)
        inside = f > 0.5  # (3.7)
        where = ((f > 1 - TOO_CLOSE) | (f.sub_(0.5).abs_() < TOO_CLOSE)).nonzero(as_tuple=True)
        m, y, x = (index.cpu() for index in where)
        exact = _mixture_at(part, m, y, x)
        peak = torch.zeros(len(f), dtype=torch.float64).scatter_reduce_(0, m, exact, "amax")
        inside[where] = (exact > peak[m] / 2).to(masks.device)
        masks[i : i + block, 0] = inside
        areas.append(inside.flatten(1).sum(1).cpu())
    return masks, torch.cat(areas)


def _log_heights(parameters):
    """ln of w / (2π |Σ|^½) of (3.4), less the highest of each mask, which keeps the exponentials in range. (n, k)"""
    _, sigma, rho, weight = parameters
    heights = weight.log() - sigma.log().sum(-1) - 0.5 * torch.log1p(-(rho**2))
    return heights - heights.amax(1, keepdim=True)


def _mixture(parameters, height, width, device):
    """f_n of (3.6) up to a factor, float32 (n, H, W): row by row each Gaussian is exp(g - (a x - b)²)."""
    mean, sigma, rho, _ = parameters
    v = (torch.arange(height) - mean[..., 1:]) / sigma[..., 1:]  # (n, k, H)
    a = 1 / (sigma[..., :1] * (2 * (1 - rho**2)).sqrt()[..., None])  # (n, k, 1)
    b = a * (mean[..., :1] + sigma[..., :1] * rho[..., None] * v)
    g = _log_heights(parameters)[..., None] - v**2 / 2
    ax = (a * torch.arange(width)).float().to(device)[:, :, None]  # (n, k, 1, W)
    b, g = (t.float().to(device)[..., None] for t in (b, g))  # (n, k, H, 1)
    n, k = rho.shape
    total = torch.empty(n, height, width, device=device)
    # On a CPU the k images of a few masks stay in the cache; an accelerator wants the whole block.
    step = (
        n
        if total.device.type != "cpu"
        else max(1, 2**18 * torch.get_num_threads() // (k * height * width))
    )
    buffer = torch.empty(step, k, height, width, device=device)
    for i in range(0, n, step):
        t = torch.sub(ax[i : i + step], b[i : i + step], out=buffer[: n - i])  # (m, k, H, W)
        torch.addcmul(g[i : i + step], t, t, value=-1, out=t)
        torch.sum(
            t.clamp_(min=-60).exp_(), 1, out=total[i : i + step]
        )  # below -87 lie denormals, which are slow
    return total


def _mixture_at(parameters, m, y, x):
    """The same f_n in float64 at single pixels: of mask m, row y, column x. (p,)"""
    mean, sigma, rho, _ = (p[m] for p in parameters)  # (p, k, …)
    u = (x[:, None] - mean[..., 0]) / sigma[..., 0]
    v = (y[:, None] - mean[..., 1]) / sigma[..., 1]
    quadratic = (u * u - 2 * rho * u * v + v * v) / (1 - rho**2)
    return (_log_heights(parameters)[m] - quadratic / 2).exp().sum(1)


def region(size, x, y, across, down):
    """An upright ellipse as a mask (1, 1, size, size): centre and half axes as shares of the frame, such as `*FACE`."""
    line = (torch.arange(size) + 0.5) / size
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return (((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1).float()[None, None]
