"""The command line: one line of error and status 2 for bad input, and the whole path from a folder
to a table.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roigan_lib.__main__ import main
from roigan_lib.masks import sample_masks
from roigan_lib.stored import load_model


def picture(path, size=48, mode="RGB"):
    rng = np.random.default_rng(len(path.name) + size)
    rows = {"RGB": (size, size, 3), "RGBA": (size, size, 4), "L": (size, size)}
    if mode == "I;16":
        Image.fromarray(rng.integers(0, 65536, (size, size), dtype=np.uint16)).save(path)
    else:
        Image.fromarray(rng.integers(0, 256, rows[mode], dtype=np.uint8), mode).save(path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of pictures and a run of four steps on them: home/pictures, home/run."""
    home = tmp_path_factory.mktemp("cli")
    for split, n in (("train", 8), ("test", 6)):
        (home / "pictures" / split).mkdir(parents=True)
        for i in range(n):
            picture(home / "pictures" / split / f"{'a' * (i + 1)}.png")
    assert main(train(home, 4)) == 0
    return home


def train(home, steps, *more):
    return [
        "train",
        "--profile",
        "smoke",
        "--dataset",
        "folder",
        "--root",
        str(home / "pictures"),
        "--size",
        "32",
        "--steps",
        str(steps),
        "--out",
        str(home / "run"),
        "--perceptual-net",
        "none",
        *more,
    ]


def inpaint(home, *more):
    """Run the command; the completed picture (3, 32, 32) as bytes."""
    out = home / "done.png"
    out.unlink(missing_ok=True)
    assert main(["inpaint", "--model", str(home / "run"), "--out", str(out), *map(str, more)]) == 0
    return np.asarray(Image.open(out))


def refused(capsys, *arguments):
    """The one line that a refused command writes; its status is 2."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error and error.endswith("."), error
    return error


@pytest.mark.slow
def test_from_a_shell_without_a_traceback():
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "roigan_lib", "train", "--profile", "laptpo"],
        cwd=root,
        text=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and len(done.stderr.strip().splitlines()) == 1
    assert "did you mean 'laptop'" in done.stderr


@pytest.mark.parametrize(
    "command", [[], ["train"], ["inpaint"], ["compare"], ["reproduce"], ["bench"]]
)
def test_help(capsys, command):
    assert main([*command, "--help"]) == 0 and "usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["paint"],
        ["train", "--stepz", "3"],
        ["train", "--steps", "many"],
        ["train", "--flip", "perhaps"],
        [],
    ],
)
def test_unknown_words_leave_with_2(capsys, arguments):
    assert main(arguments) == 2 and "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_train_goes_on(home, capsys):
    assert load_model(home / "run").card["steps"] == 4
    assert main(train(home, 6)) == 0
    told = capsys.readouterr().out
    assert (
        "continuing" in told
        and "at step 4" in told
        and "finished" in told
        and "after 6 steps" in told
    )
    assert "other output folder" not in told and load_model(home / "run").card["steps"] == 6
    assert "width=0.25" in refused(capsys, *train(home, 6, "--width", "0.25"))
    assert main(train(home, 2, "--fresh", "--flip", "False", "--crop", "40")) == 0
    card = load_model(home / "run").card
    data = card["training"]["data"]
    assert card["steps"] == 2 and data["flip"] is False and data["crop"] == 40


@pytest.mark.slow
def test_train_refuses(home, capsys, tmp_path):
    assert "did you mean 'synthfaces'" in refused(
        capsys, "train", "--profile", "smoke", "--dataset", "synthface"
    )
    assert "did you mean 'mixed'" in refused(
        capsys, *train(home, 9, "--mask-family", "mixd", "--fresh")
    )
    assert "32, 64, 128 or 256" in refused(capsys, *train(home, 9, "--size", "50"))
    assert "no folder" in refused(capsys, *train(home, 9, "--root", str(tmp_path / "absent")))
    assert "no pictures" in refused(capsys, *train(home, 9, "--root", str(tmp_path)))
    assert "fewer than one batch" in refused(capsys, *train(home, 9, "--batch", "64"))


@pytest.mark.slow
def test_inpaint_draws_a_mask_or_takes_one(home):
    image = picture(home / "face.png", 32)
    done, pixels = inpaint(home, image, "--seed", "3"), np.asarray(Image.open(image))
    mask = sample_masks("elliptic", 1, 32, seed=3)[0, 0].numpy() > 0
    assert done.shape == (32, 32, 3) and np.array_equal(done[~mask], pixels[~mask])
    assert not np.array_equal(done[mask], pixels[mask])
    own = np.zeros((64, 64), np.uint8)
    own[20:40, 10:30] = 255  # of another size: it is brought to the model's
    Image.fromarray(own).save(home / "mask.png")
    done = inpaint(home, image, "--mask", home / "mask.png")
    changed = (done != pixels).any(2)
    assert (
        changed.any()
        and not changed[:10].any()
        and not changed[20:].any()
        and not changed[:, 15:].any()
    )
    codes = ",".join(["0.5"] * 10 + ["1", "2", "3"])
    assert np.array_equal(
        inpaint(home, image, "--codes", codes), inpaint(home, image, "--codes", codes)
    )
    assert not np.array_equal(
        inpaint(home, image, "--codes", codes), inpaint(home, image, "--codes=-" + codes)
    )
    own = ",".join(["0"] * 4 + ["0.5"] + ["0"] * 6 + ["2", "0"])
    assert np.array_equal(
        inpaint(home, image, "--codes", own), inpaint(home, image, "--codes", "c5=0.5,d2=2")
    )


def test_told_sliders_by_name_and_steered(tmp_path):
    image, out = picture(tmp_path / "picture.png"), tmp_path / "out.png"
    done = {}
    for kind, more in (("trained", ()), ("steered", ("--steered",)), ("rest", ())):
        codes = "smiling=0" if kind == "rest" else "c1=1,big_nose=-1"
        told = ["inpaint", image, "--model", "celeba", "--codes", codes, "--out", out, *more]
        assert main(list(map(str, told))) == 0
        done[kind] = np.asarray(Image.open(out))
    assert not np.array_equal(done["trained"], done["steered"])
    assert not np.array_equal(done["trained"], done["rest"])


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_inpaint_takes_other_kinds_of_pictures(home, mode):
    done = inpaint(home, picture(home / "other.png", 40, mode))
    assert done.shape == (32, 32, 4 if mode == "RGBA" else 3)  # transparency is kept
    if mode != "RGBA":
        outside = sample_masks("elliptic", 1, 32, seed=0)[0, 0].numpy() == 0
        assert (np.ptp(done[outside].astype(int), axis=1) == 0).all()  # grey stays grey


def test_inpaint_crops(home):
    wide = home / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)).save(
        wide
    )
    square, full, pixels = (
        inpaint(home, wide, "--crop", crop) for crop in ("square", "full", "40")
    )
    assert np.array_equal(square, pixels) and not np.array_equal(square, full)


def test_inpaint_by_the_eyes_keeps_the_photograph_at_its_size(home, capsys):
    image = home / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 220, 3), dtype=np.uint8)).save(
        image
    )
    before = np.asarray(Image.open(image))
    own = np.zeros((75, 110), np.uint8)  # a mask of half the size
    own[35:45, 50:65] = 255
    Image.fromarray(own).save(home / "mask.png")
    done = inpaint(home, image, "--eyes", "90,60,130,64", "--mask", home / "mask.png")
    changed, region = (done != before).any(2), own.repeat(2, 0).repeat(2, 1) > 0
    assert (
        done.shape == (150, 220, 3) and not changed[~region].any() and changed[region].mean() > 0.9
    )
    drawn = inpaint(home, image, "--eyes", "90,60,130,64", "--seed", "1")
    assert 100 < (drawn != before).any(2).sum() < 0.9 * before[..., 0].size
    bad = lambda eyes: refused(capsys, "inpaint", image, "--model", home / "run", "--eyes", eyes)
    assert "not a list of numbers" in bad("left,right") and "are not two points" in bad("1,2")
    assert "no face was found" in bad("auto")


def test_inpaint_refuses(home, capsys, tmp_path):
    image, model = (
        picture(tmp_path / "face.png", 32),
        ["--model", home / "run", "--out", tmp_path / "out.png"],
    )
    bad = lambda *more: refused(capsys, "inpaint", *more)
    assert "no image" in bad(tmp_path / "absent.png", *model)
    assert "no image" in bad(tmp_path, *model)
    cut = tmp_path / "cut.png"
    cut.write_bytes(image.read_bytes()[:600])
    assert "cannot be read" in bad(cut, *model)
    cut.write_text("no picture\n")
    assert "cannot be read" in bad(cut, *model)
    assert "cannot be read" in bad(image, *model, "--mask", cut)
    assert "There is no mask" in bad(image, *model, "--mask", tmp_path / "absent.png")
    for value, word in ((0, "empty"), (255, "full")):
        Image.fromarray(np.full((32, 32), value, np.uint8)).save(tmp_path / "mask.png")
        assert word in bad(image, *model, "--mask", tmp_path / "mask.png")
    inverted = np.full((32, 32), 255, np.uint8)
    inverted[:2] = 0
    Image.fromarray(inverted).save(tmp_path / "mask.png")
    assert "inverted" in bad(image, *model, "--mask", tmp_path / "mask.png")
    assert "crop" in bad(image, *model, "--crop", "round")
    assert "codes have shape" in bad(image, *model, "--codes", "0.5,1")
    assert "not a list of numbers" in bad(image, *model, "--codes", "much")
    assert "no slider 'smile'" in bad(image, *model, "--codes", "smile=1")
    assert "not a list of numbers" in bad(image, *model, "--codes", "c1=much")
    assert "no file of steering" in bad(image, "--model", "cats", "--steered")
    assert "category" in bad(image, *model, "--codes", ",".join(["0"] * 12 + ["9"]))
    assert "no shipped model" in bad(image, "--model", "synthfacez")
    assert "no checkpoint" in bad(image, "--model", tmp_path / "absent.safetensors")
    assert not (tmp_path / "out.png").exists()
    assert "could not be written" in bad(
        image, *model[:2], "--out", tmp_path / "face.png" / "out.png"
    )
    assert "could not be written" in bad(image, *model[:2], "--out", tmp_path / "out.unknown")


def test_compare_prints_a_table(home, capsys):
    rows = home / "rows.jsonl"
    given = [
        "compare",
        "--model",
        home / "run",
        "--dataset",
        "folder",
        "--root",
        home / "pictures",
        "--n",
        "6",
    ]
    assert main([str(a) for a in given + ["--families", "elliptic,mixed", "--rows", rows]]) == 0
    table = capsys.readouterr().out
    for word in ("roi-gan", "telea", "elliptic", "mixed"):
        assert word in table
    assert rows.read_text().count("\n") == int(table.strip().splitlines()[-1].split()[0]) > 4
    assert "did you mean 'mixed'" in refused(capsys, *given, "--families", "mixd")
    assert "limit" in refused(capsys, *given[:-1], "0")
    assert "no shipped model" in refused(capsys, "compare", "--model", "synthfacez")


def test_what_would_fail_at_the_end_fails_before_the_work(home, capsys, tmp_path, monkeypatch):
    def work(*_, **__):
        raise AssertionError("work was done")

    for place in (
        "roigan_lib.stored.load_model",
        "roigan_lib.studies.table_4_2.photographs",
        "roigan_lib.studies.bench.train_step",
        "roigan_lib.training.Trainer.step",
        "roigan_lib.studies.reproduce.execute",
    ):
        monkeypatch.setattr(place, work)
    (tmp_path / "file").write_text("")
    (tmp_path / "rows.jsonl").write_text("[]\n")
    (tmp_path / "real_images.jsonl").write_text("{\n")
    blocked = tmp_path / "file" / "x"
    for words, *arguments in (
        ("Line 1 of", "compare", "--rows", tmp_path / "rows.jsonl"),
        ("could not be written to", "compare", "--rows", blocked),
        ("could not be written to", "compare", "--sheet", f"{blocked}.png"),
        ("has to end in .png", "compare", "--sheet", tmp_path / "x.gif"),
        ("is a folder", "compare", "--rows", tmp_path),
        ("Line 1 of", "bench", "--quick", "--rows", tmp_path / "rows.jsonl"),
        ("could not be written to", "bench", "--quick", "--rows", blocked),
        ("could not be written to", "photographs", "--celeba", tmp_path, "--out", blocked),
        ("Line 1 of", "photographs", "--celeba", tmp_path, "--out", tmp_path),
        ("could not be written to", "reproduce", "--profile", "smoke", "--out", tmp_path / "file"),
        ("could not be written to", *train(home, 9, "--out", str(blocked))),
        ("out is empty", *train(home, 9, "--out", "")),
        ("rows is empty", "compare", "--rows", ""),
        ("seed is -1", "compare", "--seed", -1),
        ("seed is", *train(home, 9, "--seed", str(2**64))),
        ("seed is -1", "photographs", "--celeba", tmp_path, "--seed", -1),
    ):
        assert words in refused(capsys, *arguments), arguments


def test_ctrl_c_is_one_line(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("roigan_lib.stored.load_model", interrupted)
    assert main(["compare"]) == 130 and capsys.readouterr().err == "stopped\n"


def test_photographs_without_photographs_is_one_sentence(capsys):
    assert main(["photographs"]) == 2
    assert "give --celeba, --cats or --cars a folder" in capsys.readouterr().err
    assert main(["photographs", "--cats", "no/such/place", "--dims", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said
