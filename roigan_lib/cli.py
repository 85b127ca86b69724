"""The same work from a shell: roigan train | inpaint | compare | data | models | reproduce | …"""

from __future__ import annotations

import argparse
import io
import os
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Literal, Union

import tyro
from tyro.conf import FlagConversionOff, Positional, arg

from .checks import check_device, check_output, check_seed, check_whole
from .config import WEIGHTS, Config, load_config
from .config_checks import check_config, flat
from .errors import RoiganError, enough_memory, missing_package, suggest
from .files import path_of
from .recipes import read_recipe

Device = Annotated[str, arg(help="auto | cpu | cuda | mps")]


class Unread(KeyboardInterrupt):
    """Nobody reads the output any more, as behind `head`: a training saves, and all ends."""


def say(text, stream=None):
    """A line on the terminal, at once; no name in it can move the cursor or change a colour."""
    clean = lambda c: c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1]
    with writing():
        print("".join(map(clean, str(text))), file=stream, flush=True)


@contextmanager
def writing():
    """Unread where nobody reads what is written within it, RoiganError where it cannot be."""
    try:
        yield
    except BrokenPipeError:
        unread()
        raise Unread from None
    except OSError as error:
        raise RoiganError(f"The output could not be written: {error.strerror}.") from None


def unread():
    """What is said from here on goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def note(text):
    """A line beside the output."""
    say(text, sys.stderr)


def crop_of(text):
    """A number of pixels where the text is one; else a name, which the data set knows."""
    return int(text) if text and text.isdecimal() else text


def numbers(option, text, example):
    """The numbers of a comma-separated list."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise RoiganError(
            f"{option} {text!r} is not a list of numbers; write such as {example}."
        ) from None


@dataclass
class Train:
    """Train, or go on with a run; every default shown is that of --profile and --recipe."""

    config: FlagConversionOff[Config]
    out: str | None = None  # folder of the run (default runs/<profile>-<dataset>)
    fresh: bool = False  # forget an earlier checkpoint
    device: Device = "auto"

    def run(self):
        from . import parallel
        from .making import make
        from .masks import sample_masks

        wanted = self.config.replace(crop=crop_of(self.config.data.crop))
        check_config(wanted), sample_masks(wanted.data.mask_family, 1, 32)  # is there such a law?
        recipe, profile = wanted.run.recipe, wanted.run.profile
        base = flat(asdict(load_config(profile, recipe=recipe)))
        changed = {k: v for k, v in flat(asdict(wanted)).items() if base.get(k, 0.0) != v}
        parallel.start()
        run = make(recipe, self.out, profile, say, self.fresh, self.device, **changed)
        if parallel.rank() == 0:
            state = "finished" if run.finished else "stopped, the same command goes on"
            weights, steps = run.folder / "model.safetensors", run.model.card["steps"]
            say(f"{state}: {weights} after {steps} steps")
        parallel.stop()


@dataclass
class Inpaint:
    """Redraw a region of one picture."""

    image: Positional[str]
    mask: str | None = None  # PNG in the picture's proportions, white = the region to fill
    model: str = "synthfaces"  # shipped name or checkpoint
    crop: str = "square"  # square | thesis | full | pixels
    eyes: str | None = None  # x1,y1,x2,y2 in pixels, or auto: place the face in the model's frame
    # by its eyes, and paste the result into the photograph at full size
    codes: str | None = None  # 0.5,-1,…: values, then category indices; or smiling=1,male=-0.5
    steered: Annotated[bool, tyro.conf.FlagCreatePairsOff] = (
        False  # told sliders go to their steered ends, as in the explorer
    )
    seed: int = 0  # also of the region, a random ellipse, where there is no mask
    out: str = "completed.png"
    device: Device = "auto"

    def run(self):
        from .control.steering import load_steered
        from .picture_files import WRITERS, save_photo
        from .stored import load_model

        check_seed(self.seed)
        check_output(self.out, WRITERS)
        gan = (load_steered if self.steered else load_model)(self.model, self.device)
        self.image = path_of(self.image, "image")
        if not self.image.is_file():
            raise RoiganError(
                f"There is no image {self.image}; give the path of a JPEG or PNG file."
            )
        codes = self.row(gan) if self.codes else None
        picture, crop = (self.in_photo if self.eyes else self.in_crop)(gan, codes)
        told = save_photo(self.out, picture, self.image, crop)
        height, width = picture.shape[:2]
        say(f"{self.out}: {width}×{height} pixels, model {gan.name}, seed {self.seed}")
        for line in told:
            say(line)

    def row(self, gan):
        """The row of codes that --codes asks for."""
        import torch

        from .control import code_names

        if "=" not in self.codes:
            return torch.tensor(numbers("--codes", self.codes, "0.5,-1,0,2"))
        places = {key: k for k, key in enumerate(code_names(gan))}
        row, told = torch.zeros(len(places)), getattr(gan, "slider_names", {})
        places = {word: places[key] for key, word in told.items()} | places
        for pair in self.codes.split(","):
            name, _, value = pair.replace("_", " ").partition("=")
            if name not in places:
                raise RoiganError(
                    f"{gan.name} has no slider {name!r}; {suggest(name, places)}it has "
                    f"{', '.join(places)}."
                )
            (row[places[name]],) = numbers("--codes", value, "smiling=1,eyeglasses=-0.5")
        return row

    def region(self, gan, width, height):
        """The region in the photograph's pixels, or an ellipse in the model's."""
        from .masks import sample_masks
        from .picture_files import open_mask

        if self.mask:
            return open_mask(self.mask, width, height, gan.size)
        return sample_masks("elliptic", 1, gan.size, seed=self.seed)

    def in_photo(self, gan, codes):
        """The photograph at its own size, its region redrawn, placed by the eyes; no crop."""
        from .photo import face_frame, find_eyes, inpaint_photo
        from .picture_files import open_photo

        photo = open_photo(self.image)
        eyes = None if self.eyes == "auto" else self.eyes
        if eyes:
            example = "210,245,300,240 (x and y of both, in pixels) or auto"
            eyes = numbers("--eyes", eyes, example)
            eyes = list(zip(eyes[::2], eyes[1::2]))
        crop = self.crop if self.crop == "full" else "thesis"
        frame = face_frame(eyes or find_eyes(photo), gan.size, crop)
        mask = self.region(gan, photo.shape[1], photo.shape[0])
        return inpaint_photo(gan, photo, mask, frame, codes, self.seed), None

    def in_crop(self, gan, codes):
        """The completed crop of the picture at the model's size, as in a data set; and the crop."""
        import numpy as np
        import torch
        from PIL import Image

        from .data import to_uint8
        from .data.decode import check_crop, crop_box, resize
        from .photo import crop_frame, mask_to_model
        from .picture_files import open_photo

        crop, photo = check_crop(crop_of(self.crop)), open_photo(self.image)
        height, width = photo.shape[:2]
        pixels = resize(Image.fromarray(photo).crop(crop_box(width, height, crop)), gan.size)
        image = torch.tensor(np.asarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1
        mask = self.region(gan, width, height)
        if mask.ndim == 2:
            mask = mask_to_model(mask, crop_frame(width, height, gan.size, crop))
        done = to_uint8(gan.inpaint(image, mask, codes, self.seed)[0])
        return done.permute(1, 2, 0).numpy(), crop


@dataclass
class Compare:
    """A table of RoI-GAN and Telea on mask families."""

    model: str = "synthfaces"
    dataset: str = "synthfaces"
    split: str = "test"
    root: str | None = None
    crop: str | None = None
    n: int = 1000
    dims: int = 0  # Inception features for FID: 64, 192, 768, 2048; 0: none
    families: str = "elliptic,rectangular,mixed"
    seed: int = 0
    sheet: str | None = None  # PNG with the first images under each mask family
    rows: str | None = None  # jsonl file to merge the rows into
    device: Device = "auto"

    def run(self):
        from . import telea
        from .data import open_dataset
        from .ensemble import Enlarged
        from .masks import sample_masks
        from .metrics import check_rows, compare, to_markdown, trained, write_rows
        from .metrics.features import known_dims
        from .stored import load_model

        check_seed(self.seed)
        if self.rows:
            check_rows(self.rows)
        if self.sheet:
            check_output(self.sheet, (".png",))
        families = self.families.split(",")
        known_dims(self.dims or 64), [sample_masks(f, 1, 8) for f in families]  # before the work
        gan, crop = load_model(self.model, self.device), crop_of(self.crop)
        data = open_dataset(self.dataset, self.split, gan.size, self.root, crop, self.n)
        n = len(data)
        masks = {f: sample_masks(f, n, gan.size, seed=self.seed) for f in families}
        methods, named = {"roi-gan": gan, "telea": telea}, dict(data=data.name, split=self.split)
        if core := gan.card.get("core"):
            methods[f"{core['name']}, enlarged"] = Enlarged(load_model(core["name"]))
        named |= dict(dims=self.dims or None, seed=self.seed, progress=note)
        table = compare(methods, data[:], masks, **named)
        say(to_markdown(table))
        if self.sheet:
            self.draw(methods, data, masks)
        if self.rows:
            own = table["method"] == "roi-gan"
            for name, told in trained(gan).items():
                table[name] = [told if ours else None for ours in own]
            write_rows(self.rows, table)
            say(f"{len(table)} rows in {self.rows}")

    def draw(self, methods, data, masks):
        """Twelve columns, shared by the families: original, masked, completed by each method."""
        import torch

        from .metrics import complete
        from .plots import masked, save, sheet

        k = max(1, 12 // len(masks))
        x = torch.cat([data[:k]] * len(masks))
        holes = torch.cat([h[:k] for h in masks.values()])
        done = [complete(name, method, x, holes, self.seed) for name, method in methods.items()]
        titles = [family if i == 0 else "" for family in masks for i in range(k)]
        names = ["original", "masked", *methods]
        stack = torch.cat([x, masked(x, holes), *done])
        save(sheet(stack, ncols=len(x), rows=names, titles=titles, scale=1), self.sheet)


@dataclass
class Data:
    """Check, prepare or download celeba, cats or cars."""

    action: Positional[Literal["check", "prepare", "download"]]
    # say what is there and missing; decode into the cache; fetch, or go on fetching
    name: Positional[str]  # celeba | cats | cars | folder
    root: str | None = None  # folder or archive (default $ROIGAN_DATA; for download data/NAME)
    size: int = 64
    crop: str | None = None  # as for train

    def run(self):
        from .data import sources

        if self.action == "check":
            ready, lines = sources.check(self.name, self.root)
            say("\n".join(lines))
            return 0 if ready else 1
        if self.action == "prepare":
            sources.prepare(self.name, self.root, self.size, crop_of(self.crop), say)
        else:
            sources.download(self.name, self.root or f"data/{self.name}", say)


@dataclass
class Models:
    """The shipped models; with --check whether recipe, weights and rows of each agree."""

    check: Annotated[bool, tyro.conf.FlagCreatePairsOff] = (
        False  # status 1 where something does not agree
    )

    def run(self):
        from .making import check
        from .stored import shipped

        rows, agree = check(shipped())
        for row in rows:
            told = f"{row['rows'] or 'no'} rows of these weights"
            say(f"{row['model']} {row['weights']}: {row['recipe']}; {told}")
        return 0 if agree or not self.check else 1


@dataclass
class Directions:
    """Find what moves a model's region most, without labels: further sliders for its explorer."""

    model: Positional[str]  # shipped name or checkpoint
    dataset: str = "folder"  # whose images they are found on; see --root and --split
    root: str | None = None
    split: str = "train"
    n: int = 20  # images, the last of the split
    count: int = 10
    samples: int = 400  # draws of codes and noise, the same on every image
    reach: float = 3.0  # standard deviations from the middle of a slider to its end
    seed: int = 0
    out: str = "directions.safetensors"
    device: Device = "auto"

    def run(self):
        from .control.directions import principal_directions
        from .data import open_dataset
        from .masks import FACE, region
        from .stored import load_model

        check_seed(self.seed)
        check_output(self.out, (".safetensors",))
        check_whole("n", self.n)
        gan = load_model(self.model, self.device)
        images = open_dataset(self.dataset, self.split, gan.size, self.root)[-self.n :]
        found = principal_directions(
            gan, images, region(gan.size, *FACE), self.count, self.samples, self.seed, self.reach
        )
        found.save(self.out)
        shares = ", ".join(f"{share:.1%}" for share in found.share.tolist())
        say(f"{self.out}: {self.count} directions of {gan.name}, shares of the variance {shares}")


@dataclass
class Steer:
    """Find where the ends of told sliders lie, by the classifier that taught them: nothing of the
    model changes. How stiff each slider is stands in the recipe, in [steer]."""

    recipe: Positional[str]  # of the model; its labels, networks and images
    model: str | None = None  # shipped name or checkpoint; default the recipe's own
    networks: str | None = None  # checkpoint.pt with classifier and D; default those that ship
    root: str | None = None  # as for train
    steps: int = 300
    out: str = "steering.safetensors"
    device: Device = "auto"

    def run(self):
        from .control.steering import steer
        from .making import steering_trainer
        from .stored import load_model, shipped

        check_output(self.out, (".safetensors",))
        check_whole("steps", self.steps)
        if not (self.model and self.networks) and self.recipe not in shipped():
            raise RoiganError(
                f"No model ships by the name {self.recipe}: give --model, the folder of a run, and "
                "--networks, the checkpoint.pt of its last stage."
            )
        gan = load_model(self.model or self.recipe, self.device)
        asked = steering_trainer(self.recipe, self.networks, self.root, self.device)
        found = steer(gan, *asked, self.steps, say)
        found.save(self.out)
        say(f"{self.out}: both ends of {found.ends.shape[1]} sliders of {gan.name}")


@dataclass
class Photographs:
    """Table 4.2, figures 4.3-4.5 and A.1-A.4 from the shipped checkpoints."""

    celeba: str | None = None  # as --root of this data set, or a folder with squares in test/
    cats: str | None = None
    cars: str | None = None
    n: int = 1000  # test images of each set, at most
    dims: int = 768  # Inception features for FID; 0: none
    study: int = 0  # also ask, with so many seeds, which FID table 4.2 holds
    others: str | None = None  # further faces for --study, where there are fewer than 2 n
    seed: int = 0
    out: str | None = None  # folder (default figures/)
    device: Device = "auto"

    def run(self):
        from .metrics import to_markdown
        from .studies import table_4_2

        roots = {name: getattr(self, name) for name in ("celeba", "cats", "cars")}
        asked = roots, self.out, self.n, self.dims or None, self.seed, self.study, self.others
        rows = table_4_2.run(*asked, note, self.device)
        faces = rows[rows["dataset"] == "celeba"]
        shown = self.dims and len(faces)
        say(table_4_2.summary(faces, f"fid{self.dims}") if shown else to_markdown(rows))


@dataclass
class Bench:
    """Speed as ratios: drawing, train step and slider, beside a plain way of the same work."""

    quick: bool = False  # tiny networks, one repetition: does it run?
    rows: str | None = None  # jsonl file for the rows

    def run(self):
        from .metrics import check_rows, write_rows
        from .studies.bench import run

        if self.rows:
            check_rows(self.rows)
        rows = run(say, self.quick)
        if self.rows:
            write_rows(self.rows, rows)


@dataclass
class Control:
    """How far a model's codes can be seen, and on synthfaces what they mean, as rows."""

    model: Positional[str]  # shipped name or checkpoint
    dataset: str = "synthfaces"
    split: str = "test"
    root: str | None = None
    crop: str | None = None
    n: int = 48
    seed: int = 0
    rows: str | None = None  # jsonl file to merge the rows into
    device: Device = "auto"

    def run(self):
        from .data import open_dataset
        from .metrics import check_rows, to_markdown, trained, write_rows
        from .stored import load_model
        from .studies.grid import control

        check_seed(self.seed)
        if self.rows:
            check_rows(self.rows)
        gan, crop = load_model(self.model, self.device), crop_of(self.crop)
        data = open_dataset(self.dataset, self.split, gan.size, self.root, crop, self.n)
        table = control(gan, data, self.seed).assign(**trained(gan))
        say(to_markdown(table))
        if self.rows:
            write_rows(self.rows, table)


@dataclass
class Seeds:
    """Mean, spread and number of seeds of rows that trainings with several seeds left."""

    rows: Positional[list[str]]  # jsonl files, as compare, control and experiments write them
    out: str | None = None  # jsonl file for the means

    def run(self):
        from .files import read_rows
        from .metrics import check_rows, over_seeds, to_markdown, write_rows

        if self.out:
            check_rows(self.out)
        table = over_seeds([row for path in self.rows for row in read_rows(path)])
        for name, part in table.groupby("dataset", dropna=False):
            name = name if isinstance(name, str) else "images"
            say(f"{name}: mean ± standard deviation over seeds\n\n{to_markdown(part)}\n")
        if self.out:
            write_rows(self.out, table)


@dataclass
class Cost:
    """Seconds, memory and energy of a training, by profile, image size and batch."""

    quick: bool = False  # tiny networks, one step: does it run?
    rows: str | None = None  # jsonl file for the rows
    picture: str | None = None  # PNG of the curves
    page: str | None = None  # Markdown page whose tables these rows replace, docs/cost.md
    device: str = "cpu"  # cpu | cuda

    def run(self):
        from .metrics import check_rows, write_rows
        from .plots import save
        from .studies import cost

        if self.rows:
            check_rows(self.rows)
        if self.picture:
            check_output(self.picture, (".png",))
        keep = partial(write_rows, self.rows) if self.rows else None
        rows = cost.run(say, self.quick, device=str(check_device(self.device)), keep=keep)
        say(cost.to_markdown(rows) + "\n\n" + cost.to_markdown(rows, "step"))
        if self.picture:
            save(cost.picture(rows), self.picture)
        if self.page:
            cost.renew(self.page, cost.to_markdown(rows), cost.to_markdown(rows, "step"))


@dataclass
class Page:
    """The explorer as a static folder: paint, slide, see in a browser, without Python."""

    out: str = "build/page"  # the folder; serve it, for example by python -m http.server
    # shipped names or checkpoints
    model: tuple[str, ...] = ("synthfaces_labelled", "celeba", "celeba128", "cats")
    weights: Literal["float16", "int8"] = "float16"  # int8 halves what a browser fetches
    runtime: str | None = None  # package of onnxruntime-web (.tgz); default: cached, or by npm

    def run(self):
        from .explorer.page import write_page

        index = write_page(self.out, self.model, self.runtime, say, self.weights)
        say(f"{index}: serve this folder, for example by python -m http.server -d {self.out}")


@dataclass
class Experiments:
    """Claims of the thesis with and without, three seeds each: rows and verdicts by one rule."""

    only: str | None = None  # one experiment, by name
    steps: int = 80  # of a training; rows are compared at equal steps only
    seeds: int = 3
    out: str = "figures/experiments.jsonl"  # rows that are there are not made again
    celeba: str | None = None  # as for photographs: without a folder its experiments are left out
    cats: str | None = None
    cars: str | None = None

    def run(self):
        from .studies.experiments import PHOTOGRAPHS, run

        roots = {name: getattr(self, name) for name in PHOTOGRAPHS}
        table = run(self.out, self.only, self.steps, self.seeds, roots, note)
        shown = ["experiment", "first", "other", "measure", "gap", "spread", "verdict"]
        say(
            table.reindex(columns=shown).to_string(
                index=False, float_format="{:.3g}".format, na_rep=""
            )
        )


@dataclass
class Reproduce:
    """Run the notebook series."""

    profile: str = "laptop"  # smoke | laptop | thesis
    dataset: str = "synthfaces"  # synthfaces | celeba | cats | cars | folder
    out: str | None = None  # folder for the result (default: build/<profile>-<dataset>)
    notebooks: str | None = None  # folder of notebooks (default: the repository's)
    only: list[str] = field(default_factory=list)  # run only those, e.g. 03 08
    force: bool = False  # run again what is done
    pages: bool = True  # write the HTML pages; without them runs of other notebooks share a folder

    def run(self):
        from .studies.reproduce import command

        return command(**vars(self) | {"only": self.only or None})


COMMANDS = (Train, Inpaint, Compare, Directions, Steer, Photographs, Experiments)
COMMANDS += (Page, Reproduce, Data, Models, Bench, Control, Seeds, Cost)


def main(argv=None) -> int:
    """Run a command; returns its exit status, 2 for bad input (said in a sentence on stderr)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of any bytes, a terminal of few letters
            stream.reconfigure(errors="backslashreplace")
    try:
        for before, word in zip(["the first argument", *argv], argv):
            if word == "":  # an unset variable of the shell, most likely
                raise RoiganError(
                    f"{before.lstrip('-')} is empty; give it a value, or leave it out."
                )
        with enough_memory("batch, size or width, or the number of images"):
            return command(argv).run() or 0
    except SystemExit as stop:  # --help, or arguments that tyro has refused
        return stop.code or 0
    except Unread:
        return 141  # as of a program that SIGPIPE ends
    except KeyboardInterrupt:
        note("stopped")
        return 130
    except (RoiganError, ModuleNotFoundError) as error:
        missing = isinstance(error, ModuleNotFoundError)
        note(f"error: {missing_package(error) if missing else error}")
        return 2


def command(argv):
    """The command with its arguments; those of `train` default to its profile and recipe."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--profile")
    first.add_argument("--recipe")
    asked = vars(first.parse_known_args(argv)[0]) if argv[:1] == ["train"] else {}
    cfg = defaults(**asked)
    cfg = cfg.replace(**{name: cfg.objective.weight(name) for name in WEIGHTS})
    kinds = [
        Annotated[kind, tyro.conf.subcommand(kind.__name__.lower(), default=Train(cfg))]
        if kind is Train
        else Annotated[kind, tyro.conf.subcommand(kind.__name__.lower())]
        for kind in COMMANDS
    ]
    style = tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes
    chosen = Union[tuple(kinds)]  # noqa: UP007 (made from a tuple)
    with writing():  # its help, or what it refuses
        return tyro.cli(chosen, args=argv, prog="roigan", config=style, description=__doc__)


def defaults(profile=None, recipe=None):
    """What a plain `train` with this profile and recipe takes."""
    profile = profile or (read_recipe(recipe).get("profile") if recipe else None) or "laptop"
    return load_config(profile, **({"recipe": recipe} if recipe else {}))
