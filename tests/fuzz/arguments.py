"""What is handed to a function: images, masks, codes, noise, seeds, sizes, names, devices."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import roigan_lib as rg
from roigan_lib import metrics, photo
from roigan_lib.baselines import glcic
from roigan_lib.checks import check_device, check_pair
from roigan_lib.control import directions
from roigan_lib.data import ImageSet, decode, sources, synthfaces
from roigan_lib.data.synthfaces.reader import load_factor_net
from roigan_lib.picture_files import open_mask

from .driver import Case
from .values import INF, NAN, NOT_COUNTS, NOT_DEVICES, NOT_NAMES, NOT_NUMBERS, NOT_SEEDS, SEEDS, Odd


@functools.cache
def scene():
    """A model, four images, their masks, a photograph and its frame."""
    torch.manual_seed(0)
    gan = rg.load_model("synthfaces")
    x, m = torch.rand(4, 3, 64, 64) * 2 - 1, rg.sample_masks("elliptic", 4, 64)
    picture = (torch.rand(80, 96, 3) * 255).byte().numpy()
    frame = photo.face_frame(((30, 40), (60, 40)), 64)
    features = torch.rand(12, 4)
    calm = lambda images, masks, **_: images
    return SimpleNamespace(**locals())


def warm():
    s = scene()
    s.gan.inpaint(s.x, s.m)


def each(kind, what, bad, call, *words):
    """A case for every value of a table that `call` has to refuse."""
    for name, value in bad.items():
        yield Case(kind, f"{what}={name}", functools.partial(call, value), words)


def without(table, *names):
    return {k: v for k, v in table.items() if k not in names}


def cases(folder):
    s = scene()
    yield from seeds(s)
    yield from counts(s)
    yield from names(s, folder)
    yield from devices(s)
    yield from generators(s)
    yield from pairs(s)
    yield from codes(s)
    yield from photographs(s)
    yield from measures(s)
    yield from copies(s)


# ---- numbers


def seeds(s):
    one = s.x[:1], s.m[:1]
    calls = {
        "sample_masks(seed": lambda v: rg.sample_masks("elliptic", 2, 16, seed=v),
        "inpaint(seed": lambda v: s.gan.inpaint(*one, seed=v),
        "generate(seed": lambda v: s.gan.generate(*one, seed=v),
        "sample_codes(seed": lambda v: s.gan.sample_codes(2, v),
        "sample_noise(seed": lambda v: s.gan.sample_noise(2, v),
        "SelfEnsemble.inpaint(seed": lambda v: rg.SelfEnsemble(s.gan).inpaint(*one, seed=v),
        "sample_factors(seed": lambda v: synthfaces.sample_factors(2, v),
        "kernel_distance(seed": lambda v: metrics.kernel_distance(s.features, s.features, seed=v),
        "load_config(seed": lambda v: rg.load_config("smoke", seed=v).run.seed,
        "inpaint_photo(seed": lambda v: rg.inpaint_photo(
            s.gan, s.picture, s.m[:1], s.frame, seed=v
        ),
        "complete(seed": lambda v: metrics.complete("x", s.calm, *one, seed=v),
        "compare(seed": lambda v: rg.compare({"x": s.calm}, s.x, s.m, seed=v, diversity_images=1),
        "principal_directions(seed": lambda v: directions.principal_directions(
            s.gan, *one, k=1, samples=4, seed=v
        ),
    }
    for what, call in calls.items():
        yield from each("seed", what, NOT_SEEDS, call, "seed")
        for name, value in SEEDS.items():
            yield Case("seed", f"{what}={name} is 3", functools.partial(_same, call, value))


def _same(call, seed):
    a, b = call(seed), call(3)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert np.array_equal(a, b)
    elif hasattr(a, "codes"):
        assert torch.equal(a.codes, b.codes)
    elif hasattr(a, "drop"):
        assert a["value"].equals(b["value"]) and a["seed"].tolist() == b["seed"].tolist()
    else:
        assert a == b


def counts(s):
    f, one = s.features, (s.x[:1], s.m[:1])
    calls = {
        "sample_masks(n": (lambda v: rg.sample_masks("elliptic", v, 16), "n is"),
        "sample_factors(n": (synthfaces.sample_factors, "n is"),
        "sample_codes(n": (lambda v: s.gan.sample_codes(v), "n is"),
        "sample_noise(n": (lambda v: s.gan.sample_noise(v), "n is"),
        "complete(batch": (lambda v: metrics.complete("x", s.calm, s.x, s.m, batch=v), "batch"),
        "compare(batch": (lambda v: rg.compare({"x": s.calm}, s.x, s.m, batch=v), "batch"),
        "compare(diversity_images": (
            lambda v: rg.compare({"x": s.calm}, s.x, s.m, diversity_images=v),
            "diversity_images",
        ),
        "compare(diversity_seeds": (
            lambda v: rg.compare({"x": s.calm}, s.x, s.m, diversity_seeds=v),
            "diversity_seeds",
        ),
        "kernel_distance(subsets": (lambda v: metrics.kernel_distance(f, f, v), "subsets"),
        "precision_recall(k": (lambda v: metrics.precision_recall(f, f, v), "k"),
        "principal_directions(k": (
            lambda v: directions.principal_directions(s.gan, *one, v, 4),
            "k is",
        ),
        "telea(radius": (lambda v: rg.telea(*one, v), "radius"),
    }
    for what, (call, word) in calls.items():
        # a number of images may be as large as one likes where it is only a bound
        bound = what in ("complete(batch", "compare(batch", "compare(diversity_images")
        bad = without(NOT_COUNTS, "10**30") if bound else NOT_COUNTS
        if what == "telea(radius":
            bad = without(bad, "1.5", "2.0", "np.float32(2)")
        yield from each("count", what, bad, call, word)
    sizes = without(NOT_COUNTS, "0", "-1") | {"7": 7, "4097": 4097, "(8, 8, 8)": (8, 8, 8)}
    sizes |= {"(8, '8')": (8, "8"), "(8, nan)": (8, NAN), "(8, True)": (8, True), "()": ()}
    yield from each(
        "size", "sample_masks(size", sizes, lambda v: rg.sample_masks("elliptic", 1, v), "size"
    )
    yield from each(
        "size", "open_dataset(size", sizes, lambda v: rg.open_dataset("synthfaces", size=v), "size"
    )
    yield from each("size", "face_frame(size", sizes, lambda v: _frame(v), "size")
    yield from each("size", "crop_frame(size", sizes, lambda v: photo.crop_frame(99, 99, v), "size")
    sides = {
        "crop_frame(width": (lambda v: photo.crop_frame(v, 9, 64), "width"),
        "crop_frame(height": (lambda v: photo.crop_frame(9, v, 64), "height"),
        "open_mask(width": (lambda v: open_mask(b"", v, 9), "width"),
        "open_mask(height": (lambda v: open_mask(b"", 9, v), "height"),
        "open_mask(size": (lambda v: open_mask(b"", 9, 9, 0 if v is None else v), "size"),
    }
    for what, (call, word) in sides.items():
        yield from each("size", what, NOT_COUNTS, call, word)
    yield from each(
        "size",
        "open_dataset(limit",
        without(NOT_COUNTS, "None", "10**30"),
        lambda v: rg.open_dataset("synthfaces", "test", limit=v),
        "limit",
    )
    for name, value in {"np.int64": np.int64(2), "torch": torch.tensor(2)}.items():
        yield Case("count", f"sample_masks(n={name}(2)", lambda v=value: _masks(v, 16))
        yield Case("size", f"sample_masks(size={name}(16)", lambda v=value: _masks(2, 8 * v))


def _frame(size):
    return photo.face_frame(((30, 40), (60, 40)), size)


def _masks(n, size):
    assert rg.sample_masks("elliptic", n, size).shape == (2, 1, 16, 16)


# ---- names


def names(s, folder):
    calls = {
        "load_model(": (rg.load_model, "model", "checkpoint"),
        "load_glcic(": (rg.load_glcic, "GLCIC", "checkpoint"),
        "open_dataset(": (rg.open_dataset, "data set"),
        "open_dataset(split": (lambda v: rg.open_dataset("synthfaces", v), "split"),
        "sample_masks(family": (lambda v: rg.sample_masks(v, 1, 16), "mask family"),
        "load_config(": (rg.load_config, "profile"),
        "load_config(recipe": (lambda v: rg.load_config("smoke", recipe=v), "recipe"),
        "load_config(nonesuch": (lambda v: rg.load_config("smoke", **{str(v): 1}), "parameter"),
        "face_frame(crop": (lambda v: rg.face_frame(((0, 0), (9, 0)), 64, v), "crop"),
        "decode.check_crop(": (decode.check_crop, "crop"),
        "load_directions(": (directions.load_directions, "directions"),
        "sources.check(": (sources.check, "data set"),
        "sources.counts(": (lambda v: sources.counts(v, folder), "data set"),
        "best_model(": (_best, "model"),
        "compare(masks": (lambda v: rg.compare({"x": s.calm}, s.x, v), "mask"),
    }
    for what, (call, *words) in calls.items():
        skip = ("None",) if what == "decode.check_crop(" else ()
        yield from each("name", what, without(NOT_NAMES, *skip), call, *words)
    for name in ("runs/celeba", "./celeba", "weights/celeba", "celeba/", "nowhere/glcic_celeba"):
        yield Case("name", f"load_model({name!r}", lambda n=name: rg.load_model(n), ("checkpoint",))
        yield Case("name", f"load_glcic({name!r}", lambda n=name: rg.load_glcic(n), ("GLCIC",))
        yield Case(
            "name",
            f"load_directions({name!r}",
            lambda n=name: directions.load_directions(n),
            ("directions",),
        )


def _best(name):
    from roigan_lib.stored import best_model

    return best_model(name)


def devices(s):
    calls = {
        "check_device(": check_device,
        "load_model(device": lambda v: rg.load_model("synthfaces", v),
        "load_glcic(device": lambda v: rg.load_glcic(device=v),
        "RoIGAN.to(": s.gan.to,
        "sample_masks(device": lambda v: rg.sample_masks("elliptic", 1, 16, device=v),
        "load_factor_net(device": lambda v: load_factor_net(device=v),
    }
    for what, call in calls.items():
        yield from each("device", what, NOT_DEVICES, call, "device")
        yield Case("device", f"{what}=torch.device", lambda c=call: c(torch.device("cpu")))


def generators(s):
    net = s.gan.generator
    bad = {"None": None, "5": 5, "'celeba'": "celeba", "a dict": net.state_dict(), "a class":
           type(net), "a RoIGAN": s.gan, "Linear": torch.nn.Linear(2, 2), "float16":
           copy.deepcopy(net).half(), "bfloat16": copy.deepcopy(net).bfloat16(), "float64":
           copy.deepcopy(net).double()}  # fmt: skip
    yield from each("generator", "RoIGAN(", bad, rg.RoIGAN, "generator")
    for name in ("half", "bfloat16", "double"):
        gan = rg.RoIGAN(copy.deepcopy(net))
        getattr(gan.generator, name)()
        call = lambda gan=gan: gan.inpaint(s.x, s.m)
        yield Case("generator", f"inpaint after {name}()", call, ("float32", "generator.float()"))
    gan = rg.RoIGAN(copy.deepcopy(net).half().float())
    yield Case("generator", "right: half().float()", lambda: gan.inpaint(s.x, s.m))


# ---- images and masks


def pairs(s):
    x, m = s.x[:2], s.m[:2]
    shaped = lambda *n: torch.zeros(n)
    spoiled = lambda t, v: t.clone().index_fill_(0, torch.tensor(0), v)
    images = {
        "None": None, "'x'": "x", "path": Path("x.png"), "bytes": b"x", "1": 1, "nan": NAN,
        "[]": [],
        "ragged": [[1, 2], [3]], "{}": {}, "Odd()": Odd(), "strings": np.array(["a"]),
        "objects": np.array([Odd()]), "uint8": shaped(2, 3, 64, 64).byte(),
        "int64": shaped(2, 3, 64, 64).long(), "bool": shaped(2, 3, 64, 64).bool(),
        "complex": shaped(2, 3, 64, 64).cfloat(), "NaN": spoiled(x, NAN), "inf": spoiled(x, INF),
        "2.0": spoiled(x, 2.0), "-255": spoiled(x, -255), "no image": shaped(0, 3, 64, 64),
        "grey": shaped(2, 1, 64, 64), "RGBA": shaped(2, 4, 64, 64), "channels last":
        shaped(2, 64, 64, 3), "2-d": shaped(64, 64), "5-d": shaped(1, 2, 3, 64, 64), "0-d":
        torch.tensor(0.5), "no pixels": shaped(2, 3, 0, 0), "one row": shaped(2, 3, 1, 64),
        "sparse": x.to_sparse(), "meta": x.to("meta"), "other size": shaped(2, 3, 63, 64),
        "list of Nones": [None, None], "a set": {1, 2}, "generator": (i for i in range(3)),
    }  # fmt: skip
    masks = {
        "None": None, "'x'": "x", "path": Path("x.png"), "bytes": b"x", "1": 1, "[]": [],
        "ragged": [[1, 2], [3]], "{}": {}, "Odd()": Odd(), "strings": np.array(["a"]),
        "soft": shaped(2, 1, 64, 64) + 0.5, "0 and 255": m * 255, "-1 and 1": m * 2 - 1,
        "NaN": spoiled(m, NAN), "inf": spoiled(m, INF), "empty": shaped(2, 1, 64, 64),
        "full": shaped(2, 1, 64, 64) + 1, "one empty": spoiled(m, 0.0), "three": s.m[:3],
        "no mask": shaped(0, 1, 64, 64), "3 channels": m.repeat(1, 3, 1, 1), "32x32":
        s.m[:2, :, ::2, ::2], "5-d": m[None], "0-d": torch.tensor(1.0), "1-d": shaped(64),
        "sparse": m.to_sparse(), "meta": m.to("meta"), "complex": m.cfloat(), "inverted":
        (shaped(2, 1, 64, 64) + 1).index_fill_(2, torch.tensor(0), 0.0), "list of Nones": [None],
    }  # fmt: skip
    one = glcic.load_glcic()
    calls = {
        "check_pair": check_pair,
        "RoIGAN.inpaint": s.gan.inpaint,
        "RoIGAN.generate": s.gan.generate,
        "GLCIC.inpaint": one.inpaint,
        "SelfEnsemble.inpaint": rg.SelfEnsemble(s.gan).inpaint,
        "telea": rg.telea,
        "navier_stokes": rg.navier_stokes,
    }
    words = ("images", "image ")
    for what, call in calls.items():
        bad = images if what != "check_pair" else without(images, "one row")
        yield from each("images", f"{what}(images", bad, lambda v, c=call: c(v, m), *words, "mask")
        yield from each("masks", f"{what}(masks", masks, lambda v, c=call: c(x, v), "mask")
        for name, pair in {
            "numpy": (x.numpy(), m.numpy()), "float64": (x.double(), m.double()), "bool masks":
            (x, m.bool()), "uint8 masks": (x, m.byte()), "2-d mask": (x, m[0, 0]), "3-d masks":
            (x, m[:, 0]), "one mask": (x, m[:1]), "not contiguous": (x.transpose(2, 3).contiguous()
            .transpose(2, 3), m), "with gradients": (x.clone().requires_grad_(), m), "lists":
            (x.tolist(), m.tolist()), "read-only": (_locked(x), _locked(m)),
        }.items():  # fmt: skip
            yield Case(
                "images",
                f"{what}({name}",
                lambda c=call, p=pair, w=what: _completes(c, p, x, m[:1] if "one" in w else m),
            )
    yield from each(
        "images",
        "compare(images",
        without(images, "one row"),
        lambda v: rg.compare({"x": s.calm}, v, m),
        "images",
        "mask",
    )
    yield from each(
        "images", "explore(images", images, lambda v: rg.explore(s.gan, v), "image", "shape"
    )
    yield from each(
        "masks",
        "explore(mask",
        without(masks, "None", "three", "empty", "full", "inverted", "one empty"),
        lambda v: rg.explore(s.gan, x, mask=v),
        "mask",
    )
    methods = {
        "None": None, "''": "", "[]": [], "{}": {}, "telea": rg.telea, "{'x': 5}": {"x": 5},
        "{'x': None}": {"x": None}, "of a path": {"x": "celeba"}, "returns None":
        {"x": lambda a, b: None}, "returns another shape": {"x": lambda a, b: a[:1]}, "returns NaN":
        {"x": lambda a, b: a * NAN}, "returns bytes": {"x": lambda a, b: a * 255}, "returns numpy":
        {"x": lambda a, b: a.numpy()}, "takes one": {"x": lambda a: a}, "fails":
        {"x": lambda a, b: 1 / 0}, "returns a meta tensor": {"x": lambda a, b: a.to("meta")},
    }  # fmt: skip
    yield from each(
        "method", "compare(methods", methods, lambda v: rg.compare(v, s.x, s.m), "method"
    )


def _locked(tensor):
    array = tensor.numpy().copy()
    array.flags.writeable = False
    return array


def _completes(call, pair, x, m):
    done = call(*pair)
    done = done[0] if isinstance(done, tuple) else done
    assert isinstance(done, torch.Tensor) and done.shape == x.shape and done.isfinite().all()
    m = torch.as_tensor(np.array(torch.as_tensor(np.array(pair[1])).reshape(-1, 1, 64, 64)))
    keep = (m < 0.5).expand(len(x), 3, -1, -1)
    if getattr(call, "__name__", "") != "generate":
        assert torch.equal(done.float()[keep], x[keep])


# ---- codes and noise


def codes(s):
    x, m, n = s.x[:2], s.m[:2], s.gan.config.n_codes
    good = s.gan.sample_codes(2, 0)
    put = lambda row, column, value: good.clone().index_put_(
        (torch.tensor(row), torch.tensor(column)), torch.tensor(float(value))
    )
    bad = {
        "'x'": "x", "''": "", "[]": [], "{}": {}, "Odd()": Odd(), "1": 1, "nan": NAN,
        "path": Path("c"),
        "ragged": [[1.0], [1.0, 2.0]], "strings": [["a"] * n], "NaN": put(0, 0, NAN), "inf":
        put(0, 0, INF), "5": put(0, 0, 5), "-1.5": put(1, 3, -1.5), "category 10": put(0, n - 1,
        10),
        "category -1": put(0, n - 1, -1), "category 0.5": put(0, n - 1, 0.5), "short": good[:, :-1],
        "three rows": s.gan.sample_codes(3, 0), "no rows": good[:0], "3-d": good[None],
        "complex": good.cfloat(), "meta": good.to("meta"), "sparse": good.to_sparse(), "Nones":
        [None] * n, "1e300": [[1e300] * n],
    }  # fmt: skip
    calls = {"RoIGAN.inpaint": s.gan.inpaint, "RoIGAN.generate": s.gan.generate}
    calls["SelfEnsemble.inpaint"] = rg.SelfEnsemble(s.gan).inpaint
    for what, call in calls.items():
        yield from each(
            "codes", f"{what}(codes", bad, lambda v, c=call: c(x, m, v), "code", "category"
        )
        for name, value in {
            "numpy": good.numpy(), "list": good.tolist(), "one row": good[0], "float64":
            good.double(), "read-only": _locked(good),
            "with gradients": good.clone().requires_grad_(),
        }.items():  # fmt: skip
            yield Case(
                "codes",
                f"{what}(codes={name}",
                lambda c=call, v=value: _as(c, x, m, v, good if "row" != name[4:] else good[:1]),
            )
    explorer = rg.explore(s.gan, x)
    yield from each("codes", "Explorer.set_codes(", bad, explorer.set_codes, "code")
    noise, width = s.gan.sample_noise(2, 0), s.gan.n_noise
    wrong = {
        "'x'": "x", "''": "", "[]": [], "{}": {}, "Odd()": Odd(), "1": 1, "ragged": [[1.0], [1.0,
        2.0]],
        "NaN": noise * NAN, "inf": noise + INF, "short": noise[:, :-1], "three rows":
        s.gan.sample_noise(3), "no rows": noise[:0], "3-d": noise[None], "complex": noise.cfloat(),
        "meta": noise.to("meta"), "sparse": noise.to_sparse(), "Nones": [None] * width, "path":
        Path("n"), "strings": [["a"] * width], "nan": NAN,
    }  # fmt: skip
    for what, call in calls.items():
        yield from each(
            "noise", f"{what}(noise", wrong, lambda v, c=call: c(x, m, None, 0, v), "noise"
        )


def _as(call, x, m, given, same):
    assert torch.equal(call(x, m, given), call(x, m, same))


# ---- photographs, eyes, frames


def photographs(s):
    picture, frame = s.picture, s.frame
    bad = {
        "None": None, "5": 5, "[]": [], "{}": {}, "Odd()": Odd(), "''": "", "bytes": b"", "junk":
        b"no picture", "float array": picture / 255.0, "int64 array": picture.astype(int),
        "3-d mask": picture[..., :2], "0-d": np.uint8(3), "1-d": np.zeros(9, np.uint8),
        "tiny": picture[:4, :4], "no pixels": picture[:0], "tensor": torch.zeros(3, 80, 96),
        "objects": np.full((80, 96, 3), None), "'a\\0b'": "a\0b", "long": "x" * 5000, "missing":
        "missing.png", "folder": ".", "nan": NAN, "33000 wide": np.zeros((16, 33000, 3), np.uint8),
        "bool": picture > 99, "int8": picture.astype(np.int8), "complex": picture.astype(complex),
    }  # fmt: skip
    calls = {
        "open_photo(": rg.open_photo,
        "find_eyes(": rg.find_eyes,
        "to_model(": lambda v: photo.to_model(v, frame),
        "inpaint_photo(photo": lambda v: rg.inpaint_photo(s.gan, v, s.m[:1], frame),
        "paste(photo": lambda v: photo.paste(v, s.x[:1], s.m[:1], frame),
        "save_photo(source": lambda v: _save(picture, v),
        "pick_eyes(": rg.pick_eyes,
    }
    words = ("photograph", "picture", "pixels", "path")
    for what, call in calls.items():
        table = without(bad, "None") if what.startswith("save") else bad
        yield from each("photograph", what, table, call, *words)
    eyes = {
        "None": None, "5": 5, "'x'": "x", "[]": [], "{}": {}, "Odd()": Odd(), "nan": NAN, "one":
        ((1, 2),), "three": ((1, 2), (3, 4), (5, 6)), "NaN": ((NAN, 2), (30, 4)), "inf":
        ((INF, 2), (30, 4)), "same": ((5, 5), (5, 5)), "close": ((5, 5), (7, 5)), "strings":
        (("a", "b"), ("c", "d")), "Nones": ((None, 1), (2, 3)), "ragged": ((1,), (2, 3)), "flat":
        (1, 2, 30, 4), "3-d": (((1, 2), (30, 4)),), "complex": ((1j, 2), (30, 4)),
        "text": "1,2,30,4",
        "1e300": ((0, 0), (1e300, 0)), "1e9 apart": ((0, 0), (1e9, 0)), "1e30 away":
        ((1e30, 0), (1e30 + 30, 0)), "bool": ((True, False), (False, True)),
    }  # fmt: skip
    yield from each("eyes", "face_frame(", eyes, lambda v: rg.face_frame(v, 64), "eyes")
    yield from each(
        "eyes", "pick_eyes(eyes", without(eyes, "None", "close", "same", "bool", "1e300",
        "1e9 apart", "1e30 away"), lambda v: rg.pick_eyes(picture, v), "eyes"
    )  # fmt: skip
    for name, at in {"far away": (1e5, 1e5), "to the left": (-1e4, 40), "below": (40, 1e5)}.items():
        far = photo.face_frame((at, (at[0] + 30, at[1])), 64)
        yield Case(
            "eyes",
            f"inpaint_photo(eyes {name}",
            lambda f=far: rg.inpaint_photo(s.gan, picture, s.m[:1], f),
            ("eyes", "outside"),
        )
    regions = {
        "None": None, "'x'": "x", "5": 5, "[]": [], "{}": {}, "Odd()": Odd(), "empty":
        np.zeros((80, 96), bool), "other size": np.ones((20, 20), bool), "3-d": np.ones((2, 80,
        96)),
        "strings": np.full((80, 96), "a"), "objects": np.full((80, 96), None), "nan": np.full(
        (80, 96), NAN), "path": Path("m.png"), "32x32": s.m[:1, :, ::2, ::2], "complex":
        np.ones((80, 96), complex), "negative": -np.ones((80, 96)),
        "soft model's": s.m[:1] * 0.4, "no pixels": np.zeros((0, 0)),
    }  # fmt: skip
    for what, call in {
        "inpaint_photo(mask": lambda v: rg.inpaint_photo(s.gan, picture, v, frame),
        "paste(mask": lambda v: photo.paste(picture, s.x[:1], v, frame),
        "mask_to_model(": lambda v: photo.mask_to_model(v, frame),
        "mask_to_photo(": lambda v: photo.mask_to_photo(v, frame, 96, 80),
    }.items():
        table = without(regions, "other size") if what.startswith("mask_to_m") else regions
        yield from each("masks", what, table, call, "mask", "region")
    drawings = {
        "None": None, "'x'": "x", "[]": [], "{}": {}, "two": s.x[:2], "small": s.x[:1, :, ::2],
        "NaN": s.x[:1] * NAN, "bytes": (s.x[:1] * 127).byte(), "ragged": [[1], [1, 2]], "wild":
        s.x[:1] * 99,
    }  # fmt: skip
    yield from each(
        "images",
        "paste(drawn",
        drawings,
        lambda v: photo.paste(picture, v, s.m[:1], frame),
        "drawing",
    )
    frames = {"None": None, "5": 5, "'x'": "x", "matrix": np.eye(3)[:2], "Odd()": Odd()}
    for what, call in {
        "to_model(frame": lambda v: photo.to_model(picture, v),
        "inpaint_photo(frame": lambda v: rg.inpaint_photo(s.gan, picture, s.m[:1], v),
        "paste(frame": lambda v: photo.paste(picture, s.x[:1], s.m[:1], v),
    }.items():
        yield from each("frame", what, frames, call, "frame")
    matrices = {"None": None, "2x2": np.eye(2), "NaN": np.full((2, 3), NAN), "'x'": "x",
                "zeros": np.zeros((2, 3)), "strings": [["a"] * 3] * 2}  # fmt: skip
    yield from each("frame", "Frame(matrix", matrices, lambda v: photo.Frame(v, 64), "matrix")
    boxes = {"nan": (NAN, 0, 9, 9), "empty": (5, 5, 5, 9), "turned": (9, 9, 0, 0), "short": (1, 2),
             "strings": ("a", "b", "c", "d"), "Nones": (None,) * 4}  # fmt: skip
    yield from each(
        "frame", "crop_frame(crop", boxes, lambda v: photo.crop_frame(99, 99, 64, v), "crop", "box"
    )


def _save(picture, source):
    from roigan_lib.picture_files import save_photo

    return save_photo("out.png", picture, source)


# ---- measures


def measures(s):
    f = s.features
    features = {
        "None": None, "'x'": "x", "[]": [], "{}": {}, "1-d": f[0], "3-d": f[None], "one": f[:1],
        "NaN": f * NAN, "inf": f + INF, "complex": f.cfloat(), "ragged": [[1], [1, 2]], "strings":
        np.array([["a"]]), "other dims": torch.rand(12, 5), "no dims": f[:, :0],
        "meta": f.to("meta"),
        "Odd()": Odd(), "sparse": f.to_sparse(), "path": Path("f"),
    }  # fmt: skip
    for what in ("frechet_distance", "kernel_distance", "precision_recall"):
        call = getattr(metrics, what)
        yield from each(
            "features", f"{what}(", features, lambda v, c=call: c(f, v), "features", "images"
        )
        yield Case("features", f"{what}(numpy", lambda c=call: c(f.numpy(), f.numpy()))
        yield Case("features", f"{what}(list", lambda c=call: c(f.tolist(), f.tolist()))
    sizes = without(NOT_COUNTS, "None", "10**30") | {"1": 1}
    yield from each(
        "count", "kernel_distance(size", sizes, lambda v: metrics.kernel_distance(f, f, 5, v),
        "subset",
    )  # fmt: skip
    yield from each(
        "count", "inception_features(dims", without(NOT_COUNTS, "2.0"), lambda v:
        metrics.inception_features(s.x, v), "dims",
    )  # fmt: skip
    bins = {"5": 5, "'x'": "x", "one": (0.1,), "falling": (0.5, 0.1), "NaN": (0, NAN), "strings":
            ("a", "b"), "Nones": (None, 1), "over 1": (0, 7), "negative": (-1, 0.5)}  # fmt: skip
    yield from each(
        "count", "compare(bins", bins, lambda v: rg.compare({"x": s.calm}, s.x, s.m, bins=v), "bins"
    )
    references = {"5": 5, "'x'": "x", "[]": [], "uint8": s.x.byte(), "NaN": s.x * NAN, "grey":
                  s.x[:, :1], "one": s.x[:1], "Odd()": Odd()}  # fmt: skip
    yield from each(
        "images", "compare(reference", references,
        lambda v: rg.compare({"x": s.calm}, s.x, s.m, reference=v), "reference",
    )  # fmt: skip
    reach = {k: v for k, v in NOT_NUMBERS.items()} | {"0": 0, "-1": -1}
    yield from each(
        "count", "principal_directions(reach", reach,
        lambda v: directions.principal_directions(s.gan, s.x[:1], s.m[:1], 1, 4, 0, v), "reach",
    )  # fmt: skip
    pixels = {"None": None, "'x'": "x", "[]": [], "floats": s.x, "grey": s.x[:, :1].byte(), "3-d":
              s.x[0].byte(), "ragged": [[1], [1, 2]], "Odd()": Odd(), "strings": ["a"]}  # fmt: skip
    yield from each("images", "ImageSet(", pixels, lambda v: ImageSet("a", "b", 64, v), "pixels")
    indices = {"'x'": "x", "None": None, "99": 99, "-99": -99, "1.5": 1.5, "[99]": [99], "['a']":
               ["a"], "nan": NAN, "[1.5]": [1.5], "Odd()": Odd(), "{}": {}}  # fmt: skip
    data = ImageSet("a", "b", 64, s.x.byte())
    yield from each(
        "images", "ImageSet[", without(indices, "99", "-99"), lambda v: data[v], "index", "indices"
    )


# ---- what the caller has stays the caller's


def copies(s):
    def unspoiled(call, *given):
        before = [g.clone() if isinstance(g, torch.Tensor) else g.copy() for g in given]
        done = call(*given)
        for result in done if isinstance(done, tuple) else (done,):
            if isinstance(result, torch.Tensor):
                result.detach().add_(1)
            elif isinstance(result, np.ndarray):
                result ^= True if result.dtype == bool else 1
        for old, now in zip(before, given):
            same = torch.equal(old, now) if isinstance(old, torch.Tensor) else (old == now).all()
            assert same, "the caller's own is spoiled"

    x, m = s.x[:2].clone(), s.m[:2].clone()
    gan, good = s.gan, s.gan.sample_codes(2)
    tables = {
        "check_pair": (check_pair, x, m),
        "check_pair (n, H, W)": (check_pair, x, m[:, 0]),
        "check_pair numpy": (check_pair, x.numpy(), m.numpy()),
        "inpaint": (gan.inpaint, x, m),
        "generate": (gan.generate, x, m),
        "inpaint codes": (gan.inpaint, x, m, good),
        "telea": (rg.telea, x, m),
        "SelfEnsemble": (rg.SelfEnsemble(gan).inpaint, x, m),
        "open_photo": (rg.open_photo, s.picture.copy()),
        "inpaint_photo": (lambda p: rg.inpaint_photo(gan, p, m[:1], s.frame), s.picture.copy()),
        "to_model": (lambda p: photo.to_model(p, s.frame), s.picture.copy()),
        "mask_to_photo": (lambda a: photo.mask_to_photo(a, s.frame, 96, 80), m[:1].clone()),
    }
    for name, (call, *given) in tables.items():
        yield Case("copy", name, functools.partial(unspoiled, call, *given))

    def spoils(images, masks):
        images.add_(9), masks.zero_()
        return torch.zeros_like(images)

    def compared():
        a = rg.compare({"bad": spoils, "good": s.calm}, s.x, s.m, diversity_images=1)
        b = rg.compare({"good": s.calm}, s.x, s.m, diversity_images=1)
        a = a[a["method"] == "good"].reset_index(drop=True)
        assert a["value"].equals(b["value"])

    yield Case("copy", "compare, a method that writes in place", compared)

    def shown():
        explorer = rg.explore(gan, x)
        explorer.original.fill_(0.5)
        explorer.completed.fill_(0.5)
        assert torch.equal(explorer.original, x[:1])

    yield Case("copy", "Explorer.original", shown)

    def indexed():
        data = ImageSet("a", "b", 64, (x * 127).byte())
        before = data.uint8.clone()
        data[0].add_(1), data[:].add_(1)
        assert torch.equal(before, data.uint8)

    yield Case("copy", "ImageSet[i]", indexed)

    def twice():
        data = rg.open_dataset("synthfaces", "test", limit=4)
        data.uint8.fill_(0)
        assert rg.open_dataset("synthfaces", "test", limit=4).uint8.any()

    yield Case("copy", "open_dataset twice", twice)

    def last():
        first, second = gan.inpaint(x[:1], m[:1]), None
        x1, m1 = x[:1].clone(), m[:1].clone()
        a = gan.inpaint(x1, m1)
        x1.zero_()
        second = gan.inpaint(x1, m1)
        assert torch.equal(a, first) and not torch.equal(second, first)

    yield Case("copy", "inpaint, images changed between two calls", last)
