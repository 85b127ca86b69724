"""Other systems, simulated: names, encodings, line ends and missing modules as on Windows, letters
of either case as on macOS, devices without float64, processes that are spawned.
"""

import ast
import json
import subprocess
import sys
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from test_training import tiny
from torch.utils._python_dispatch import TorchDispatchMode

from roigan_lib import files, journal, load_config, load_model, sample_masks
from roigan_lib import training as T
from roigan_lib.data import ImageSet
from roigan_lib.recipes import read_recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data():
    pixels = torch.arange(8 * 3 * 32 * 32).view(8, 3, 32, 32) * 41 % 253
    return ImageSet("stripes", "train", 32, pixels.to(torch.uint8))


def committed():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name]


def test_every_committed_name_can_be_checked_out_anywhere():
    names = committed()
    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    assert len(set(folded)) == len(folded)  # no two names that differ by case alone
    reserved = {"con", "prn", "aux", "nul", *(f"{n}{k}" for n in ("com", "lpt") for k in range(10))}
    for name in names:
        assert not set(name) & set('<>:"|?*\\') and name.isprintable(), name
        assert len(name) < 120 and name.isascii(), name
        for part in name.split("/"):
            assert part.split(".")[0].lower() not in reserved and not part.endswith((" ", ".")), (
                name
            )


@pytest.mark.slow
def test_texts_are_utf_8_whatever_the_system_prefers():
    """On Windows a text without an encoding is read and written in a code page."""
    for path in [*(ROOT / "roigan_lib").rglob("*.py"), *(ROOT / ".ci").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                told = {k.arg for k in node.keywords} >= {"encoding"}
                place = {"read_text": 0, "write_text": 1}.get(node.func.attr)
                fixed = place is None or told or len(node.args) > place
                assert fixed, f"{path.name}, line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.slow
def test_line_ends_of_windows_are_line_ends(data, tmp_path):
    crlf = lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    recipe = tmp_path / "mine.toml"
    recipe.write_text('base = "improved"\n[optimisation]\nlr_g = 0.001\n', encoding="utf-8")
    crlf(recipe)
    assert load_config("smoke", recipe=str(recipe)).optimisation.lr_g == 0.001
    assert read_recipe(str(recipe))["optimisation"]["lr_g"] == 0.001
    T.train(tiny(steps=2), tmp_path / "run", data, progress=None)
    crlf(tmp_path / "run" / "log.jsonl")
    said = []
    run = T.train(tiny(steps=3), tmp_path / "run", data, progress=said.append)
    assert [row["step"] for row in run.rows] == [1, 2, 3]
    assert not [line for line in said if "damaged" in line]
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b'{"metric": "l1"}\r\n\r\n{"metric": "l2"}\r\n')
    assert [row["metric"] for row in files.read_rows(rows)] == ["l1", "l2"]


def test_without_the_modules_that_windows_lacks(data, tmp_path, monkeypatch):
    import roigan_lib.checks

    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(journal, "STATM", tmp_path / "none")
    assert journal.memory() == 0
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(roigan_lib.checks, "fcntl", None)
    run = T.train(tiny(steps=2), tmp_path / "run", data, progress=None)
    assert run.finished and run.rows[-1]["memory_gib"] == 0
    with files.one_at_a_time(tmp_path / "rows.jsonl"):
        files.write_atomically(tmp_path / "rows.jsonl", b"{}\n")
    assert json.loads((tmp_path / "rows.jsonl").read_text("utf-8")) == {}


class NoFloat64(TorchDispatchMode):
    """As on MPS: whatever makes a float64 tensor fails."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(value, torch.Tensor) and value.dtype in (torch.float64, torch.complex128):
                raise TypeError(f"{func} makes float64, which MPS does not have")
        return made


@pytest.mark.parametrize("recipe, size", [("improved", 32), ("thesis", 32), ("published", 64)])
@pytest.mark.slow
def test_a_step_needs_no_float64_on_the_device(recipe, size, data, monkeypatch):
    large = data.uint8.repeat(1, 1, size // 32, size // 32)
    images = ImageSet("stripes", "train", size, large)
    trainer = T.Trainer(tiny(recipe, size=size, warmup=0.0, ramp=0.0), images)
    batch = trainer.batches.draw(0)  # made on the CPU, whatever the device is
    monkeypatch.setattr(trainer.batches, "draw", lambda step: batch)
    with NoFloat64():
        with pytest.raises(TypeError, match="float64"):  # the mode sees
            torch.zeros(1).double()
        trainer.step()


def test_a_completion_needs_no_float64_on_the_device():
    gan, mask = load_model("synthfaces"), sample_masks("mixed", 1, 64)
    image, codes = torch.zeros(1, 3, 64, 64), gan.sample_codes(1)
    noise = gan.sample_noise(1)
    with NoFloat64():
        gan.inpaint(image, mask, codes, noise=noise)


def drawn(seed):
    from roigan_lib import sample_masks

    return sample_masks("elliptic", 1, 16, seed=seed).sum().item()


@pytest.mark.slow
def test_spawned_processes_draw_the_same():
    """Windows and macOS spawn: nothing of the parent's state comes along."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(drawn, range(2)))
    assert found == [drawn(0), drawn(1)]
