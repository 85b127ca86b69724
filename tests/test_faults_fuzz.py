"""Arguments by hypothesis and files spoiled byte by byte: 200 of each here, 5,000 under -m nightly.

What leaves the kit is a result or its own error, within 10 seconds of the processor and 1 GB.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def by_chance(place, n, start):
    env = {k: v for k, v in os.environ.items() if k not in ("ROIGAN_CACHE", "ROIGAN_DATA")}
    env |= {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), "OMP_NUM_THREADS": "1"}
    env |= {"MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-W", "ignore", "-m", "fuzz.chance", str(place), str(n), str(start)]
    done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    assert done.stdout.count("chance") == 2
    return done.stdout


@pytest.mark.slow
def test_two_hundred_examples_of_each(tmp_path):
    by_chance(tmp_path, 200, 0)


@pytest.mark.nightly
@pytest.mark.slow
def test_five_thousand_examples_of_each(tmp_path, request):
    if "nightly" not in (request.config.getoption("markexpr") or ""):
        pytest.skip("5,000 examples take half an hour: pytest -m nightly")
    print(by_chance(tmp_path, 5000, int(time.time()) // 86400))  # other examples every day
