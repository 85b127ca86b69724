"""Put executed notebooks, with their outputs, in place of the repository's: for maintainers.

python .ci/store_notebooks.py build/laptop-synthfaces

Papermill's marks, injected cells, run counts, widgets without a kernel and paths of the checkout
go. Nothing is stored where a notebook was not run to its end.
"""

import json
import sys
from pathlib import Path

from roigan_lib.studies.reproduce import list_notebooks

ROOT = Path(__file__).resolve().parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"


def clean(content):
    """The text of a notebook's JSON without what only its run has to do with."""
    kept = ("kernelspec", "language_info", "tags", "jupyter")  # jupyter: plumbing is folded away
    content["metadata"] = {k: v for k, v in content["metadata"].items() if k in kept}
    tags = lambda cell: cell["metadata"].get("tags", [])
    cells = [cell for cell in content["cells"] if "injected-parameters" not in tags(cell)]
    for cell in cells:
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k in kept and v}
        for part in [cell, *cell.get("outputs", ())]:
            part.get("data", {}).pop(WIDGET, None)
            if "execution_count" in part:
                part["execution_count"] = None
    text = json.dumps(content | {"cells": cells}, indent=1, ensure_ascii=False)
    return text.replace(f"{ROOT}/", "") + "\n"


def store(out, notebooks=ROOT / "notebooks"):
    """Replace the notebooks by those of `out`; exits with a sentence where one is not finished."""
    sources = list_notebooks(notebooks)
    for source in sources:
        stamp = Path(out) / f"{source.stem}.json"
        if not stamp.is_file() or "key" not in json.loads(stamp.read_text("utf-8")):
            sys.exit(f"{source.stem} has not been run to its end in {out}: `make reproduce` first.")
    for source in sources:
        source.write_text(clean(json.loads((Path(out) / source.name).read_text("utf-8"))), "utf-8")
    print(f"{len(sources)} notebooks stored with their outputs")


if __name__ == "__main__":
    store(*sys.argv[1:])
