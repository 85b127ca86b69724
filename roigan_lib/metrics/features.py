"""Features for the distances: the FID Inception network, and the network trained on synthfaces."""

import contextlib
import functools
import hashlib
import importlib.util
import warnings
from pathlib import Path
from unittest.mock import patch

import torch

from ..checks import numbers, whole
from ..data import to_uint8
from ..errors import RoiganError, shown

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"  # the last 8 digits open its SHA-256
INCEPTION_DIMS = (64, 192, 768, 2048)


def inception_path():
    """Where pytorch-fid looks for its weight file: the torch hub cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def inception_available():
    """True if pytorch-fid is installed and its weight file (92 MB) lies in the cache."""
    return bool(importlib.util.find_spec("pytorch_fid")) and inception_path().exists()


def _weight_file():
    try:
        from pytorch_fid.inception import FID_WEIGHTS_URL
    except ImportError as error:
        raise RoiganError(
            "Inception features need pytorch-fid: pip install pytorch-fid, or pass dims=None."
        ) from error
    path, options = inception_path(), dict(hash_prefix="6726825d", progress=False)
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(FID_WEIGHTS_URL, str(path), **options)
        except (OSError, RuntimeError) as error:  # URLError is an OSError
            raise RoiganError(
                f"The FID Inception weights are not at {path} and could not be downloaded "
                f"({error}): put {INCEPTION_FILE} from pytorch-fid's releases there, or pass "
                f"dims=None."
            ) from error
    return path


@functools.lru_cache(maxsize=4)
def _sha256(path, _modified):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def inception_hash():
    """First 12 digits of the weight file's SHA-256; the official file's begin 6726825d."""
    path = _weight_file()
    return _sha256(path, path.stat().st_mtime_ns)[:12]


@functools.lru_cache(maxsize=4)
def _inception(dims):
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    if not inception_hash().startswith("6726825d"):
        warnings.warn(
            f"{inception_path()} is not pytorch-fid's official weight file (SHA-256 "
            f"{inception_hash()}…): distances may differ from published ones.",
            stacklevel=3,
        )
    from pytorch_fid import inception

    # its own loader unpickles whatever lies in the cache
    safely = lambda *_, **__: torch.load(_weight_file(), weights_only=True, map_location="cpu")
    try:
        blocks = [inception.InceptionV3.BLOCK_INDEX_BY_DIM[d] for d in dims]
        with patch.object(inception, "load_state_dict_from_url", safely):
            net = inception.InceptionV3(blocks).float().eval()
    except Exception as error:  # unpickling a broken file raises nearly anything
        raise RoiganError(
            f"{inception_path()} cannot be read as Inception weights ({type(error).__name__}): "
            f"delete it so that it is fetched again, or pass dims=None."
        ) from error
    # at 2.3 times the speed on a CPU: batch norm folded into the convolutions, channels last
    for module in net.modules():
        if isinstance(getattr(module, "bn", None), torch.nn.BatchNorm2d):
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), torch.nn.Identity()
    return net.to(memory_format=torch.channels_last)


def known_dims(dims) -> tuple[int, ...]:
    """One of INCEPTION_DIMS or several of them, in rising order; RoiganError for others."""
    wanted = tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
    if not wanted or not all(whole(d) in INCEPTION_DIMS for d in wanted):
        known = ", ".join(map(str, INCEPTION_DIMS))
        raise RoiganError(f"Inception features come with {known} dims, not {shown(dims)}.")
    return tuple(sorted(map(whole, wanted)))


def inception_features(images, dims=768, batch=None):
    """Features of the 2015 FID Inception network by pytorch-fid 0.3: (n, dims) float32 on the CPU.

    images: float (n, 3, H, W) in [-1, 1]; rounded to 8 bits first, as if saved and read again, then
    resized by pytorch-fid to 299 × 299 (bilinear, no antialias). dims: 64, 192, 768 (mean over
    positions) or 2048; a tuple of them gives {dims: features} from one pass. batch: images at a
    time, default 8 on a CPU (quickest there), else 64. Raises RoiganError for other dims, or where
    the weights are missing, unreadable or without values for these dims.
    """
    several, wanted = isinstance(dims, (tuple, list)), known_dims(dims)
    net, chunks = _inception(wanted).to(images.device), []
    with torch.inference_mode():
        for part in images.split(batch or (8 if images.device.type == "cpu" else 64)):
            pixels = to_uint8(part).float() / 255
            maps = net(pixels.contiguous(memory_format=torch.channels_last))  # (b, dims, h, w) each
            chunks.append([y.mean((2, 3)).cpu() for y in maps])
    features = {d: torch.cat(parts) for d, parts in zip(wanted, zip(*chunks))}
    for d, values in features.items():
        if not torch.isfinite(values).all():
            raise RoiganError(
                f"The Inception weights at {inception_path()} have no values for {d} dims: use 64, "
                f"192 or 768, or delete the file so that the official one is fetched."
            )
    return features if several else features[dims]


def inception_dims():
    """The feature dims that the weight file at hand has values for; () where it is missing."""
    found = []
    for d in INCEPTION_DIMS if inception_available() else ():
        with contextlib.suppress(RoiganError):
            inception_features(torch.zeros(1, 3, 64, 64), d)
            found.append(d)
    return tuple(found)


def factor_net():
    """The shipped network that reads synthfaces' factors, or None where it is not there."""
    from ..data.synthfaces.reader import load_factor_net

    try:
        return load_factor_net()
    except (OSError, RoiganError):
        return None


def factor_features(images, batch=256, net=None):
    """Features of the factor network: (n, d) float32 on the CPU; images (n, 3, H, W) in [-1, 1].

    Rounded to 8 bits first. Raises RoiganError where the network's weights are missing.
    """
    from ..data.synthfaces.reader import load_factor_net

    net, images = net or load_factor_net(), numbers("images", images)
    with torch.inference_mode():
        rounded = (to_uint8(part).float() / 127.5 - 1 for part in images.split(batch))
        return torch.cat([net.features(part).float().cpu() for part in rounded])
