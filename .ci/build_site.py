"""The stored course as a static site: `make site`, or python .ci/build_site.py [folder].

The explorer that needs no Python is a part of it, in page/, where its runtime can be had.
"""

import sys
from pathlib import Path

from roigan_lib.errors import RoiganError
from roigan_lib.studies.pages import write_pages
from roigan_lib.studies.reproduce import list_notebooks

ROOT = Path(__file__).resolve().parents[1]


def build(out=ROOT / "build" / "site"):
    """Write a page for each notebook, and index.html, whose path is returned."""
    Path(out).mkdir(parents=True, exist_ok=True)
    subtitle = (
        "Mark a region of a photograph, let a network redraw it, and steer what it draws: a "
        'course, from a neuron to the finished tool. <a href="00_quickstart.html">Begin here</a>'
    )
    try:
        from roigan_lib.explorer.page import write_page

        write_page(Path(out) / "page")
        subtitle += (
            ' · <a href="page/index.html">paint, slide, see: the explorer in your browser</a>'
        )
    except (RoiganError, ModuleNotFoundError) as error:
        print(f"the site has no explorer: {error}")
    return write_pages(out, list_notebooks(), subtitle, stored=True)


if __name__ == "__main__":
    print("open", build(*sys.argv[1:]))
