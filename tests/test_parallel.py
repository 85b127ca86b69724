"""Two processes at half the batch make the steps of one, started by torch.distributed.run."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from roigan_lib import parallel
from roigan_lib.stored import load_model

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


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["improved", "thesis"])
def test_two_processes_take_the_steps_of_one(pictures, tmp_path, recipe):
    extra = ["--recipe", recipe, "--perceptual-net", "factors"]
    alone = train(pictures, tmp_path / "one", *extra)
    together = train(pictures, tmp_path / "two", *extra, processes=2)
    assert alone.returncode == 0 and together.returncode == 0, together.stderr[-2000:]
    assert together.stdout.count("step 20/20") == 1  # one of them speaks
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 20
    for a, b in zip(one, two):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds", "memory_gib", "images_per_second", "precision"}:
            assert a[key] == pytest.approx(b[key], rel=2e-3, abs=5e-4), (a["step"], key)
    assert load_model(tmp_path / "two").card["images_seen"] == 160


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_one_sentence(pictures, tmp_path):
    done = train(pictures, tmp_path, "--batch", "6", processes=2)
    assert done.returncode != 0 and "cannot share a batch of 6" in done.stderr


def test_alone_nothing_changes():
    x = torch.rand(3, 2, requires_grad=True)
    assert parallel.size() == 1 and parallel.rank() == 0 and parallel.share(2, 4) is None
    assert (
        parallel.gather(x) is x
        and parallel.average(x) is x
        and parallel.any_of([1])
        and not parallel.any_of([])
    )
