"""The RoI block (thesis 3.2): random binary masks, 1 = the region to fill, and the checks of masks that people bring.

Every family is drawn in two steps. The parameters come from a CPU generator in float64, so one seed means one set of
masks whatever the device. The pixels are then decided for the whole batch: a rectangle or an ellipse is one run of
pixels in each row, whose ends have a closed form; a mixture is evaluated in float32 and the few pixels that float32
cannot tell from the threshold are decided again in float64, so that the masks agree bit for bit between devices.
"""
import difflib
import math
import statistics
import time

import numpy as np
import torch
from PIL import Image, ImageOps

from .checks import check_device, check_seed
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
FAMILIES = tuple(law for law in LAWS if law not in ("elliptic-wide", "elliptic-broad"))   # those are for training alone
LEVEL = 2 * math.log(2)     # f > max f / 2 is the same as (x-μ)ᵀ Σ⁻¹ (x-μ) < 2 ln 2
SLIVER = 1e-6               # pixels that meet by less than this share of a side only touch
TOO_CLOSE = 1e-4            # of the maximum: well above float32's error (about 1e-6), yet about one pixel a mask


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
        raise RoiganError(f"unknown mask family {family!r}: {f'did you mean {close[0]!r}' if close else 'choose one'} "
                          f"(there are {', '.join(LAWS)}).")
    height, width = _height_width(size)
    if not _is_whole(n) or n < 1:
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
        return _paint_rows(*_rectangle_rows(_uniform(generator, n, 4), height, width), width, device)
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
    mean = extent / 2 + spread * extent.sqrt() * torch.special.ndtri(u[..., 0:2].clamp_min(1e-16))    # (3.2)
    sigma = extent * (1 / narrow + (1 / wide - 1 / narrow) * u[..., 2:4])                     # (3.3)
    rho = tilt * (2 * u[..., 4] - 1)                                                          # (3.3)
    weight = torch.softmax(2 * u[..., 5] - 1, 1)                                              # (3.6)
    return mean, sigma, rho, weight


def _uniform(generator, *shape):
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).cpu()


def _rectangle_rows(u, height, width):
    """First column and the one after the last, (n, H) each, from four uniform numbers a mask."""
    left, right = (u[:, 0:2] * (width + 1)).floor().sort(1).values.unbind(1)
    top, bottom = (u[:, 2:4] * (height + 1)).floor().sort(1).values.unbind(1)
    y = torch.arange(height)
    inside = (y >= top[:, None]) & (y < bottom[:, None])                # (n, H)
    return left[:, None].expand_as(inside), torch.where(inside, right[:, None], left[:, None])


def _ellipse_rows(parameters, height, width):
    """First column and the one after the last, (n, H) each: where ((x-μ_x)/σ_x - ρv)² < (1-ρ²)(2 ln 2 - v²)."""
    mean, sigma, rho, _ = parameters
    v = (torch.arange(height) - mean[..., 1]) / sigma[..., 1]           # (n, H)
    room = (1 - rho ** 2) * (LEVEL - v ** 2)
    half = sigma[..., 0] * room.clamp_min(0).sqrt()
    centre = mean[..., 0] + sigma[..., 0] * rho * v
    first = ((centre - half).floor() + 1).clamp(0, width)
    stop = torch.where(room > 0, (centre + half).ceil().clamp(0, width), first)
    return first, torch.maximum(first, stop)


def _paint_rows(first, stop, width, device):
    area = (stop - first).sum(1)
    masks = torch.empty(len(first), 1, first.shape[1], width, device=device)
    x = torch.arange(width, dtype=torch.int16, device=device)
    first, stop = (edge.to(device, torch.int16)[..., None] for edge in (first, stop))         # (n, H, 1)
    for i in range(0, len(masks), 256):
        masks[i:i + 256, 0] = (x >= first[i:i + 256]) & (x < stop[i:i + 256])
    return masks, area


def _paint_mixtures(parameters, height, width, device):
    masks = torch.empty(len(parameters[0]), 1, height, width, device=device)
    areas = []
    block = max(1, 2 ** (18 if masks.device.type == "cpu" else 22) // (height * width))
    for i in range(0, len(masks), block):
        part = [p[i:i + block] for p in parameters]
        f = _mixture(part, height, width, masks.device)                 # (m, H, W)
        f /= f.amax((1, 2), keepdim=True)
        inside = f > 0.5                                                # (3.7)
        where = ((f > 1 - TOO_CLOSE) | (f.sub_(0.5).abs_() < TOO_CLOSE)).nonzero(as_tuple=True)
        m, y, x = (index.cpu() for index in where)
        exact = _mixture_at(part, m, y, x)
        peak = torch.zeros(len(f), dtype=torch.float64).scatter_reduce_(0, m, exact, "amax")
        inside[where] = (exact > peak[m] / 2).to(masks.device)
        masks[i:i + block, 0] = inside
        areas.append(inside.flatten(1).sum(1).cpu())
    return masks, torch.cat(areas)


def _log_heights(parameters):
    """ln of w / (2π |Σ|^½) of (3.4), less the highest of each mask, which keeps the exponentials in range. (n, k)"""
    _, sigma, rho, weight = parameters
    heights = weight.log() - sigma.log().sum(-1) - 0.5 * torch.log1p(-rho ** 2)
    return heights - heights.amax(1, keepdim=True)


def _mixture(parameters, height, width, device):
    """f_n of (3.6) up to a factor, float32 (n, H, W): row by row each Gaussian is exp(g - (a x - b)²)."""
    mean, sigma, rho, _ = parameters
    v = (torch.arange(height) - mean[..., 1:]) / sigma[..., 1:]                               # (n, k, H)
    a = 1 / (sigma[..., :1] * (2 * (1 - rho ** 2)).sqrt()[..., None])                         # (n, k, 1)
    b = a * (mean[..., :1] + sigma[..., :1] * rho[..., None] * v)
    g = _log_heights(parameters)[..., None] - v ** 2 / 2
    ax = (a * torch.arange(width)).float().to(device)[:, :, None]                             # (n, k, 1, W)
    b, g = (t.float().to(device)[..., None] for t in (b, g))                                  # (n, k, H, 1)
    n, k = rho.shape
    total = torch.empty(n, height, width, device=device)
    # On a CPU the k images of a few masks stay in the cache; an accelerator wants the whole block.
    step = n if total.device.type != "cpu" else max(1, 2 ** 18 * torch.get_num_threads() // (k * height * width))
    buffer = torch.empty(step, k, height, width, device=device)
    for i in range(0, n, step):
        t = torch.sub(ax[i:i + step], b[i:i + step], out=buffer[:n - i])                      # (m, k, H, W)
        torch.addcmul(g[i:i + step], t, t, value=-1, out=t)
        torch.sum(t.clamp_(min=-60).exp_(), 1, out=total[i:i + step])      # below -87 lie denormals, which are slow
    return total


def _mixture_at(parameters, m, y, x):
    """The same f_n in float64 at single pixels: of mask m, row y, column x. (p,)"""
    mean, sigma, rho, _ = (p[m] for p in parameters)                                          # (p, k, …)
    u = (x[:, None] - mean[..., 0]) / sigma[..., 0]
    v = (y[:, None] - mean[..., 1]) / sigma[..., 1]
    quadratic = (u * u - 2 * rho * u * v + v * v) / (1 - rho ** 2)
    return (_log_heights(parameters)[m] - quadratic / 2).exp().sum(1)


def check_pair(images, masks):
    """(images, masks) as float32 tensors (n, 3, H, W) and (n, 1, H, W), or a RoiganError that says what does not fit.

    Images in [-1, 1], as (n, 3, H, W) or (3, H, W). Masks of 0 and 1 (any dtype), 1 = the region to fill, as
    (n, 1, H, W), (n, H, W) or (H, W); one mask serves all images. Refused: other shapes and sizes, bytes or values
    outside [-1, 1] in images, NaN, soft masks, masks of 0…255, empty and full ones, and sets whose median mask is 1
    on more than 90 % of its pixels, which are nearly always inverted.
    """
    images, masks = _tensor("images", images), _tensor("masks", masks)
    if not images.is_floating_point():
        raise RoiganError(f"images are {str(images.dtype).split('.')[-1]} but must be floats in [-1, 1]: "
                          "convert bytes with images / 127.5 - 1.")
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise RoiganError(f"images have the shape {tuple(images.shape)} but must be (n, 3, H, W): "
                          "colour channels come second.")
    images = images.float()
    low, high = images.aminmax()
    if not (low.isfinite() and high.isfinite()):
        raise RoiganError("images hold NaN or infinite values: repair or leave out those images.")
    if low < -1 - 1e-4 or high > 1 + 1e-4:
        raise RoiganError(f"images range from {low:.4g} to {high:.4g} but must lie in [-1, 1]: rescale or clamp them.")

    if masks.ndim in (2, 3):
        masks = masks[(None,) * (masks.ndim == 2)][:, None]
    if masks.ndim != 4 or masks.shape[1] != 1 or not masks.numel():
        raise RoiganError(f"masks have the shape {tuple(masks.shape)} but must be (n, 1, H, W), (n, H, W) or (H, W).")
    if masks.shape[2:] != images.shape[2:]:
        raise RoiganError(f"masks are {_size(masks)} but images are {_size(images)}: resize one of them "
                          "(masks with the nearest mode).")
    if len(masks) not in (1, len(images)):
        raise RoiganError(f"{len(masks)} masks do not pair with {len(images)} images: "
                          "give one mask an image, or one for all.")
    masks = masks.float()
    if masks.isnan().any():
        raise RoiganError("masks hold NaN: a mask is 0 where the image stays and 1 where it is filled.")
    if masks.max() > 1 + 1e-6 or masks.min() < -1e-6:
        raise RoiganError(f"masks range from {masks.min() + 0:.4g} to {masks.max() + 0:.4g} but must be 0 or 1: "
                          "threshold them, for bytes with (mask > 127).")
    if ((masks - masks.round()).abs() > 1e-6).any():
        raise RoiganError("masks are soft, with values between 0 and 1: threshold them with (mask > 0.5).")
    masks = masks.round()
    _check_filled(masks)
    return images, masks.expand(len(images), -1, -1, -1).to(images.device)


def _check_filled(masks):
    # the median, since one rectangle in 12,000 by (3.1) covers so much and is in order
    share = masks.mean((1, 2, 3))
    for wrong, what in ((share == 0, "is empty: mark the region to fill with 1"),
                        (share == 1, "is full: leave some of the image at 0 to fill from"),
                        (share > 0.9 if share.median() > 0.9 else share > 1,
                         "looks inverted, more than 90 % of it is 1: 1 means the region to fill")):
        if wrong.any():
            raise RoiganError(f"mask {int(wrong.nonzero()[0])} {what}.")


def load_mask(path, size=None):
    """A mask picture as (1, 1, H, W) float32 of {0, 1}: light is 1, the region to fill; dark or transparent is 0.

    The picture is upright, turned by its EXIF note. Strokes on a transparent layer count by their
    opacity when they are black. `size` (an int or (H, W)) brings the mask to that size by
    `place_mask`, so thin strokes stay. RoiganError: a file that cannot be read, an empty or full
    mask, a size of other proportions than the picture.
    """
    mask = _read_mask(path)
    if size is not None:
        have, want = mask.shape, _height_width(size)
        if not same_proportions(have, want):
            raise RoiganError(f"the mask {path} has {have[1]}x{have[0]} pixels and would be "
                              f"stretched to {want[1]}x{want[0]}: give one in these proportions.")
        mask = place_mask(mask, scaling(have, want), *want)
        if mask.all():
            raise RoiganError(f"the mask {path} is full at {want[1]}x{want[0]} pixels: leave "
                              "more of it black.")
    return torch.from_numpy(mask.astype(np.float32))[None, None]


def _read_mask(path):
    """The region that a picture marks, bool (H, W), with the errors of `load_mask`."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except FileNotFoundError:
        raise RoiganError(f"there is no mask file {path}: check the path.") from None
    except Exception as error:              # decoders raise many types on damaged files
        raise RoiganError(f"{path} cannot be read as a picture ({str(error)[:80]}): save the mask as PNG.") from None
    opacity = None
    if image.mode.startswith("I") or image.mode == "F":     # 16-bit grey and floats, which PIL would clip
        grey = np.asarray(image).astype(np.float32)
        grey /= 65535 if grey.max() > 255 else 255
        mask = grey > 0.5
    else:
        if "A" in image.mode or "transparency" in image.info:
            image = image.convert("RGBA")
            opacity = np.asarray(image.getchannel("A"))
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
        grey = np.asarray(image.convert("RGB").convert("L"))
        mask = grey > 127
    if not mask.any() and opacity is not None and opacity.min() <= 127:
        mask = opacity > 127
    if mask.all() or not mask.any():
        lightest = grey.max() / (255 if grey.dtype == np.uint8 else 1)
        faint = f"empty, its lightest grey is {lightest:.0%}" if lightest > 0 else "empty"
        raise RoiganError(f"the mask {path} is {'full' if mask.all() else faint}: paint the "
                          "region to fill white and the rest black.")
    return mask


def place_mask(mask, matrix, height, width):
    """A mask in another frame: each pixel that a mask's pixel has a part in, bool (height, width).

    mask: bool (h, w). matrix (2, 3) takes (x, y, 1) in the mask to (x, y) in the frame, the centre
    of the upper left pixel being (0, 0) in both. All masks go by this rule when they follow their
    picture through a crop, a turn or a change of size. A stroke is never lost, however thin, only
    what lies outside the frame.
    """
    matrix = np.asarray(matrix, float)
    if matrix[0, 1] == matrix[1, 0] == 0 < min(matrix[0, 0], matrix[1, 1]):
        for scale, shift, n in ((*matrix[1, 1:], height), (*matrix[0, ::2], width)):
            edges = (np.arange(n + 1) - 0.5 - shift) / scale + 0.5
            first, stop = np.floor(edges[:-1] + SLIVER), np.ceil(edges[1:] - SLIVER)
            spans = zip(*(at.clip(0, len(mask)).astype(int) for at in (first, stop)))
            mask = np.stack([mask[a:b].any(0) for a, b in spans], 1)    # transposed: columns next
        return mask
    return _place_turned(mask, matrix, height, width)


def _place_turned(mask, matrix, height, width):
    """`place_mask` for any matrix: parallelograms meet unless an edge of one of them parts them."""
    forth = np.vstack([matrix, [0, 0, 1]])
    back = np.linalg.inv(forth)
    ours, theirs = (0.5 + np.abs(m[:2, :2]).sum(1) / 2 - SLIVER for m in (forth, back))     # reach
    across, down = (np.arange(-r, r + 1) for r in np.ceil(theirs + 0.5).astype(int))
    padded = np.pad(mask, ((len(down),), (len(across),)))
    placed = np.zeros((height, width), bool)
    column = np.arange(width)
    for row in range(height):
        x, y = back[:2] @ [column, np.full(width, row), np.ones(width)]
        near = (np.abs(x - (mask.shape[1] - 1) / 2) < mask.shape[1] / 2 + theirs[0]) & \
               (np.abs(y - (mask.shape[0] - 1) / 2) < mask.shape[0] / 2 + theirs[1])
        x, y, j = x[near], y[near], column[near]
        x, y, at = (v[:, None, None] for v in (x, y, j))
        px, py = np.rint(x) + across, np.rint(y) + down[:, None]
        (a, b, c), (d, e, f) = matrix
        meet = (np.abs(px - x) < theirs[0]) & (np.abs(py - y) < theirs[1]) & \
               (np.abs(a * px + b * py + c - at) < ours[0]) & \
               (np.abs(d * px + e * py + f - row) < ours[1])
        inside = padded[(py + len(down)).astype(int).clip(0, len(padded) - 1),
                        (px + len(across)).astype(int).clip(0, padded.shape[1] - 1)]
        placed[row, j] = (meet & inside).any((1, 2))
    return placed


def scaling(have, want):
    """The matrix (2, 3) that takes a picture of `have` (height, width) pixels to `want`."""
    ky, kx = (w / h for h, w in zip(have, want))
    return np.array([[kx, 0, (kx - 1) / 2], [0, ky, (ky - 1) / 2]])


def same_proportions(have, want):
    """Whether (height, width) pairs differ by a scale and the smaller one's rounding to pixels."""
    (h, w), (height, width) = have, want
    tall = h * width / w
    off = abs(tall - height)                                    # in pixels of the second
    return min(off, off * w / width) < 1 and off < 0.02 * height


def benchmark(n=2000, size=64, repeats=5, n_scipy=200):
    """Masks a second, vectorised and one at a time through scipy's multivariate_normal, measured in turn in one run.

    Returns one dict a family: family, masks_per_s, scipy_masks_per_s (None for rectangles, which need no density),
    ratio, threads; the speeds are medians over `repeats`. n masks a timing here, at most `n_scipy` there.
    """
    rows = []
    for family in FAMILIES:
        fast, slow = [], []
        for i in range(repeats + 1):        # the first round warms up
            fast.append(n / _seconds(sample_masks, family, n, size, seed=i))
            if LAWS[family]:
                count = min(n_scipy, 20 if LAWS[family][0] > 1 else n_scipy)
                slow.append(count / _seconds(_one_at_a_time, family, count, size, seed=i))
        ours, theirs = (statistics.median(s[1:]) if s else None for s in (fast, slow))
        rows.append({"family": family, "masks_per_s": ours, "scipy_masks_per_s": theirs,
                     "ratio": ours / theirs if theirs else None, "threads": torch.get_num_threads()})
    return rows


def _one_at_a_time(family, n, size, seed=0):
    """Equations (3.2)-(3.7) as they stand, a mask and a Gaussian at a time: the yardstick of `benchmark`."""
    from scipy.stats import multivariate_normal
    height, width = _height_width(size)
    generator = torch.Generator().manual_seed(seed)
    mean, sigma, rho, weight = (p.numpy() for p in gaussians(family, n, height, width, generator))
    y, x = np.mgrid[:height, :width]
    grid = np.dstack((x, y))
    masks = []
    for i in range(n):
        f = 0
        for j in range(mean.shape[1]):
            (sx, sy), cross = sigma[i, j], rho[i, j] * sigma[i, j].prod()
            f = f + weight[i, j] * multivariate_normal.pdf(grid, mean[i, j], [[sx * sx, cross], [cross, sy * sy]])
        masks.append(f > f.max() / 2)
    return np.stack(masks)[:, None].astype(np.float32)


def _seconds(function, *args, **kwargs):
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def _tensor(name, value):
    try:
        return value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError):
        raise RoiganError(f"{name} must be a tensor or an array of numbers, not {type(value).__name__}.") from None


def _is_whole(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _height_width(size):
    pair = (size, size) if _is_whole(size) else tuple(size) if isinstance(size, (tuple, list, torch.Size)) else ()
    if len(pair) != 2 or not all(_is_whole(s) and 8 <= s <= 4096 for s in pair):
        raise RoiganError(f"size={size!r} is no mask size: give a whole number of pixels from 8 to 4096, "
                          "or a pair (H, W).")
    return int(pair[0]), int(pair[1])


def _size(tensor):
    return f"{tensor.shape[-2]}x{tensor.shape[-1]}"
