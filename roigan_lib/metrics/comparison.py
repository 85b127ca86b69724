"""One evaluation path for every method: the same images, the same masks, the same rows."""

import hashlib
import importlib.metadata
import inspect
import time

import numpy as np
import torch

from ..checks import check_seed
from ..errors import RoiganError
from . import features as nets
from .frechet import frechet_distance, small_n_note
from .inpainting import METRICS, diversity
from .kernel import kernel_distance
from .precision import precision_recall
from .rows import frame

# Table 4.2 of the thesis: FID between 1,000 completed images and 1,000 of CelebA's test images, by mask family. The
# scale is that of 768-dimensional features (2048 would give tens), which the thesis does not say.
THESIS_TABLE_4_2 = {
    "RoI-GAN": {"elliptic": 0.323, "rectangular": 0.074, "mixed": 0.106},
    "FMM (Telea)": {"elliptic": 0.539, "rectangular": 0.111, "mixed": 0.197},
    "GLCIC": {"elliptic": 0.485, "rectangular": 0.638, "mixed": 0.618},
}


def versions():
    """Versions of the libraries that a value depends on, None for one that is not installed."""
    found = {}
    for name in (
        "torch",
        "torchvision",
        "numpy",
        "pytorch-fid",
        "scikit-image",
        "opencv-python",
        "opencv-python-headless",
        "roigan-lib",
    ):
        key = name.replace("-python-headless", "").replace("-python", "").replace("-", "_")
        try:
            found[key] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.setdefault(key)
    return found


def mask_hash(masks):
    """12 hex digits of the masks' shape and bits: two scores with the same digits were taken on the same holes."""
    digest = hashlib.sha256(repr(tuple(masks.shape)).encode())
    digest.update(np.packbits((masks > 0.5).cpu().numpy()).tobytes())
    return digest.hexdigest()[:12]


def complete(name, method, images, masks, seed=0, batch=64, progress=None):
    """Completed images (n, 3, H, W) of a method: an object with .inpaint, or a callable (images, masks).

    A method whose signature has `seed` gets seed + the index of the batch's first image, so that batches differ.
    It gets copies and its answer is copied, so one that works in place changes neither images nor
    masks. Raises RoiganError, naming the method, if it returns another shape, NaN or values far
    outside [-1, 1]; also for a batch below 1.
    """
    if batch < 1:
        raise RoiganError(f"A method is given 1 image at a time or more, not batches of {batch}.")
    call = getattr(method, "inpaint", method)
    if not callable(call):
        raise RoiganError(
            f"Method {name!r} has no .inpaint and cannot be called: give a model or a function."
        )
    seeded, done, begin = _takes_seed(call), torch.empty_like(images), time.perf_counter()
    for start in range(0, len(images), batch):
        part, holes = images[start : start + batch], masks[start : start + batch]
        with torch.no_grad():
            out = call(part.clone(), holes.clone(), **({"seed": seed + start} if seeded else {}))
        if not isinstance(out, torch.Tensor) or out.shape != part.shape:
            got = tuple(out.shape) if hasattr(out, "shape") else type(out).__name__
            raise RoiganError(
                f"Method {name!r} returned {got} instead of a tensor of shape {tuple(part.shape)}."
            )
        if not torch.isfinite(out).all():
            raise RoiganError(
                f"Method {name!r} returned NaN or infinity: its weights or its training are broken."
            )
        if out.abs().max() > 1.5:
            top = float(out.abs().max())
            raise RoiganError(
                f"Method {name!r} returned values up to {top:.3g}: it must return images in [-1, 1]."
            )
        done[start : start + batch] = out.to(images)
        if progress:
            count = min(start + batch, len(images))
            progress(
                f"{name}: {count}/{len(images)} images, {count / (time.perf_counter() - begin):.0f}/s"
            )
    return done


def _takes_seed(call):
    try:
        return "seed" in inspect.signature(call).parameters
    except (TypeError, ValueError):
        return False


def _inputs(images, masks, seed, mask_law):
    pixels = images[:] if not isinstance(images, torch.Tensor) else images
    if (
        not isinstance(pixels, torch.Tensor)
        or pixels.ndim != 4
        or pixels.shape[1] != 3
        or len(pixels) < 4
        or min(pixels.shape[2:]) < 11
    ):
        raise RoiganError(
            "compare takes at least 4 images (n, 3, H, W) in [-1, 1] of 11×11 pixels "
            "or more, or an image set."
        )
    from ..checks import check_pair
    from ..masks import sample_masks

    if isinstance(masks, str):
        masks = [masks]
    if isinstance(masks, torch.Tensor):
        masks = {mask_law or "given": masks}
    elif not isinstance(masks, dict):
        masks = {
            law: sample_masks(law, len(pixels), tuple(pixels.shape[2:]), seed=seed) for law in masks
        }
    checked = {}
    for law, holes in masks.items():
        try:
            pixels, checked[law] = check_pair(pixels, holes)
        except RoiganError as error:
            raise RoiganError(f"compare, mask family {law!r}: {error}") from error
    return pixels, checked


def compare(
    methods,
    images,
    masks,
    dims=None,
    seed=0,
    reference=None,
    data=None,
    split=None,
    mask_law=None,
    config=None,
    bins=None,
    batch=64,
    diversity_images=64,
    diversity_seeds=4,
    progress=False,
):
    """Score inpainting methods on the same images and masks; returns the rows as a DataFrame, see `rows.show`.

    methods    {name: model with .inpaint, or callable (images, masks) -> completed}; a `seed` argument is used if there
    images     (n, 3, H, W) in [-1, 1], or an image set (whose name and split then go into the rows)
    masks      (n, 1, H, W) or one mask for all; or {family: masks}; or a family's name, or a list of them (from `seed`)
    dims       of Inception features for fid… and kid…: 64, 192, 768, 2048 or a tuple; None = without Inception
    reference  real images that the Fréchet and kernel distances refer to; default the very images that were masked,
               which scores lower than other images of the same set would, and is what the thesis seems to have done
    data, split, mask_law, config   words for the rows, where the arguments themselves do not tell
    bins       edges of the share of the picture that a hole takes, such as (0, 0.1, 0.2, 0.5): the scores once more for
               each bin with at least 8 images, the mask family then called "elliptic, 10–20 %"
    batch      images a method is given at once
    progress   True prints rates and times; or a function that takes a line

    One row per method, mask family and metric: fid768_n1000, kid768_n1000 (spread: sd over subsets), precision768_n1000,
    recall768_n1000, frechet_factors_n1000 and its precision and recall (if the factor network's weights are there), those
    of `inpainting.METRICS` (spread: sd over images, where there is one score per image) and diversity, between
    `diversity_seeds` completions of the first `diversity_images` images. Methods get copies, see
    `complete`. RoiganError: bad images, masks or numbers, a method's bad output (naming it), or
    Inception weights that dims asks for and that are missing.
    """
    say, seed = progress if callable(progress) else print if progress else None, check_seed(seed)
    if not isinstance(methods, dict) or not methods:
        raise RoiganError(
            'compare takes its methods as a dictionary, {"telea": telea, …}, with at least one entry.'
        )
    if min(batch, diversity_images) < 1 or diversity_seeds < 2:
        raise RoiganError(
            "compare takes batch and diversity_images of 1 or more, diversity_seeds "
            f"of 2 or more, not {batch}, {diversity_images} and {diversity_seeds}."
        )
    data = data or getattr(images, "name", None)
    split = split or getattr(images, "split", None)
    pixels, masks = _inputs(images, masks, seed, mask_law)
    real = pixels if reference is None else reference[:]
    extractors = _extractors(dims, say)
    real_features = {
        name: extract(real, "real images") for name, (extract, _) in extractors.items()
    }
    shared = {
        "dataset": data,
        "split": split,
        "seed": seed,
        "reference": "same" if reference is None else "other",
        "versions": versions(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    table = []
    for law, holes in masks.items():
        for name, method in methods.items():
            done = complete(name, method, pixels, holes, seed, batch, say)
            row = {
                "method": name,
                "checkpoint": getattr(method, "checkpoint_hash", None),
                "config": config or (getattr(method, "card", None) or {}).get("config_hash"),
                **shared,
            }
            features = {
                key: extract(done, f"{name}, {law}") for key, (extract, _) in extractors.items()
            }
            few = slice(0, diversity_images)
            again = [done[few]] + [
                complete(name, method, pixels[few], holes[few], seed + 1_000_003 * k, batch)
                for k in range(1, diversity_seeds)
            ]
            whole = {key: metric(done, pixels, holes) for key, metric in METRICS.items()}
            for label, chosen in {law: slice(None), **_bins(law, holes, bins)}.items():
                x, y, m = pixels[chosen], done[chosen], holes[chosen]
                scores = []
                for key, (_, network) in extractors.items():
                    of_real = (
                        real_features[key][chosen] if reference is None else real_features[key]
                    )
                    scores += _distances(key, of_real, features[key][chosen], network)
                for key, metric in METRICS.items():
                    each = isinstance(
                        whole[key], torch.Tensor
                    )  # a score an image needs no second look at the bin
                    value = (
                        whole[key][chosen]
                        if each
                        else whole[key]
                        if label == law
                        else metric(y, x, m)
                    )
                    scores.append(
                        (
                            key,
                            float(value.mean() if each else value),
                            float(value.std()) if each else None,
                            {},
                        )
                    )
                if label == law:
                    scores.append(
                        (
                            "diversity",
                            diversity(again, m[few]),
                            None,
                            {"n_real": None, "n_fake": len(again[0])},
                        )
                    )
                about = {
                    "n_real": len(x if reference is None else real),
                    "n_fake": len(x),
                    "mask_law": label,
                    "mask_hash": mask_hash(m),
                }
                table += [
                    {"metric": key, "value": value, "spread": spread, **row, **about, **more}
                    for key, value, spread, more in scores
                ]
    return frame(table)


def _bins(law, masks, edges):
    """{"elliptic, 10–20 %": indices} of the masks whose area lies in (low, high], for bins of at least 8."""
    share, found = masks.mean((1, 2, 3)).cpu(), {}
    for low, high in zip(edges or (), (edges or ())[1:]):
        inside = ((share > low) & (share <= high)).nonzero()[:, 0]
        if len(inside) >= 8:
            found[f"{law}, {100 * low:g}–{100 * high:g} %"] = inside
    return found


def _extractors(dims, say):
    found = {}
    for d in () if dims is None else (dims,) if isinstance(dims, int) else dims:

        def inception(images, label, d=d):
            begin = time.perf_counter()
            out = nets.inception_features(images, d)
            if say:
                took = time.perf_counter() - begin
                say(f"Inception {d} of {label}: {len(images)} images in {took:.0f} s")
            return out

        found[d] = (inception, nets.inception_hash())
    net = nets.factor_net()
    if net is not None:
        found["factors"] = (
            lambda images, label: nets.factor_features(images, net=net),
            getattr(net, "checkpoint_hash", None),
        )
    return found


def _distances(key, real, fake, network):
    n, more = (
        len(fake),
        {"weights": network, "note": small_n_note(min(len(real), len(fake)), real.shape[1])},
    )
    precision, recall = precision_recall(real, fake)
    name = "_factors" if key == "factors" else key
    both = [
        (f"precision{name}_n{n}", precision, None, {"weights": network}),
        (f"recall{name}_n{n}", recall, None, {"weights": network}),
    ]
    if key == "factors":
        return [(f"frechet_factors_n{n}", frechet_distance(real, fake), None, more)] + both
    mean, sd = kernel_distance(real, fake)
    return [
        (f"fid{key}_n{n}", frechet_distance(real, fake), None, more),
        (f"kid{key}_n{n}", mean, sd, {"weights": network}),
    ] + both
