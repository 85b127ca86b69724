"""The static site (`make site`): links, alternative texts, the map, search, and no other host."""

import base64
import html
import io
import json
import re
import runpy
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from test_reproduce import PNG

from roigan_lib import plots
from roigan_lib.studies.pages import thumbnail, write_pages

ROOT = Path(__file__).resolve().parent.parent


def without_data(page):
    return re.sub(r"data:[^\"'\s]*", "data:", page)


def broken_links(folder):
    """Links to pages, files or anchors that the folder does not have: [(page, target)]."""
    pages = {path.name: without_data(path.read_text("utf-8")) for path in folder.glob("*.html")}
    anchors = {
        name: {html.unescape(i) for i in re.findall(r'\bid="([^"]+)"', text)}
        for name, text in pages.items()
    }
    broken = []
    for name, text in pages.items():
        body = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        for link in map(html.unescape, re.findall(r'<a\b[^>]*\bhref="([^"]*)"', body)):
            if re.match(r"(https?|mailto|data):", link):
                continue
            file, _, anchor = link.partition("#")
            file = unquote(file) or name
            if not (folder / file).is_file():
                broken.append((name, link))
            elif anchor and file in anchors and not {anchor, unquote(anchor)} & anchors[file]:
                broken.append((name, link))
    return broken


def undescribed(folder):
    """Pictures without an alternative text, but for the empty frame of the enlarged figure."""
    return [
        (path.name, tag)
        for path in folder.glob("*.html")
        for tag in re.findall(r"<img\b[^>]*>", without_data(path.read_text("utf-8")))
        if not re.search(r"""\balt=("[^"]+"|'[^']+')""", tag) and tag != '<img alt="">'
    ]


@pytest.fixture
def small(tmp_path):
    """Two tiny notebooks with a figure, a file and a link to a cell, as a site."""
    (tmp_path / "data.csv").write_text("a\n")
    picture = new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})
    kept = new_output("execute_result", {"text/plain": "VBox(children=(Image(),))"})
    said = new_output("display_data", {"text/markdown": "the slope of $K_f$", "text/plain": "<M>"})
    code = {"text/html": plots.source(without_data)._repr_html_(), "text/plain": "<Code>"}
    lines = [new_output("stream", name="stdout", text=text) for text in ("first\n", "second\n")]
    cells = [
        new_markdown_cell("# 00 Begin\n\n[next](01_end.ipynb) →\n\nA page, [data](data.csv)."),
        new_markdown_cell("## A <b>& B of $N$\n\n[there](01_end.ipynb#cell-id=there)"),
        new_code_cell("x", outputs=[picture]),
        new_code_cell("y", outputs=[kept]),
        new_code_cell("w", outputs=[said, *lines]),
        new_code_cell("v", outputs=[new_output("display_data", code)]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "00_begin.ipynb")
    cells = [new_markdown_cell("# End\n\n[up](00_begin.ipynb)"), new_code_cell("z", id="there")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_end.ipynb")
    out = tmp_path / "site"
    out.mkdir()
    write_pages(out, sorted(tmp_path.glob("*.ipynb")), "a course", stored=True)
    return out


def test_a_small_site_is_whole(small):
    assert not broken_links(small) and not undescribed(small)
    page = (small / "00_begin.html").read_text("utf-8")
    assert 'alt="Figure in “A' in page and 'href="files/data.csv"' in page
    assert 'id="A-&amp;-B-of-formula"' in page  # no formula's markup in an anchor
    assert "VBox" not in page and "interactive widget" in page
    assert "$K_f$" not in page and "the slope of <math" in page and "first\nsecond" in page
    assert (
        "output_html {" not in page and '<div class="highlight"' in page
    )  # the page's own colours
    assert re.search(r'<a href="00_begin.html" aria-current="page">00 Begin</a>', page)
    assert 'href="01_end.html">01 end →</a>' in page and "failed" not in page.split("</style>")[1]
    headings = json.loads(re.search(r"const HEADINGS = (.*);\n", page)[1])
    assert ["00_begin.html#00-Begin", "00 Begin", "00_begin"] in headings
    assert not re.search(r'(?:src|href)="(?:https?:)?//', without_data(page))


def test_the_index_shows_a_picture_and_not_a_strip():
    def output(width, height):
        data = io.BytesIO()
        Image.new("RGB", (width, height)).save(data, "PNG")
        text = base64.b64encode(data.getvalue()).decode()
        return new_output("display_data", {"image/png": text})

    outputs = [output(700, 50), output(300, 150)]
    small = thumbnail(new_notebook(cells=[new_code_cell("x", outputs=outputs)]))
    assert Image.open(io.BytesIO(base64.b64decode(small))).size == (300, 150)


def test_the_checks_see_what_is_broken(small):
    page = small / "01_end.html"
    page.write_text(page.read_text("utf-8") + '<a href="no.html">a</a><img src="x">', "utf-8")
    (small / "files" / "data.csv").unlink()
    assert {link for _, link in broken_links(small)} == {"no.html", "files/data.csv"}
    assert undescribed(small) == [("01_end.html", '<img src="x">')]


@pytest.mark.slow
def test_the_course_as_a_site_has_no_broken_link_and_no_undescribed_picture(tmp_path):
    build = runpy.run_path(str(ROOT / ".ci" / "build_site.py"))["build"]
    index = build(tmp_path / "site")
    assert index.is_file() and not broken_links(index.parent) and not undescribed(index.parent)
