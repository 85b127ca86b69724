"""One evaluation path for every method: the same images, the same masks, the same rows."""

import contextlib
import importlib.metadata
import inspect
import time
from hashlib import sha256

import numpy as np
import torch

from ..checks import check_floats, check_pair, check_seed, check_whole, numbers
from ..errors import RoiganError, shown
from ..masks import FACE, region, sample_masks
from . import features as nets
from .distances import frechet_distance, kernel_distance, precision_recall, small_n_note
from .inpainting import METRICS, diversity
from .rows import frame

# Table 4.2 of the thesis, FID of 1,000 completed images; its scale is that of 768 dimensions.
THESIS_TABLE_4_2 = {
    "RoI-GAN": {"elliptic": 0.323, "rectangular": 0.074, "mixed": 0.106},
    "FMM (Telea)": {"elliptic": 0.539, "rectangular": 0.111, "mixed": 0.197},
    "GLCIC": {"elliptic": 0.485, "rectangular": 0.638, "mixed": 0.618},
}


def versions():
    """Versions of the libraries that a value depends on, None for one that is not installed."""
    names = ("torch", "torchvision", "numpy", "pytorch-fid", "scikit-image", "opencv", "roigan-lib")
    found = dict.fromkeys(name.replace("-", "_") for name in names)
    for name in (*names, "opencv-python", "opencv-python-headless"):
        key = name.removesuffix("-headless").removesuffix("-python").replace("-", "_")
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[key] = importlib.metadata.version(name)
    return found


def mask_hash(masks):
    """12 hex digits of the masks' shape and bits: equal digits, equal holes."""
    bits = np.packbits((masks > 0.5).cpu().numpy()).tobytes()
    return sha256(repr(tuple(masks.shape)).encode() + bits).hexdigest()[:12]


def about(gan, data, n, seed):
    """What rows share that tell of a model on n images of an ImageSet, in figure 4.5's region."""
    return {
        "n": n,
        "n_fake": n,
        "dataset": data.name,
        "split": data.split,
        "mask_law": "face ellipse",
        "mask_hash": mask_hash(region(data.size, *FACE)),
        "seed": seed,
        "checkpoint": getattr(gan, "checkpoint_hash", None),
        "config": getattr(gan, "card", {}).get("config_hash"),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def complete(name, method, images, masks, seed=0, batch=64, progress=None):
    """Completed images (n, 3, H, W) of a method: an object with .inpaint, or a callable.

    It gets copies of images and masks and, where its signature has `seed`, seed + the index of the
    batch's first image, so that batches differ. Raises RoiganError, naming the method, if it
    returns another shape, NaN or values far outside [-1, 1]; also for a batch below 1.
    """
    batch, seed = check_whole("batch", batch, most=2**62), check_seed(seed)
    call = getattr(method, "inpaint", method)
    if not callable(call):
        raise RoiganError(
            f"Method {name!r} has no .inpaint and cannot be called: give a model or a function."
        )
    seeded, done, begin = _takes_seed(call), torch.empty_like(images), time.perf_counter()
    for start in range(0, len(images), batch):
        part, holes = images[start : start + batch], masks[start : start + batch]
        with torch.no_grad():
            try:
                more = {"seed": seed + start} if seeded else {}
                out = call(part.clone(), holes.clone(), **more)
            except Exception as error:  # whatever a function of the user's own raises
                why = error if isinstance(error, RoiganError) else repr(error)
                raise RoiganError(f"Method {name!r} failed: {str(why).rstrip('.')}.") from error
        tensor = isinstance(out, torch.Tensor) and not out.is_meta and not out.is_complex()
        if not tensor or out.shape != part.shape:
            got = tuple(out.shape) if tensor else getattr(out, "dtype", type(out).__name__)
            wrong = f"{got} instead of a tensor of shape {tuple(part.shape)}"
        elif not torch.isfinite(out).all():
            wrong = "NaN or infinity: its weights or its training are broken"
        elif out.abs().max() > 1.5:
            wrong = f"values up to {float(out.abs().max()):.3g}: it must return images in [-1, 1]"
        else:
            done[start : start + batch] = out.detach().to(images)
            if progress:
                n, took = start + len(part), time.perf_counter() - begin
                progress(f"{name}: {n}/{len(images)} images, {n / took:.0f}/s")
            continue
        raise RoiganError(f"Method {name!r} returned {wrong}.")
    return done


def _takes_seed(call):
    try:
        return "seed" in inspect.signature(call).parameters
    except (TypeError, ValueError):
        return False


def _inputs(images, masks, seed):
    pixels = numbers("images", images[:] if hasattr(images, "uint8") else images)
    shape = tuple(pixels.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[0] < 4 or min(shape[2:]) < 11:
        raise RoiganError(
            "compare takes at least 4 images (n, 3, H, W) in [-1, 1] of 11×11 pixels or more, or "
            "an image set."
        )
    words = [masks] if isinstance(masks, str) else masks
    if isinstance(words, (list, tuple)) and words and all(isinstance(w, str) for w in words):
        masks = {law: sample_masks(law, shape[0], shape[2:], seed=seed) for law in words}
    elif not isinstance(masks, dict) or not masks:
        masks = {"given": masks}
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
    bins=None,
    batch=64,
    diversity_images=64,
    diversity_seeds=4,
    progress=False,
):
    """Score inpainting methods on the same images and masks: a DataFrame, see `rows.show`.

    methods    {name: model with .inpaint, or callable (images, masks) -> completed}, see `complete`
    images     (n, 3, H, W) in [-1, 1], or an image set (whose name and split go into the rows)
    masks      (n, 1, H, W) or one for all; or {family: masks}; or names of families (from `seed`)
    dims       of Inception features for fid… and kid…: 64, 192, 768, 2048 or a tuple; None: without
    reference  real images for the distances; default the very images that were masked, which scores
               lower than other images of the set would, and is what the thesis seems to have done
    data, split  words for the rows, where the images do not tell
    bins       edges of the share of the picture that a hole takes, such as (0, 0.1, 0.2, 0.5): the
               scores once more for each bin with at least 8 images, as "elliptic, 10–20 %"
    progress   True prints rates and times; or a function that takes a line

    One row per method, mask family and metric: fid768_n1000, kid768_n1000 (spread: sd over
    subsets), precision768_n1000, recall768_n1000, frechet_factors_n1000 and its precision and
    recall, those of `inpainting.METRICS` (spread: sd over images, where there is one score per
    image) and diversity, between `diversity_seeds` completions of the first `diversity_images`.
    RoiganError: bad images, masks or numbers, a method's bad output, missing Inception weights.
    """
    say = progress if callable(progress) else print if progress else lambda line: None
    seed = check_seed(seed)
    texts = isinstance(methods, dict) and all(isinstance(k, str) and k.strip() for k in methods)
    if not texts or not methods:
        raise RoiganError(
            'compare takes its methods as a dictionary, {"telea": telea, …}, with at least one; a '
            "name is a text."
        )
    batch = check_whole("batch", batch, most=2**62)
    diversity_images = check_whole("diversity_images", diversity_images, most=2**62)
    diversity_seeds = check_whole("diversity_seeds", diversity_seeds, 2, 2**16)
    bins = _edges(bins)
    named = hasattr(images, "uint8")  # an ImageSet; a tensor has a method `split`
    shared = {
        "dataset": data or (images.name if named else None),
        "split": split or (images.split if named else None),
        "seed": seed,
        "reference": "same" if reference is None else "other",
        "versions": versions(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    images, masks = _inputs(images, masks, seed)
    real, networks, rows = _reference(reference, images), _networks(dims), []
    of_real = _features(networks, real, "real images", say)
    for law, holes in masks.items():
        for name, method in methods.items():
            done = complete(name, method, images, holes, seed, batch, say)
            of_done = _features(networks, done, f"{name}, {law}", say)
            few, again = slice(0, diversity_images), [done[:diversity_images]]
            for k in range(1, diversity_seeds):
                other = seed + 1_000_003 * k
                again.append(complete(name, method, images[few], holes[few], other, batch))
            each = {key: metric(done, images, holes) for key, metric in METRICS.items()}
            row = {
                "method": name,
                "checkpoint": getattr(method, "checkpoint_hash", None),
                "config": (getattr(method, "card", None) or {}).get("config_hash"),
                **shared,
            }
            for label, part in {law: slice(None), **_bins(law, holes, bins)}.items():
                seen = part if reference is None else slice(None)
                about = {
                    "n_real": len(real[seen]),
                    "n_fake": len(done[part]),
                    "mask_law": label,
                    "mask_hash": mask_hash(holes[part]),
                }
                scores = []
                for key, (_, weights) in networks.items():
                    scores += _distances(key, of_real[key][seen], of_done[key][part], weights)
                for key, metric in METRICS.items():
                    own, spread = each[key], None
                    if isinstance(own, torch.Tensor):  # a score an image
                        own, spread = own[part].mean(), float(own[part].std())
                    elif label != law:
                        own = metric(done[part], images[part], holes[part])
                    scores.append((key, float(own), spread, {}))
                if label == law:
                    number = {"n_real": None, "n_fake": len(again[0])}
                    scores.append(("diversity", diversity(again, holes[few]), None, number))
                rows += [
                    {"metric": key, "value": value, "spread": spread, **row, **about, **more}
                    for key, value, spread, more in scores
                ]
    return frame(rows)


def _reference(reference, images):
    """The real images of the distances; RoiganError for what are none."""
    if reference is None:
        return images
    reference = numbers("reference", reference[:] if hasattr(reference, "uint8") else reference)
    try:
        if len(checked := check_floats(reference)) >= 4 and checked.shape[2] > 1:
            return reference
        raise RoiganError("4 images of more than one row are the least.")
    except RoiganError as error:
        raise RoiganError(f"compare, reference: {error}") from None


def _edges(bins):
    """The edges of `bins` as rising floats from 0 to 1; RoiganError for others."""
    try:
        edges = [float(edge) for edge in (() if bins is None else bins)]
        if isinstance(bins, str) or len(edges) == 1 or not all(0 <= e <= 1 for e in edges):
            raise ValueError
        if edges == sorted(set(edges)):
            return edges
    except (TypeError, ValueError):
        pass
    raise RoiganError(f"bins are {shown(bins)}; give rising shares from 0 to 1, as (0, 0.2, 0.5).")


def _bins(law, masks, edges):
    """{"elliptic, 10–20 %": indices} of masks with an area in (low, high], for 8 or more."""
    share, found = masks.mean((1, 2, 3)).cpu(), {}
    for low, high in zip(edges, edges[1:]):
        inside = ((share > low) & (share <= high)).nonzero()[:, 0]
        if len(inside) >= 8:
            found[f"{law}, {100 * low:g}–{100 * high:g} %"] = inside
    return found


def _networks(dims):
    """{key: (images -> features, hash of the weights)}: Inception at each of dims, FactorNet."""
    found = {}
    for d in () if dims is None else (dims,) if isinstance(dims, int) else dims:
        found[d] = (lambda images, d=d: nets.inception_features(images, d), nets.inception_hash())
    if (net := nets.factor_net()) is not None:
        found["_factors"] = (lambda images: nets.factor_features(images, net=net), None)
    return found


def _features(networks, images, label, say):
    begin = time.perf_counter()
    found = {key: extract(images) for key, (extract, _) in networks.items()}
    took = time.perf_counter() - begin
    say(f"features of {label}: {len(images)} images in {took:.0f} s")
    return found


def _distances(key, real, fake, weights):
    """(metric, value, spread, further fields) of each distance between two sets of features."""
    suffix, of = f"{key}_n{len(fake)}", {"weights": weights}
    note = small_n_note(min(len(real), len(fake)), real.shape[1])
    name = "frechet" if key == "_factors" else "fid"
    scores = [(name + suffix, frechet_distance(real, fake), None, {**of, "note": note})]
    if name == "fid":
        scores.append((f"kid{suffix}", *kernel_distance(real, fake), of))
    for name, share in zip(("precision", "recall"), precision_recall(real, fake)):
        scores.append((name + suffix, share, None, of))
    return scores
