"""The stored course as a static site: `make site`, or python .ci/build_site.py [folder]."""

import sys
from pathlib import Path

from roigan_lib.studies.pages import write_pages
from roigan_lib.studies.reproduce import list_notebooks

ROOT = Path(__file__).resolve().parents[1]


def build(out=ROOT / "build" / "site"):
    """Write a page for each notebook, and index.html, whose path is returned."""
    Path(out).mkdir(parents=True, exist_ok=True)
    return write_pages(out, list_notebooks(), "a course on RoI-GAN", stored=True)


if __name__ == "__main__":
    print("open", build(*sys.argv[1:]))
