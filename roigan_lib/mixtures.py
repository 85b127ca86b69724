"""The pixels of the mixtures of Gaussians that `masks` draws, quick and the same on every device.

A mixture is summed in float32; the few pixels that float32 cannot tell from the threshold are
decided again in float64, so that the masks agree bit for bit between devices. parameters: those of
`masks.gaussians`.
"""

import torch

TOO_CLOSE = 1e-4  # of the maximum: far above float32's error of 1e-6, yet about a pixel a mask


def paint_mixtures(parameters, height, width, device):
    """(3.7): the masks f_n > max f_n / 2 and their areas."""
    masks = torch.empty(len(parameters[0]), 1, height, width, dtype=torch.float32, device=device)
    areas = []
    block = max(1, 2 ** (18 if device.type == "cpu" else 22) // (height * width))
    for part, *few in zip(masks.split(block), *(p.split(block) for p in parameters)):
        f = mixture(few, height, width, device)  # (m, H, W)
        f /= f.amax((1, 2), keepdim=True)
        inside = f > 0.5
        where = ((f > 1 - TOO_CLOSE) | (f.sub_(0.5).abs_() < TOO_CLOSE)).nonzero(as_tuple=True)
        m, y, x = (index.cpu() for index in where)
        exact = mixture_at(few, m, y, x)
        peak = torch.zeros(len(f), dtype=torch.float64).scatter_reduce_(0, m, exact, "amax")
        inside[where] = (exact > peak[m] / 2).to(device)
        part[:, 0] = inside
        areas.append(inside.flatten(1).sum(1).cpu())
    return masks, torch.cat(areas)


def log_heights(parameters):
    """ln of w / (2π |Σ|^½) of (3.4), less the highest of each mask to keep exp in range. (n, k)"""
    _, sigma, rho, weight = parameters
    heights = weight.log() - sigma.log().sum(-1) - 0.5 * torch.log1p(-(rho**2))
    return heights - heights.amax(1, keepdim=True)


def mixture(parameters, height, width, device):
    """f_n of (3.6) up to a factor, float32 (n, H, W): in a row, exp(g - (a x - b)²) each."""
    mean, sigma, rho, _ = parameters
    v = (torch.arange(height) - mean[..., 1:]) / sigma[..., 1:]  # (n, k, H)
    a = 1 / (sigma[..., :1] * (2 * (1 - rho**2)).sqrt()[..., None])  # (n, k, 1)
    b = a * (mean[..., :1] + sigma[..., :1] * rho[..., None] * v)
    g = log_heights(parameters)[..., None] - v**2 / 2
    ax = (a * torch.arange(width)).float().to(device)[:, :, None]  # (n, k, 1, W)
    b, g = (t.float().to(device)[..., None] for t in (b, g))  # (n, k, H, 1)
    # On a CPU the k images of a few masks stay in the cache; an accelerator wants the whole block.
    step, k = rho.shape
    if device.type == "cpu":
        step = max(1, 2**18 * torch.get_num_threads() // (k * height * width))
    buffer = torch.empty(step, k, height, width, dtype=torch.float32, device=device)
    f = torch.empty(len(rho), height, width, dtype=torch.float32, device=device)
    for i in range(0, len(f), step):
        few = slice(i, i + step)
        z = torch.sub(ax[few], b[few], out=buffer[: len(f) - i])  # (m, k, H, W)
        torch.addcmul(g[few], z, z, value=-1, out=z)
        torch.sum(z.clamp_(min=-60).exp_(), 1, out=f[few])  # below -87 lie denormals: slow
    return f


def mixture_at(parameters, m, y, x):
    """The same f_n in float64 at single pixels, (p,): of mask m, row y, column x, (p,) each."""
    mean, sigma, rho, _ = (p[m] for p in parameters)  # (p, k, …)
    u = (x[:, None] - mean[..., 0]) / sigma[..., 0]
    v = (y[:, None] - mean[..., 1]) / sigma[..., 1]
    quadratic = (u * u - 2 * rho * u * v + v * v) / (1 - rho**2)
    return (log_heights(parameters)[m] - quadratic / 2).exp().sum(1)
