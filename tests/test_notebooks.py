"""Each notebook looks as a reader expects to find it; nbval runs its cells (notebooks/conftest)."""

import ast
import json
import re
import runpy
from statistics import median

import nbformat
import pytest

from roigan_lib import metrics
from roigan_lib.studies import reproduce as rp
from roigan_lib.studies.pages import heading, to_html

NOTEBOOKS = sorted((rp.ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))
MACHINE_PATH = re.compile(r"/(?:tmp|work|root|home)/|[A-Z]:\\\\Users")
FIRST_FORM = ("00", "03", "04", "05", "06", "07", "08", "09", "10", "11")


def test_the_series_is_there():
    """Without this, an empty folder would pass: the tests below are made from the files found."""
    found = {path.name[:2] for path in NOTEBOOKS}
    assert found >= set(FIRST_FORM), f"missing: {sorted(set(FIRST_FORM) - found)}"


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    content = json.loads(request.param.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])
    return content


def code_cells(notebook):
    return [
        cell for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["source"].strip()
    ]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def test_opens_with_a_title_and_an_abstract(notebook):
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown" and first["source"].lstrip().startswith("# ")
    assert len(heading(notebook)[1].split()) >= 15


def test_has_one_parameters_cell_near_the_top(notebook):
    tagged = [
        k
        for k, cell in enumerate(notebook["cells"])
        if "parameters" in cell["metadata"].get("tags", ())
    ]
    assert len(tagged) == 1 and tagged[0] < 12


def test_closes_with_summary_exercises_references(notebook):
    prose = "\n".join(
        cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"
    )
    headings = re.findall(r"^#+\s+(.+?)\s*$", prose, re.MULTILINE)
    last = [
        next((k for k, text in enumerate(headings) if word in text.lower()), -1)
        for word in ("summary", "exercises", "references")
    ]
    assert -1 < last[0] < last[1] < last[2] == len(headings) - 1, headings[-4:]


def test_is_committed_executed_and_clean(notebook):
    cells = code_cells(notebook)
    assert outputs(notebook), "no outputs: a reader without a kernel sees nothing"
    assert all(cell["execution_count"] is None for cell in cells), "run counts: use pre-commit"
    assert not [o for o in outputs(notebook) if o["output_type"] == "error"], "a traceback"
    assert not [o for o in outputs(notebook) if o.get("name") == "stderr"], (
        "warnings or bars in the page"
    )
    text = [
        json.dumps(
            {
                k: v
                for k, v in o.get("data", {"text": o.get("text")}).items()
                if not k.startswith("image/")
            }
        )
        for o in outputs(notebook)
    ]
    assert not [t for t in text if MACHINE_PATH.search(t)], "a path of one machine"
    assert not MACHINE_PATH.search(json.dumps(notebook["metadata"])), (
        "a path of one machine in the metadata"
    )


def test_cells_are_short_and_valid(notebook):
    for cell in code_cells(notebook):
        lines = cell["source"].splitlines()
        assert len(lines) <= 25 and max(map(len, lines)) <= 100, cell["source"][:80]
        if not cell["source"].lstrip().startswith(("%", "!")):
            ast.parse(cell["source"])
    assert median(len(cell["source"].splitlines()) for cell in code_cells(notebook)) <= 8


def test_every_chapter_is_framed_alike(notebook):
    first, last = ("".join(notebook["cells"][k]["source"]) for k in (0, -1))
    for word in ("**Question", "**You need", "**Minutes", "**You will be able to", "**Thesis"):
        assert word in first, word
    links = [line for line in first.splitlines() if line.endswith("→") or line.startswith("←")]
    assert links and last.splitlines()[-1] == links[0]  # to the chapters before and after
    prose = "\n".join(c["source"] for c in notebook["cells"] if c["cell_type"] == "markdown")
    exercises = re.split(r"^## (?:Exercises|References)$", prose, flags=re.MULTILINE)[1]
    asked = re.findall(r"^\d+\. (.*)", exercises, re.MULTILINE)
    assert len(asked) >= 3 and exercises.count("<summary>Hint") == len(asked)
    for line in asked:
        assert re.match(
            r"\*\((easy|medium|hard), [^)]*\b(min|hours?|h|evening)\b[^)]*\)\* ", line
        ), line


def minutes_to_run(notebook):
    """(least, most) minutes of a run, as the first cell has them."""
    head = " ".join("".join(notebook["cells"][0]["source"]).split())
    least, most = re.search(r"\*\*Minutes.*?(?:(\d+)–)?(\d+) to run", head).groups()
    return int(least or most), int(most)


def test_the_front_page_adds_up_the_minutes_of_the_chapters():
    heads = [minutes_to_run(json.loads(path.read_text(encoding="utf-8"))) for path in NOTEBOOKS]
    least, most = map(sum, zip(*heads))
    readme = (NOTEBOOKS[0].parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"{least} to {most} minutes" in readme


def test_the_measured_run_is_that_of_the_rows():
    root = NOTEBOOKS[0].parents[1]
    rows = metrics.records(metrics.load_rows(root / "figures" / "reproduce.jsonl"))
    sentence = runpy.run_path(str(root / ".ci" / "time_reproduce.py"))["sentence"](rows)
    using = (root / "docs" / "using.md").read_text(encoding="utf-8")
    assert sentence in " ".join(using.split())
    minutes = sum(row["value"] for row in rows) / 60
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert f"[measured](docs/using.md): {minutes:.0f} minutes" in readme
    assert {row["method"] for row in rows} <= {path.stem for path in NOTEBOOKS}
    assert all(row["value"] > 0 and row["processor"] and row["load"] >= 0 for row in rows)


def test_explains_itself(notebook):
    words = sum(
        len(cell["source"].split()) for cell in notebook["cells"] if cell["cell_type"] == "markdown"
    )
    assert words >= 600


def broken_paragraphs(markdown):
    """Lines within a paragraph that Markdown takes for a list item, a heading or a rule."""
    found, before, code = [], "", False
    for line in markdown.splitlines():
        code ^= line.startswith("```")
        in_paragraph = before.strip() and not re.match(r"\s{2,}|\s*(\d+[.)]|[-+*#>])", before)
        if in_paragraph and not code and re.match(r"\s*(\d+[.)]|[-+*]|#+|=+$|-+$)(\s|$)", line):
            found.append(line)
        before = line
    return found


def test_no_paragraph_turns_into_a_list(notebook):
    assert broken_paragraphs("to mean 0 and variance\n1. It is then") == ["1. It is then"]
    found = [
        line
        for cell in notebook["cells"]
        if cell["cell_type"] == "markdown"
        for line in broken_paragraphs(cell["source"])
    ]
    assert not found, "wrap these lines elsewhere"


UNCLEAR = re.compile(
    r"(?<!thesis )\bchapters?\s+\d+\b(?! of the thesis)|\((?:4\.[2-9]|5\.\d)\)", re.I
)


def unclear_references(text):
    """What could be a notebook or a chapter, and sections written as equations are."""
    return UNCLEAR.findall(text)


def test_references_say_whose(notebook):
    assert unclear_references("see chapter 08, and a mask (4.3)") == ["chapter 08", "(4.3)"]
    found = [hit for cell in notebook["cells"] for hit in unclear_references(cell["source"])]
    assert not found, "write 'notebook 08', 'thesis chapter 3', 'thesis §4.3'"


@pytest.mark.parametrize("page", ["README.md", "docs/using.md", "docs/results.md"])
def test_pages_say_whose_chapters(page):
    assert not unclear_references((rp.ROOT / page).read_text(encoding="utf-8"))


def test_shown_source_is_the_library_of_today():
    files = (rp.ROOT / "roigan_lib").rglob("*.py")
    known = {line.strip() for file in files for line in file.read_text("utf-8").splitlines()}
    shown = [
        (path.stem, line)
        for path in NOTEBOOKS
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code" and "plots.source(" in "".join(cell["source"])
        for output in cell["outputs"]
        if "text/latex" in output.get("data", {})
        for line in "".join(output["data"]["text/plain"]).splitlines()
    ]
    assert len(shown) > 100
    assert not [(name, line) for name, line in shown if line.strip() not in known]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_takes_the_parameters_of_reproduce(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (cell,) = (c for c in cells if "parameters" in c["metadata"].get("tags", ()))
    nodes = ast.walk(ast.parse("".join(cell["source"])))
    assert {"profile", "dataset"} <= {n.id for n in nodes if isinstance(n, ast.Name)}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_its_page_needs_nothing_beside_itself(path):
    page = to_html(nbformat.read(path, as_version=4), path.parent)
    assert "<script" not in page and not re.search(r'src="(?!data:)', page)


def test_nbval_runs_the_cells(pytestconfig):
    """The tests of this file read what is stored; without nbval nothing would run the series."""
    assert pytestconfig.option.nbval_lax and "notebooks" in pytestconfig.getini("testpaths")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_file_is_at_most_a_megabyte(path):
    assert path.stat().st_size <= 1_000_000
