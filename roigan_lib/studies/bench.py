"""Speed as ratios: the kit and a plain way of doing the same work, measured in turn within one run.

For the networks the plain way is tests/yardstick.py, a description of the step that the author's release makes: dense
convolutions over the mask, a pass wherever the release makes one. It lies in the repository, not in the package.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..checks import height_width
from ..config import load_config
from ..data import ImageSet, open_dataset, to_uint8
from ..errors import RoiganError
from ..inpainter import RoIGAN
from ..masks import FAMILIES, LAWS, gaussians, sample_masks
from ..metrics import Table, load_rows
from ..models import networks
from ..perceptual import PerceptualNet
from ..precision import probe, processor
from ..training import Trainer


def in_turn(ways, repeats=5, hopeless=None, within=None):
    """Median seconds of each way, {name: function} -> {name: seconds}; they take turns, after one round to warm up.

    A program beside them slows all ways alike, so the ratio of two medians holds where the seconds do not.
    hopeless: a way whose round to warm up takes over so many times as long as the first way's is tried no more, and
    has no seconds in the result. within: once so many seconds are over, no round begins but the first that counts.
    """
    if repeats < 1:
        raise RoiganError(f"repeats is {repeats}; at least one round has to be timed.")
    took, began = {name: [] for name in ways}, time.perf_counter() if within else 0.0
    for turn in range(repeats + 1):
        if within and turn > 1 and time.perf_counter() - began > within:
            break
        for name in list(took):
            start = time.perf_counter()
            ways[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took[name].append(time.perf_counter() - start)
        if turn == 0 and hopeless:
            limit = hopeless * next(iter(took.values()))[0]
            took = {name: seconds for name, seconds in took.items() if seconds[0] <= limit}
    return {name: statistics.median(seconds[1:]) for name, seconds in took.items()}


def _row(what, took, plain, kit, n=1):
    return {
        "metric": what,
        "method": "plain / kit",
        "value": round(took[plain] / took[kit], 2),
        "plain_ms": round(1e3 * took[plain] / n, 3),
        "kit_ms": round(1e3 * took[kit] / n, 3),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def yardstick():
    """The module tests/yardstick.py of a clone. Raises RoiganError where there is only the installed package."""
    path = Path(__file__).resolve().parents[2] / "tests" / "yardstick.py"
    if not path.is_file():
        raise RoiganError(
            "The plain step to compare with is tests/yardstick.py of the repository, which is not here; run "
            "the benchmark from a clone."
        )
    spec = importlib.util.spec_from_file_location("yardstick", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _noise_images(n, size=64):
    pixels = torch.randint(
        0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return ImageSet("noise", "train", size, pixels)


def _untrained(profile, **fields):
    cfg = load_config(profile, **fields).model()
    torch.manual_seed(0)
    return RoIGAN(networks(cfg)[0](cfg).to(memory_format=torch.channels_last), "untrained")


def _random_vgg19():
    """VGG19 as a perceptual network with random weights: nothing to download."""
    import torchvision

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vgg19.pth"
        torch.save(torchvision.models.vgg19(weights=None).features.state_dict(), file)
        return PerceptualNet("vgg19", file)


def train_step(width=1.0, batch=16, perceptual=False, repeats=3, ways=("fp32", "bf16"), say=print):
    """The published step, plain and by the kit: same networks, batch and losses. One row for each precision of `ways`;
    the plain step is float32. A precision that is hopelessly slow here has no row, but a line for `say`.

    perceptual: with VGG19 in it (random weights: they take the same time), else without the perceptual term.
    """
    released = yardstick()
    extra = dict(perceptual_net="none") if perceptual else dict(perceptual=0.0)
    fields = dict(recipe="published", width=width, batch=batch, flip=False) | extra
    trainers = {
        way: Trainer(
            load_config("thesis", precision=way, **fields), _noise_images(4 * batch), "cpu"
        )
        for way in ways
    }
    for way in [way for way, trainer in trainers.items() if trainer.precision != way]:
        say(f"left out, width {width:g}: {trainers.pop(way).remark}")
    if not trainers:
        return []
    if perceptual:
        net = _random_vgg19()
        for trainer in trainers.values():
            trainer.perceptual = net
    first = next(iter(trainers.values()))
    plain = released.Step(
        first.generator.state_dict(), first.discriminator.state_dict(), first.perceptual
    )
    x, m, codes, noise = first._draw(0)[:4]
    work = {"plain": lambda: plain(x, m, codes, noise)}
    took, rows = (
        in_turn(
            work | {way: trainer.step for way, trainer in trainers.items()}, repeats, hopeless=10
        ),
        [],
    )
    for way in trainers:
        if way not in took:
            say(
                f"left out, width {width:g}: a step in {way} took over 10 times as long as the plain one."
            )
            continue
        what = f"train step, width {width:g}, {'VGG19' if perceptual else 'no perceptual term'}" + (
            ", bfloat16" if way == "bf16" else ""
        )
        rows.append(
            _row(what, took, "plain", way)
            | {"batch": batch, "images_per_second": round(batch / took[way], 2)}
        )
    return rows


def generator_forward(width=1.0, batch=16, repeats=7):
    """The published generator drawing a batch, and moving one slider of one image.

    The first row has the largest difference of the two drawings in float32 and of both in double precision, which is what
    their methods differ by, and of each float32 one from the plain one in double precision, which is its rounding.
    """
    plain = yardstick().generate
    gan = _untrained("thesis", recipe="published", width=width)
    net, cfg = gan.generator, gan.config
    state = net.state_dict()
    x, m = _noise_images(batch)[:], sample_masks("elliptic", batch, cfg.size, seed=1)
    codes = gan.sample_codes(batch, 0)
    z = net.join_codes(
        codes, torch.randn(batch, cfg.n_noise, generator=torch.Generator().manual_seed(0))
    )
    double = lambda t: t.double() if t.is_floating_point() else t
    with torch.inference_mode():
        ours, theirs = net(x, m, z)[0], plain(state, z, x, m)[0]
        z_x_m = [double(t) for t in (z, x, m)]
        exact = plain({k: double(v) for k, v in state.items()}, *z_x_m)[0]
        same = copy.deepcopy(net).double()(*z_x_m[1:], z_x_m[0])[0]
        gap = lambda a, b: (a - b).abs().max().item()
        gaps = {
            "largest_difference": gap(ours, theirs),
            "largest_difference_double": gap(same, exact),
            "largest_error_kit": gap(ours, exact),
            "largest_error_plain": gap(theirs, exact),
        }
        took = in_turn(
            {
                "plain": lambda: plain(state, z, x, m),
                "kit": lambda: net(x, m, z),
                "plain, one": lambda: plain(state, z[:1], x[:1], m[:1]),
                "slider": lambda: gan.inpaint(x[:1], m[:1], codes[:1]),
            },
            repeats,
        )
    return [
        _row(f"generator, a batch, width {width:g}", took, "plain", "kit")
        | {"batch": batch}
        | gaps,
        _row(f"slider, width {width:g}", took, "plain, one", "slider") | {"batch": 1},
    ]


def slider(repeats=21):
    """Milliseconds from a slider to the completed image of one face, first mask included or not; laptop profile."""
    gan = _untrained("laptop")
    x, m = _noise_images(2, gan.size)[:], sample_masks("elliptic", 2, gan.size, seed=1)
    codes, turn = gan.sample_codes(1, 0), iter(range(10**9))

    def repainted():  # another face each time: nothing is remembered
        i = next(turn) % 2
        gan.inpaint(x[i : i + 1], m[i : i + 1], codes)

    took = in_turn({"new region": repainted}, repeats)
    took |= in_turn({"same region": lambda: gan.inpaint(x[:1], m[:1], codes)}, repeats)
    return [
        _row("slider, laptop width, beside a new region", took, "new region", "same region")
        | {"batch": 1}
    ]


def reading(dataset="synthfaces", root=None, crop=None, batch=16, repeats=5, limit=2000):
    """Milliseconds to hand out a batch of training images, beside the laptop profile's train step that eats it.

    From the cache, and, second row, as it would be without one: JPEG files of CelebA's 178x218 pixels decoded, cropped
    and resized by one thread.
    """
    from ..data.folder import decode

    data = open_dataset(dataset, "train", 64, root, crop, limit)
    trainer = Trainer(
        load_config("laptop", dataset=dataset, root=root, crop=crop, batch=batch), data, "cpu"
    )
    trainer.step_count = trainer.cfg.steps - 1  # past the warm-up: a whole step
    generator, files = torch.Generator().manual_seed(0), []
    for picture in to_uint8(data[:batch]).permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).resize((178, 218), Image.Resampling.BICUBIC).save(
            file, "JPEG", quality=90
        )
        files.append(file.getvalue())
    took = in_turn(
        {
            "step": trainer.step,
            "read": lambda: trainer._batch(0, generator),
            "decode": lambda: [decode(file, "thesis", 64) for file in files],
        },
        repeats,
    )
    per_second = lambda way: {"batch": batch, "images_per_second": round(batch / took[way])}
    return [
        _row("reading a batch, beside a train step", took, "step", "read") | per_second("read"),
        _row("reading a batch of JPEG files, uncached, beside it", took, "step", "decode")
        | per_second("decode"),
    ]


def inception(n=32, dims=768, repeats=3):
    """FID features: pytorch-fid's network as it comes, and with batch norm folded in and channels last."""
    from ..metrics.features import inception_features

    images = _noise_images(n)[:]
    inception_features(images[:1], dims)  # says what is missing, if anything is
    from pytorch_fid.inception import InceptionV3

    net = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[dims]]).eval()
    with torch.inference_mode():
        took = in_turn(
            {
                "plain": lambda: net(images * 0.5 + 0.5),
                "kit": lambda: inception_features(images, dims),
            },
            repeats,
        )
    return [_row(f"Inception features, {dims}, an image", took, "plain", "kit", n) | {"batch": n}]


def parts_of_a_step(trainer, repeats=2):
    """Median seconds of what a step of this Trainer consists of, and of whole steps: {part: seconds}. It trains it."""
    x, m, codes, noise = trainer._draw(0)[:4]
    g, d, z = trainer.generator, trainer.discriminator, trainer.generator.join_codes(codes, noise)

    def step_at(count):
        trainer.step_count = count
        trainer.step()

    return in_turn(
        {
            "draw the batch": lambda: trainer._draw(1),
            "generator, forward only": lambda: g(x, m, z),
            "generator": lambda: g(x, m, z)[0].mean().backward(),
            "discriminator": lambda: d(x, m)[0].mean().backward(),
            "step of the warm-up": lambda: step_at(0),
            "step after it": lambda: step_at(trainer.cfg.steps - 1),
        },
        repeats,
        within=10,
    )


def here(quick=False):
    """Three ratios of this machine in seconds: the published step of a small network, a slider, and bfloat16."""
    small = dict(width=0.125, batch=4) if quick else dict(width=0.25, batch=8)
    took = dict(zip(("float32", "bfloat16"), probe()))
    return (
        train_step(ways=("fp32",), repeats=1, **small)
        + slider(3 if quick else 7)
        + [_row("a convolution, float32 beside bfloat16", took, "float32", "bfloat16")]
    )


def stored():
    """The rows that `bench --rows figures/speed.jsonl` has left in the repository; empty where there is none."""
    path = Path(__file__).resolve().parents[2] / "figures" / "speed.jsonl"
    return load_rows(path) if path.is_file() else Table()


def to_markdown(rows):
    """A table of rows of this module, with the machine that each was measured on."""
    lines = [
        "| | plain, ms | kit, ms | times as fast | processor | threads | torch |",
        "|---|---:|---:|---:|---|---:|---|",
    ]
    lines += [
        f"| {r['metric']} | {r['plain_ms']:,.2f} | {r['kit_ms']:,.2f} | **{r['value']:.2f}** | "
        f"{r.get('processor', '–')} | {r['threads']} | {r.get('torch', '–')} |"
        for r in rows
    ]
    return "\n".join(lines)


def masks(**options):
    """A mask of each family that has a density, at once and by scipy: `benchmark` in the rows of this module."""
    return [
        _row(
            f"a mask, {row['family']}",
            {"plain": 1 / row["scipy_masks_per_s"], "kit": 1 / row["masks_per_s"]},
            "plain",
            "kit",
        )
        for row in benchmark(**options)
        if row["ratio"]
    ]


def run(say=print, quick=False):
    """Every benchmark in turn; a line goes to `say` as soon as it is there. Returns the rows. quick: small networks."""
    small = dict(width=0.125, batch=4, repeats=1) if quick else {}
    jobs = [
        lambda: masks(**(dict(n=16, size=16, repeats=1, n_scipy=2) if quick else {})),
        lambda: generator_forward(**small),
        lambda: train_step(say=say, **small),
        lambda: train_step(perceptual=True, say=say, **small),
        lambda: slider(repeats=3 if quick else 21),
        lambda: reading(repeats=1 if quick else 5, limit=64 if quick else 2000),
        lambda: inception(n=2 if quick else 32, repeats=1 if quick else 3),
    ]
    rows = []
    for job in jobs:
        try:
            found = job()
        except RoiganError as error:
            say(f"left out: {error}")
            continue
        for row in found:
            say(
                f"{row['metric']:58s} plain {row['plain_ms']:10,.3f} ms   kit {row['kit_ms']:10,.3f} ms   "
                f"{row['value']:6.2f} times as fast"
            )
        rows += found
    return rows


def benchmark(n=2000, size=64, repeats=5, n_scipy=200):
    """Masks a second, vectorised and one at a time through scipy's multivariate_normal, measured in turn in one run.

    Returns one dict a family: family, masks_per_s, scipy_masks_per_s (None for rectangles, which need no density),
    ratio, threads; the speeds are medians over `repeats`. n masks a timing here, at most `n_scipy` there.
    """
    rows = []
    for family in FAMILIES:
        fast, slow = [], []
        for i in range(repeats + 1):  # the first round warms up
            fast.append(n / _seconds(sample_masks, family, n, size, seed=i))
            if LAWS[family]:
                count = min(n_scipy, 20 if LAWS[family][0] > 1 else n_scipy)
                slow.append(count / _seconds(_one_at_a_time, family, count, size, seed=i))
        ours, theirs = (statistics.median(s[1:]) if s else None for s in (fast, slow))
        rows.append(
            {
                "family": family,
                "masks_per_s": ours,
                "scipy_masks_per_s": theirs,
                "ratio": ours / theirs if theirs else None,
                "threads": torch.get_num_threads(),
            }
        )
    return rows


def _one_at_a_time(family, n, size, seed=0):
    """Equations (3.2)-(3.7) as they stand, a mask and a Gaussian at a time: the yardstick of `benchmark`."""
    from scipy.stats import multivariate_normal

    height, width = height_width(size)
    generator = torch.Generator().manual_seed(seed)
    mean, sigma, rho, weight = (p.numpy() for p in gaussians(family, n, height, width, generator))
    y, x = np.mgrid[:height, :width]
    grid = np.dstack((x, y))
    masks = []
    for i in range(n):
        f = 0
        for j in range(mean.shape[1]):
            (sx, sy), cross = sigma[i, j], rho[i, j] * sigma[i, j].prod()
            f = f + weight[i, j] * multivariate_normal.pdf(
                grid, mean[i, j], [[sx * sx, cross], [cross, sy * sy]]
            )
        masks.append(f > f.max() / 2)
    return np.stack(masks)[:, None].astype(np.float32)


def _seconds(function, *args, **kwargs):
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start
