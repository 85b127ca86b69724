"""Some five thousand faults: each ends in a sentence or a right result, in time.

The tables lie in tests/fuzz; one child process runs them under limits of time and memory, and
`faults.md` beside this file holds the count of what a run found; FAULTS_WRITE=1 writes it anew.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WANTED = ("a sentence", "a right result")

pytestmark = pytest.mark.slow  # every test asks for all cases


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """What became of every case: {kind, case, wanted, outcome, said, seconds}."""
    place = tmp_path_factory.mktemp("faults")
    env = {k: v for k, v in os.environ.items() if k not in ("ROIGAN_CACHE", "ROIGAN_DATA")}
    env |= {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), "OMP_NUM_THREADS": "1"}
    env |= {"MALLOC_ARENA_MAX": "2"}  # a thread's own heap would count as memory that is taken
    command = [sys.executable, "-W", "ignore", "-m", "fuzz.driver", str(place)]
    done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, timeout=3600)
    found = place / "cases.jsonl"
    rows = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
    assert done.returncode == 0, f"died after {rows[-1:]}: {done.stderr[-600:]}"
    return [row for row in rows if "begun" not in row]


def table(rows):
    """The count as Markdown: kind, cases, sentences, right results."""
    counted = Counter((row["kind"], row["outcome"]) for row in rows)
    lines = ["# Faults that are tried", "", HEAD, "", "| kind | cases | sentence | right result |"]
    lines += ["|---|---:|---:|---:|"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        numbers = [counted[kind, outcome] for outcome in WANTED]
        lines.append(f"| {kind} | {sum(numbers)} | {numbers[0]} | {numbers[1]} |")
    totals = [sum(n for (_, o), n in counted.items() if o == outcome) for outcome in WANTED]
    lines.append(f"| **all** | **{sum(totals)}** | **{totals[0]}** | **{totals[1]}** |")
    return "\n".join(lines) + "\n"


HEAD = """\
Written by `FAULTS_WRITE=1 pytest tests/test_faults.py`; the cases are in `tests/fuzz`. Each ends in
one sentence that names what is wrong, or in a right result, within 10 seconds of the processor;
all of them together take no more than 1 GB beyond the library itself."""


def test_every_case_ends_in_a_sentence_or_a_right_result(rows):
    wrong = [row for row in rows if row["outcome"] != row["wanted"]]
    told = "\n".join(f"{r['kind']}: {r['case']}: {r['outcome']} {r['said'][:200]}" for r in wrong)
    assert not wrong, f"{len(wrong)} of {len(rows)}:\n{told[:6000]}"


def test_the_cases_are_many_and_no_two_are_one(rows):
    names = Counter((row["kind"], row["case"]) for row in rows)
    assert len(rows) >= 5000 and max(names.values()) == 1, names.most_common(3)


def test_the_count_is_current(rows):
    from PIL import features

    if not sys.platform.startswith("linux") or not features.check("avif"):
        pytest.skip("the count is that of Linux, with a Pillow that reads AVIF")
    path, found = HERE / "faults.md", table(rows)
    if os.environ.get("FAULTS_WRITE"):
        path.write_text(found, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == found
