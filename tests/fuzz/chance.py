"""Faults by chance: hypothesis draws arguments, plain mutation spoils files byte by byte.

`python -m fuzz.chance PLACE N SEED`, with tests/ on the path: N examples of each of the two kinds,
in one process under the limits of `driver`. It prints what failed first, and exits by 1.
"""

from __future__ import annotations

import collections
import io
import json
import os
import random
import resource
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import roigan_lib as rg
from roigan_lib import checks, metrics, photo
from roigan_lib.cli import COMMANDS, command
from roigan_lib.config import HOME, WEIGHTS
from roigan_lib.data import ImageSet, decode, sources, synthfaces
from roigan_lib.picture_files import open_mask, save_photo

from . import arguments, values
from . import settings as fields
from .commands import told
from .driver import MEMORY, RIGHT, SENTENCE, Case, data_bytes, faulty, ring, tried

TABLES = [v for name, v in vars(values).items() if name.isupper() and isinstance(v, dict)]
KNOWN = [value for table in (*TABLES, *fields.WRONG.values()) for value in table.values()]
NUMBERS = st.integers() | st.floats(allow_nan=True, allow_infinity=True)
ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.uint8, np.int64, bool, np.complex64]),
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=5),
)
LISTS = st.recursive(NUMBERS | st.none() | st.text(max_size=5), lambda x: st.lists(x, max_size=4))
DICTS = st.dictionaries(st.text(max_size=5), NUMBERS | st.text(max_size=5), max_size=3)
ODD = (
    st.sampled_from(KNOWN)
    | NUMBERS
    | ARRAYS
    | LISTS
    | DICTS
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
ODD |= ARRAYS.map(torch.from_numpy) | st.text(max_size=8).map(lambda t: Path(t or "x"))


def targets(folder):
    """{name: (function, {argument: values that are right})}."""
    s, data = arguments.scene(), folder / "set"
    data.mkdir()
    (folder / "p.png").write_bytes(png := _bytes(Image.fromarray(s.picture), "PNG"))
    (data / "p.png").write_bytes(png)
    x, m, codes = s.x[:2], s.m[:2], s.gan.sample_codes(2)
    pair = dict(images=[x, x.numpy()], masks=[m, m[:1], m[0, 0].bool()])
    seeds, eyes = [0, 7, np.int64(3)], [((30, 40), (60, 40))]
    explorer = rg.explore(s.gan, x)
    spots = dict(photo=[s.picture, png, str(folder / "p.png")], frame=[s.frame])
    state = {
        k: ODD for k in ("mask_bytes", "code_values", "index", "seed", "names", "batch", "tick")
    }

    def shown(**given):
        explorer.set_state(given)
        assert explorer.codes.isfinite().all() and explorer.mask.shape == (1, 1, 64, 64)

    def chosen(pixels, index):
        data = ImageSet("a", "b", 5, pixels)
        try:
            data[index]
        except IndexError:  # where a loop over a sequence stops
            if (k := checks.whole(index)) is None or -len(data) <= k < len(data):
                raise

    names = (*HOME, *WEIGHTS)
    return {
        "check_pair": (checks.check_pair, pair),
        "inpaint": (s.gan.inpaint, pair | dict(codes=[codes, None], seed=seeds, noise=[None])),
        "generate": (s.gan.generate, pair | dict(codes=[codes, None], seed=seeds, noise=[None])),
        "telea": (rg.telea, pair | dict(radius=[3])),
        "SelfEnsemble": (rg.SelfEnsemble(s.gan).inpaint, pair | dict(codes=[None], seed=seeds)),
        "sample_masks": (rg.sample_masks, dict(
            family=["elliptic", "mixed"], n=[2], size=[16, (8, 12)], seed=seeds, device=["cpu"])),
        "sample_codes": (s.gan.sample_codes, dict(n=[2], seed=seeds)),
        "sample_noise": (s.gan.sample_noise, dict(n=[2], seed=seeds)),
        "sample_factors": (synthfaces.sample_factors, dict(n=[2], seed=seeds)),
        "kernel_distance": (metrics.kernel_distance, dict(
            real=[s.features], fake=[s.features], subsets=[2], size=[None, 4], seed=seeds)),
        "frechet_distance": (metrics.frechet_distance, dict(real=[s.features], fake=[s.features])),
        "precision_recall": (metrics.precision_recall, dict(
            real=[s.features], fake=[s.features], k=[3])),
        "compare": (rg.compare, dict(
            methods=[{"x": s.calm}], images=[s.x], masks=[s.m, "elliptic"], seed=seeds, batch=[4],
            diversity_images=[1], bins=[None, (0, 0.5, 1)])),
        "load_config": (lambda name, value: rg.load_config("smoke", **{str(name): value}), dict(
            name=list(names), value=[1, 0.5, "x"])),
        "open_photo": (rg.open_photo, dict(source=spots["photo"])),
        "load_mask": (rg.load_mask, dict(path=[folder / "p.png"], size=[None, 16])),
        "open_mask": (open_mask, dict(source=[png], width=[96], height=[80], size=[64])),
        "save_photo": (lambda picture, source: save_photo(folder / "o.png", picture, source), dict(
            picture=[s.picture], source=[None, png])),
        "face_frame": (rg.face_frame, dict(eyes=eyes, size=[64], crop=["thesis", "full"])),
        "crop_frame": (photo.crop_frame, dict(width=[96], height=[80], size=[64], crop=["square"])),
        "to_model": (photo.to_model, spots),
        "inpaint_photo": (lambda **k: rg.inpaint_photo(s.gan, **k), spots | dict(
            mask=[m[:1]], codes=[None], seed=seeds)),
        "paste": (photo.paste, spots | dict(drawn=[x[:1]], mask=[m[:1]])),
        "pick_eyes": (rg.pick_eyes, dict(photo=spots["photo"], eyes=eyes)),
        "explore": (lambda images, mask: rg.explore(s.gan, images, mask=mask), dict(
            images=[x], mask=[m[0, 0]])),
        "set_codes": (explorer.set_codes, dict(codes=[codes[0]])),
        "set_mask": (explorer.set_mask, dict(mask=[m[0]])),
        "widget": (shown, state),
        "open_dataset": (rg.open_dataset, dict(
            name=["folder"], split=["all"], size=[16], root=[data], crop=["square"], limit=[None])),
        "check_crop": (decode.check_crop, dict(crop=["square", 9])),
        "data check": (sources.check, dict(name=["folder"], root=[data])),
        "ImageSet": (chosen, dict(
            pixels=[x.byte()], index=[0, [1, 0], slice(None)])),
        "load_model": (rg.load_model, dict(name_or_path=["synthfaces"], device=["cpu"])),
        "check_device": (checks.check_device, dict(device=["cpu", "auto"])),
        "write_rows": (lambda rows: metrics.write_rows(folder / "rows.jsonl", rows), dict(
            rows=[[], [{"metric": "a"}]])),
    }  # fmt: skip


def arguments_by_chance(folder, n, start):
    """N examples of hypothesis; raises for the first that ends in neither."""
    kinds, counted = targets(folder), collections.Counter()
    drawn = {
        name: st.fixed_dictionaries({
            key: good if isinstance(good,
            st.SearchStrategy) else st.sampled_from(range(len(good))).map(
                good.__getitem__) | st.sampled_from(range(len(good))).map(good.__getitem__) | ODD
            for key, good in given_.items()
        })
        for name, (_, given_) in kinds.items()
    }  # fmt: skip
    words = st.sampled_from(
        ["", "-1", "nan", "x", "1e400", "0", "../x", "\x1b[0m", "9" * 30, "a,b", "[]"]
    )
    options = {
        c.__name__.lower(): [f for f in vars(c).get("__dataclass_fields__", {})] for c in COMMANDS
    }
    typed = st.sampled_from(sorted(options)).flatmap(lambda c: st.tuples(st.just(c), st.lists(
        st.tuples(st.sampled_from(options[c]), words | st.text(max_size=5)), min_size=1,
        max_size=3)))  # fmt: skip
    asked = st.sampled_from(sorted(kinds)).flatmap(lambda k: st.tuples(st.just(k), drawn[k]))

    def wrong(case):
        outcome, said = tried(case)
        counted[outcome] += 1
        if outcome in (RIGHT, SENTENCE):
            return None
        if outcome == "REFUSED":  # a sentence; which argument it names, the tables ask
            return faulty(said, ("",)) and said
        return f"{outcome}: {said}"

    @seed(start)
    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(asked, asked, asked, typed))
    def run(example):
        name, given_ = example
        if isinstance(given_, dict):
            case = Case("chance", name, lambda: kinds[name][0](**given_))
        else:
            argv = [name] + [
                w for option, word in given_ for w in (f"--{option.replace('_', '-')}", word)
            ]
            call = (lambda: told(*argv)) if name in ("inpaint", "data") else (lambda: parsed(argv))
            case = Case("chance", name, call)
        assert not (found := wrong(case)), f"{name}: {found}"

    run()
    return counted


def parsed(argv):
    """The command line of a command that would work for long: read, not run."""
    try:
        command(argv)
    except SystemExit as stop:
        assert stop.code in (0, 2), stop.code


# ---- files spoiled byte by byte


def readers(folder):
    """{name: (bytes of a right file, its ending, what reads it)}."""
    s = arguments.scene()
    grey = Image.fromarray(s.picture).convert("L").point(lambda v: 255 * (v > 127))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", _bytes(grey, "PNG"))
    from roigan_lib import making
    from roigan_lib.control import directions
    from roigan_lib.recipes import RECIPES
    from roigan_lib.studies.pages import read_stamp, write_pages

    tiny = rg.load_config("smoke", size=32, width=0.125).model
    from roigan_lib.models import networks
    from roigan_lib.stored import save_model

    save_model(networks(tiny)[0](tiny).state_dict(), tiny, folder / "tiny.safetensors")
    state = io.BytesIO()
    torch.save({"model": {"layer_1.spade_left.shared.weight": torch.zeros(3)}}, state)
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": 1}
    book = {"cells": [cell] * 2, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    moved = (
        directions.Directions(*torch.zeros(3, 2, 4)).save(folder / "moved.safetensors").read_bytes()
    )
    found = {
        f"{kind} by {what}": (_bytes(grey.convert("RGB"), kind), ending, call)
        for kind, ending in (("PNG", ".png"), ("JPEG", ".jpg"), ("TIFF", ".tif"), ("WEBP", ".webp"),
                             ("GIF", ".gif"), ("BMP", ".bmp"), ("PPM", ".ppm"))
        for what, call in (("open_photo", rg.open_photo), ("load_mask", rg.load_mask))
    }  # fmt: skip
    return found | {
        "zip": (zipped.getvalue(), ".zip", lambda p: rg.open_dataset("folder", "all", 16, p)),
        "zip, checked": (zipped.getvalue(), ".zip", lambda p: sources.check("folder", p)),
        "safetensors": ((folder / "tiny.safetensors").read_bytes(), ".safetensors", rg.load_model),
        "directions": (moved, ".safetensors", directions.load_directions),
        "checkpoint": (state.getvalue(), ".chkp", rg.load_model),
        "TOML": ((RECIPES / "celeba_thesis.toml").read_bytes(), ".toml",
        lambda p: making.stages(str(p))),
        "rows": (b'{"metric": "a", "value": 1.5}\n' * 3, ".jsonl", metrics.load_rows),
        "stamp": (json.dumps({"key": "a" * 64, "seconds": 1.5}).encode(), ".json", read_stamp),
        "notebook": (json.dumps(book).encode(), ".ipynb", lambda p: write_pages(p.parent, [p],
        "t")),
    }  # fmt: skip


def _bytes(image, form):
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def spoiled(data, dice):
    """The bytes with up to eight faults: changed, cut, doubled, moved, made huge."""
    data = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        head = dice.random() < 0.5  # where sizes and offsets stand
        at = dice.randrange(max(1, min(len(data), 200 if head else len(data))))
        length = dice.choice((1, 1, 2, 4, 8, 64))
        how = dice.randrange(7)
        if how == 0:
            data[at : at + 1] = bytes([dice.randrange(256)])
        elif how == 1:
            data[at : at + 1] = bytes(
                [(data[at] if at < len(data) else 0) ^ (1 << dice.randrange(8))]
            )
        elif how == 2:
            del data[at : at + length]
        elif how == 3:
            data[at:at] = data[at : at + length]
        elif how == 4:
            data[at : at + length] = dice.choice((b"\xff", b"\0", b"\x7f")) * length
        elif how == 5:
            data[at : at + length] = bytes(dice.randrange(256) for _ in range(length))
        elif dice.random() < 0.3:
            del data[at:]
    return bytes(data)


def files_by_chance(folder, n, start):
    """N spoiled files; raises for the first reader that neither reads nor says a sentence."""
    kinds, dice, counted = readers(folder), random.Random(start), collections.Counter()
    names = sorted(kinds)
    for i in range(n):
        name = names[i % len(names)]
        good, ending, call = kinds[name]
        data = spoiled(good, dice)
        path = folder / f"01_x{ending}"
        path.write_bytes(data)
        outcome, said = tried(Case("spoiled", name, lambda: call(path)))
        counted[outcome] += 1
        if outcome not in (RIGHT, "REFUSED") or outcome == "REFUSED" and faulty(said, ("",)):
            kept = folder / f"failed-{start}-{i}{ending}"
            kept.write_bytes(data)
            raise AssertionError(f"{name}, example {i} of seed {start}: {outcome} {said} ({kept})")
    return counted


def main(place, n, start="0"):
    os.environ.setdefault("ROIGAN_CACHE", str(Path(place) / "cache"))
    os.environ.pop("ROIGAN_DATA", None)
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, ring), signal.signal(signal.SIGPROF, ring)
    arguments.warm()
    if before := data_bytes():
        resource.setrlimit(resource.RLIMIT_DATA, (before + MEMORY, before + MEMORY))
    os.chdir(place)
    for run in (files_by_chance, arguments_by_chance):
        folder = Path(place) / run.__name__
        folder.mkdir()
        print(run.__name__, dict(run(folder, int(n), int(start))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
