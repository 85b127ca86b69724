"""What a `make reproduce` took, as rows and as the sentence of docs/using.md: for maintainers.

python .ci/time_reproduce.py build/laptop-synthfaces figures/reproduce.jsonl

Call it as soon as the run has ended: `load` is the machine's of the last quarter of an hour. Where
a run was stopped, the rows are of the notebooks that it finished.
"""

import json
import os
import sys
from pathlib import Path

import torch

from roigan_lib.metrics import write_rows
from roigan_lib.precision import processor
from roigan_lib.studies.pages import read_stamp
from roigan_lib.studies.reproduce import list_notebooks


def rows_of(out):
    """A row a notebook that ran to its end in this folder: its seconds, and on what machine."""
    out, rows = Path(out), []
    machine = {"processor": processor(), "threads": os.cpu_count(), "torch": torch.__version__}
    machine |= {"profile": out.name.split("-")[0], "load": round(os.getloadavg()[2], 1)}
    for source in list_notebooks():
        stamp = read_stamp(out / f"{source.stem}.json")
        if "key" in stamp:
            row = {"metric": "seconds", "method": source.stem, "value": round(stamp["seconds"], 1)}
            rows.append(row | machine)
    return rows


def sentence(rows):
    """What these rows say of a run, or of the part of it that was measured."""
    one, minutes = rows[0], sum(row["value"] for row in rows) / 60
    slow = sorted(rows, key=lambda row: -row["value"])[:3]
    names = ", ".join(f"{row['method'].split('_')[0]} ({row['value'] / 60:.0f})" for row in slow)
    return (
        f"Measured on {one['threads']} hardware threads of an {one['processor']} that other "
        f"programs used as well (load {one['load']:.0f}), {len(rows)} of {len(list_notebooks())} "
        f"notebooks took {minutes:.0f} minutes; the longest were {names}."
    )


if __name__ == "__main__":
    found = rows_of(sys.argv[1])
    write_rows(Path(sys.argv[2]), found)
    print(sentence([json.loads(line) for line in Path(sys.argv[2]).open(encoding="utf-8")]))
