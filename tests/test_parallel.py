"""Two processes at half the batch make the steps of one, started by torch.distributed.run."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from roigan_lib import parallel
from roigan_lib.batches import Batches
from roigan_lib.config import load_config
from roigan_lib.stored import load_model
from roigan_lib.studies.bench import noise_images

FIELDS = [
    "--profile",
    "smoke",
    "--dataset",
    "folder",
    "--size",
    "32",
    "--batch",
    "8",
    "--steps",
    "20",
    "--log-every",
    "1",
    "--checkpoint-every",
    "20",
    "--grid-every",
    "20",
    "--warmup",
    "0.3",
    "--lr-g",
    "5e-5",
    "--lr-d",
    "5e-5",
]  # small steps: rounding has no time to grow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 24 small pictures of discs."""
    folder = tmp_path_factory.mktemp("pictures")
    line = torch.arange(32)
    for i in range(24):
        disc = (line[:, None] - 10 - i % 7) ** 2 + (line - 16) ** 2 < 60 + 6 * i
        colour = torch.tensor([200, 40 + 6 * i, 220 - 7 * i])
        Image.fromarray((disc[..., None] * colour + 20).clamp(0, 255).byte().numpy()).save(
            folder / f"{i:02d}.png"
        )
    return folder


def train(pictures, out, *extra, processes=1):
    command = [sys.executable, "-m"]
    command += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"] * (
        processes > 1
    )
    command += ["roigan_lib", "train", *FIELDS, "--root", str(pictures), "--out", str(out), *extra]
    return subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        text=True,
        capture_output=True,
        timeout=300,
    )


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def alike(one, two):
    """Every number of the logs of two runs agrees, up to rounding."""
    one, two = rows(one), rows(two)
    assert len(one) == len(two) > 0
    apart = {"seconds", "memory_gib", "images_per_second", "precision", "diversity"}
    for a, b in zip(one, two):
        assert a.keys() - apart == b.keys() - apart
        for key in a.keys() - apart:
            assert a[key] == pytest.approx(b[key], rel=2e-3, abs=5e-4), (a["step"], key)


def buffers(folder):
    """Running means, power iterations and all else that no gradient moves, by name."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    return {
        f"{part}.{name}": value
        for part in ("generator", "discriminator")
        for name, value in state[part].items()
        if name.endswith(("running_mean", "running_var", "num_batches_tracked", "_u", "_v"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["improved", "thesis"])
def test_two_processes_take_the_steps_of_one(pictures, tmp_path, recipe):
    extra = ["--recipe", recipe, "--perceptual-net", "factors"]
    alone = train(pictures, tmp_path / "one", *extra)
    together = train(pictures, tmp_path / "two", *extra, processes=2)
    assert alone.returncode == 0 and together.returncode == 0, together.stderr[-2000:]
    assert together.stdout.count("step 20/20") == 1  # one of them speaks
    assert len(rows(tmp_path / "one")) == 20
    alike(tmp_path / "one", tmp_path / "two")
    assert load_model(tmp_path / "two").card["images_seen"] == 160


RELEASED = "--recipe published --perceptual-net factors --size 64 --steps 3 --warmup 0 --ramp 0"


@pytest.fixture(scope="module")
def released_alone(pictures, tmp_path_factory):
    """The folder of a run of the release in one process."""
    folder = tmp_path_factory.mktemp("released") / "one"
    assert train(pictures, folder, *RELEASED.split()).returncode == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_the_release_has_the_losses_and_buffers_of_one_process(
    pictures, released_alone, tmp_path, processes
):
    together = train(pictures, tmp_path / "more", *RELEASED.split(), processes=processes)
    assert together.returncode == 0, together.stderr[-2000:]
    alike(released_alone, tmp_path / "more")
    one, more = buffers(released_alone), buffers(tmp_path / "more")
    assert one.keys() == more.keys() and any("running_var" in name for name in one)
    for name, value in one.items():
        assert torch.allclose(value.float(), more[name].float(), rtol=1e-2, atol=1e-3), name


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(pictures, tmp_path):
    steady = "--decay 0 --warmup 0 --ramp 0 --perceptual-net factors".split()
    assert train(pictures, tmp_path / "one", *steady, "--steps", "6").returncode == 0
    for steps, processes in ((2, 1), (4, 2), (6, 4)):
        done = train(
            pictures, tmp_path / "more", *steady, "--steps", str(steps), processes=processes
        )
        assert done.returncode == 0, done.stderr[-2000:]
    alike(tmp_path / "one", tmp_path / "more")


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_one_sentence(pictures, tmp_path):
    done = train(pictures, tmp_path, "--batch", "6", processes=2)
    assert done.returncode != 0 and "cannot share a batch of 6" in done.stderr


@pytest.mark.parametrize("more", [{}, {"shift": 2}, {"siblings": 2}])
def test_processes_draw_their_share_of_the_batch_of_one(monkeypatch, more):
    cfg = load_config("smoke", batch=8, **more)
    batches = Batches(cfg, noise_images(24), "cpu")
    whole, n_a, shares = batches.draw(1), batches.n_a, []
    for rank in range(2):
        monkeypatch.setattr(parallel, "size", lambda: 2)
        monkeypatch.setattr(parallel, "rank", lambda: rank)
        shares.append(batches.draw(1))
    for all_rows, *parts in zip(whole[:9], *(share[:9] for share in shares)):
        a, b = zip(*(part.split([n_a // 2, 4 - n_a // 2]) for part in parts))
        assert torch.equal(all_rows, torch.cat([*a, *b]))


def test_batches_drawn_ahead_are_the_same():
    now, ahead = (Batches(load_config("smoke"), noise_images(9), "cpu") for _ in range(2))
    ahead.workers = 3
    for step in (0, 1, 2, 3, 7, 4):  # over several epochs, also back
        pairs = zip(now.draw(step)[:9], ahead.draw(step)[:9])
        assert all(torch.equal(a, b) for a, b in pairs)
    assert len(ahead._ahead) == 4


def test_alone_nothing_changes():
    x = torch.rand(3, 2, requires_grad=True)
    assert parallel.size() == 1 and parallel.rank() == 0 and parallel.share(2, 4) is None
    assert (
        parallel.gather(x) is x
        and parallel.average(x) is x
        and parallel.any_of([1])
        and not parallel.any_of([])
    )
