"""Can the memory-mapped cache feed several GPUs? Draws a second of processes that share one map.

`python -m roigan_lib.studies.reading 1 2 4 8` starts so many processes that draw 32 images each,
of a data set in one mapped file, as `train` does under torch.distributed.run, and leaves rows in
figures/reading.jsonl, a table in docs/scaling.md. The clock is that of the process: what a draw
costs of a core, whatever else runs. The own memory of a process is PyTorch's for the most part.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import torch

from .. import parallel
from ..batches import Batches
from ..config import load_config
from ..data import ImageSet
from ..data.cache import cached
from ..metrics import write_rows
from ..precision import processor
from .bench import ROOT, noise_images
from .cost import renew

SHARE, STEP_MS = 32, 5.0  # images of one GPU in a step, and how soon it wants the next ones


def draws(processes, rank, images=20_000, steps=20):
    """{ms, mib_own}: median milliseconds of a core for one draw of process `rank`, and the memory
    that it shares with no other process.
    """
    fill = lambda pixels: [{}, pixels.__setitem__(slice(None), noise_images(len(pixels)).uint8)][0]
    pixels, _ = cached("reading.npy", (images, 3, 64, 64), fill)
    data = ImageSet("noise", "train", 64, torch.from_numpy(pixels))
    cfg = load_config("thesis", batch=SHARE * processes)
    with patch.multiple(parallel, size=lambda: processes, rank=lambda: rank):
        batches, took = Batches(cfg, data, "cpu"), []
        for step in range(steps + 1):
            begin = time.process_time()
            batches.draw(step)
            took.append(time.process_time() - begin)
    rollup = Path("/proc/self/smaps_rollup")
    own = re.findall(r"Private_\w+: +(\d+)", rollup.read_text("utf-8")) if rollup.exists() else []
    ms = 1e3 * sorted(took[1:])[steps // 2]
    return {"ms": ms, "mib_own": sum(map(int, own)) / 1024, "mib_mapped": pixels.nbytes / 2**20}


def rows(processes=(1, 2, 4, 8)):
    """A row for each number of processes: value, reads (draws of SHARE images) a second of a core;
    threads: how many keep a GPU with steps of STEP_MS busy; load: as in `cost`.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"ROIGAN_CACHE": folder, "OMP_NUM_THREADS": "1"}
        ask = [sys.executable, "-m", __spec__.name]
        start = lambda k, r: subprocess.Popen(
            [*ask, "draw", str(k), str(r)], env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE
        )
        start(1, 0).communicate()  # makes the map
        for k in processes:
            said = [p.communicate()[0] for p in [start(k, r) for r in range(k)]]
            told = [json.loads(text) for text in said]
            ms = max(one["ms"] for one in told)
            row = {"metric": "reads", "method": f"{k} processes", "value": round(1e3 / ms, 1)}
            row |= {"spread": None, "processes": k, "batch": SHARE, "ms": round(ms, 2)}
            row |= {"threads": math.ceil(ms / STEP_MS), "step_ms": STEP_MS}
            row |= {"mib_own": round(max(one["mib_own"] for one in told), 1)}
            row |= {"mib_mapped": round(told[0]["mib_mapped"], 1), "processor": processor()}
            found.append(row | {"torch": torch.__version__, "load": round(os.getloadavg()[0], 2)})
    return found


def to_markdown(rows):
    """A table of rows of this module."""
    head = "| processes | a draw, ms of a core | draws/s | threads for a step of 5 ms | own MiB |"
    line = "| {processes} | {ms:.1f} | {value:.0f} | {threads} | {mib_own:.0f} |"
    return "\n".join([head, "|---:|---:|---:|---:|---:|", *(line.format(**row) for row in rows)])


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        torch.set_num_threads(1)
        print(json.dumps(draws(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        found = rows([int(k) for k in sys.argv[1:]] or (1, 2, 4, 8))
        write_rows(ROOT / "figures" / "reading.jsonl", found)
        renew(ROOT / "docs" / "scaling.md", to_markdown(found))
