"""The same work from a shell: python -m roigan_lib train | inpaint | compare | photographs | reproduce | data | bench."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from .checks import check_output, check_seed
from .errors import RoiganError, missing_package


def _config_arguments(parser):
    from .config import PROFILES, Config

    parser.add_argument(
        "--profile", default="laptop", help=f"one of {', '.join(PROFILES)} (default laptop)"
    )
    for f in fields(Config):
        if f.name == "profile":
            continue
        parse = _boolean if f.type == "bool" else {"int": int, "float": float}.get(f.type, str)
        parser.add_argument(
            "--" + f.name.replace("_", "-"),
            dest=f.name,
            type=parse,
            default=argparse.SUPPRESS,
            metavar=f.name.upper(),
            help=f"default {f.default!r}",
        )


def _boolean(text):
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _crop(text):
    """A number of pixels where the text is one; anything else goes on to the data set, which knows the names."""
    return int(text) if text and text.isdecimal() else text


def _train(args):
    from . import parallel
    from .config import Config, load_config
    from .training import train

    given = {
        f.name: getattr(args, f.name)
        for f in fields(Config)
        if f.name != "profile" and hasattr(args, f.name)
    }
    if "crop" in given:
        given["crop"] = _crop(given["crop"])
    parallel.start()
    first = parallel.rank() == 0
    run = train(load_config(args.profile, **given), args.out, fresh=args.fresh)
    parallel.stop()
    if not first:
        return
    state = "finished" if run.finished else "stopped, the same command goes on"
    print(f"{state}: {run.folder / 'model.safetensors'} after {run.model.card['steps']} steps")


def _inpaint(args):
    import torch

    from .inpainter import load_model
    from .picture_files import WRITERS, save_photo

    check_seed(args.seed)
    check_output(args.out, WRITERS)
    gan = load_model(args.model)
    path = Path(args.image)
    if not path.is_file():
        raise RoiganError(f"There is no image {path}; give the path of a JPEG or PNG file.")
    codes = None
    if args.codes:
        codes = torch.tensor(_numbers("--codes", args.codes, "0.5,-1,0,2"))
    picture, crop = (_in_photo if args.eyes else _in_crop)(gan, path, args, codes)
    told = save_photo(args.out, picture, path, crop)
    height, width = picture.shape[:2]
    print(f"{args.out}: {width}×{height} pixels, model {gan.name}, seed {args.seed}")
    print(*told, sep="\n", end="\n" * bool(told))


def _numbers(option, text, example):
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise RoiganError(
            f"{option} {text!r} is not a list of numbers; write such as {example}."
        ) from None


def _in_photo(gan, path, args, codes):
    """The photograph at its own size, its region redrawn, placed by --eyes; and None, no crop."""
    from .masks import sample_masks
    from .photo import face_frame, find_eyes, inpaint_photo
    from .picture_files import open_mask, open_photo

    photo = open_photo(path)
    if args.eyes == "auto":
        eyes = find_eyes(photo)
    else:
        numbers = _numbers(
            "--eyes", args.eyes, "210,245,300,240 (x and y of both, in pixels) or auto"
        )
        eyes = list(zip(numbers[::2], numbers[1::2]))
    frame = face_frame(eyes, gan.size, args.crop if args.crop == "full" else "thesis")
    if args.mask:
        mask = open_mask(args.mask, photo.shape[1], photo.shape[0], gan.size)
    else:
        mask = sample_masks("elliptic", 1, gan.size, seed=args.seed)
    return inpaint_photo(gan, photo, mask, frame, codes, args.seed), None


def _in_crop(gan, path, args, codes):
    """The completed crop of the picture at the model's size, as in a data set; and the crop."""
    import numpy as np
    import torch
    from PIL import Image

    from .data import to_uint8
    from .data.decode import check_crop, crop_box, resize
    from .masks import sample_masks
    from .photo import crop_frame, mask_to_model
    from .picture_files import open_mask, open_photo

    crop, photo = check_crop(_crop(args.crop)), open_photo(path)
    height, width = photo.shape[:2]
    pixels = resize(Image.fromarray(photo).crop(crop_box(width, height, crop)), gan.size)
    image = torch.tensor(np.asarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1
    if args.mask:
        mask = open_mask(args.mask, width, height, gan.size)
    else:
        mask = sample_masks("elliptic", 1, gan.size, seed=args.seed)
    if mask.ndim == 2:
        mask = mask_to_model(mask, crop_frame(width, height, gan.size, crop))
    done = to_uint8(gan.inpaint(image, mask, codes, args.seed)[0])
    return done.permute(1, 2, 0).cpu().numpy(), crop


def _compare(args):
    from . import telea
    from .data import open_dataset
    from .inpainter import load_model
    from .masks import sample_masks
    from .metrics import compare
    from .metrics.table import check_rows

    check_seed(args.seed)
    if args.rows is not None:
        check_rows(args.rows)
    if args.sheet is not None:
        check_output(args.sheet, (".png",))
    gan = load_model(args.model)
    data = open_dataset(args.dataset, args.split, gan.size, args.root, _crop(args.crop), args.n)
    masks = {
        f: sample_masks(f, len(data), gan.size, seed=args.seed) for f in args.families.split(",")
    }
    table = compare(
        {"roi-gan": gan, "telea": telea},
        data[:],
        masks,
        dims=args.dims or None,
        seed=args.seed,
        data=data.name,
        split=args.split,
        progress=lambda s: print(s, file=sys.stderr),
    )
    print(table.to_markdown())
    if args.sheet:
        import torch

        from .plots import masked, save, sheet

        k = max(1, 12 // len(masks))  # twelve columns, shared by the families
        x, holes = torch.cat([data[:k]] * len(masks)), torch.cat([h[:k] for h in masks.values()])
        stack = torch.cat(
            [x, masked(x, holes), gan.inpaint(x, holes, seed=args.seed), telea(x, holes)]
        )
        titles = [family if i == 0 else "" for family in masks for i in range(k)]
        rows = ["original", "masked", "RoI-GAN", "Telea"]
        save(sheet(stack, ncols=len(x), rows=rows, titles=titles, scale=1), args.sheet)
    if args.rows:
        table.save(args.rows)
        print(f"{len(table)} rows in {args.rows}")


def _data(args):
    from .data import sources

    say = lambda line: print(line, flush=True)
    if args.action == "check":
        ready, lines = sources.check(args.name, args.root)
        say("\n".join(lines))
        return 0 if ready else 1
    if args.action == "prepare":
        sources.prepare(args.name, args.root, args.size, _crop(args.crop), say)
    else:
        sources.download(args.name, args.root or f"data/{args.name}", say)
    return 0


def _photographs(args):
    from .studies import table_4_2 as photographs

    roots = {name: getattr(args, name) for name in ("celeba", "cats", "cars")}
    rows = photographs.run(
        roots,
        args.out,
        args.n,
        args.dims or None,
        args.seed,
        args.study,
        args.others,
        lambda line: print(line, file=sys.stderr),
    )
    faces = rows.select(dataset="celeba")
    print(
        photographs.summary(faces, f"fid{args.dims}") if faces and args.dims else rows.to_markdown()
    )


def _bench(args):
    from .metrics.table import check_rows
    from .studies.bench import run

    if args.rows is not None:
        check_rows(args.rows)
    rows = run(lambda line: print(line, flush=True), args.quick)
    if args.rows:
        from .metrics import write_rows

        write_rows(args.rows, rows)


def main(argv=None) -> int:
    """Run a command; returns its exit status, 2 for bad input (which is said in one sentence on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m roigan_lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    p = commands.add_parser("train", help="train, or go on with a run")
    _config_arguments(p)
    p.add_argument("--out", help="folder of the run (default runs/<profile>-<dataset>)")
    p.add_argument("--fresh", action="store_true", help="forget an earlier checkpoint")
    p.set_defaults(run=_train)
    p = commands.add_parser("inpaint", help="redraw a region of one picture")
    p.add_argument("image")
    p.add_argument(
        "--mask",
        help="PNG in the proportions of the picture, white = the region to "
        "fill (default: a random ellipse)",
    )
    p.add_argument(
        "--model", default="synthfaces", help="shipped name or checkpoint (default synthfaces)"
    )
    p.add_argument("--crop", default="square", help="square | thesis | full | pixels")
    p.add_argument(
        "--eyes",
        help="x1,y1,x2,y2 in pixels, or auto: place the face in the model's frame by its eyes, and "
        "paste the result into the photograph at full size",
    )
    p.add_argument("--codes", help="comma-separated slider values, then category indices")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", default="completed.png")
    p.set_defaults(run=_inpaint)
    p = commands.add_parser("compare", help="table of RoI-GAN and Telea on three mask families")
    p.add_argument("--model", default="synthfaces")
    p.add_argument("--dataset", default="synthfaces")
    p.add_argument("--split", default="test")
    p.add_argument("--root")
    p.add_argument("--crop")
    p.add_argument("--n", type=int, default=1000)
    p.add_argument(
        "--dims",
        type=int,
        default=0,
        help="Inception features for FID: 64, 192, 768, 2048 (default none)",
    )
    p.add_argument("--families", default="elliptic,rectangular,mixed")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--sheet", help="PNG with the first images under each mask family")
    p.add_argument("--rows", help="jsonl file to merge the rows into")
    p.set_defaults(run=_compare)
    from .studies import reproduce

    p = commands.add_parser("reproduce", help="run the notebook series")
    reproduce.add_arguments(p)
    p.set_defaults(run=reproduce.run)
    p = commands.add_parser("data", help="check, prepare or download celeba, cats or cars")
    p.add_argument(
        "action",
        choices=["check", "prepare", "download"],
        help="say what is there and what is missing; decode into the cache; fetch, or go on fetching",
    )
    p.add_argument("name", help="celeba | cats | cars | folder")
    p.add_argument(
        "--root", help="folder or archive (default $ROIGAN_DATA; for download data/NAME)"
    )
    p.add_argument("--size", type=int, default=64)
    p.add_argument("--crop", help="as for train")
    p.set_defaults(run=_data)
    p = commands.add_parser(
        "photographs", help="table 4.2, figures 4.3-4.5 and A.1-A.4 from the shipped checkpoints"
    )
    for name in ("celeba", "cats", "cars"):
        p.add_argument(
            f"--{name}",
            metavar="ROOT",
            help="as --root of this data set, or a folder with squares in test/",
        )
    p.add_argument(
        "--n", type=int, default=1000, help="test images of each set, at most (default 1000)"
    )
    p.add_argument(
        "--dims", type=int, default=768, help="Inception features for FID (default 768; 0 = none)"
    )
    p.add_argument(
        "--study",
        type=int,
        default=0,
        metavar="SEEDS",
        help="also ask which FID table 4.2 holds, e.g. 5",
    )
    p.add_argument(
        "--others", metavar="ROOT", help="further faces for --study, where there are fewer than 2 n"
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", help="folder (default figures/)")
    p.set_defaults(run=_photographs)
    p = commands.add_parser(
        "bench", help="speed as ratios: masks, train step, slider, reading, FID features"
    )
    p.add_argument(
        "--quick", action="store_true", help="tiny networks, one repetition: does it run?"
    )
    p.add_argument("--rows", help="jsonl file for the rows")
    p.set_defaults(run=_bench)
    args = parser.parse_args(argv)
    try:
        for name, value in vars(args).items():
            if value == "":  # an unset variable of the shell, most likely
                raise RoiganError(f"{name} is empty; give it a value, or leave it out.")
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except RoiganError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"error: {missing_package(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
