"""The runner of the series on tiny notebooks: resuming, skipping, failing, the pages."""

import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from roigan_lib.errors import RoiganError
from roigan_lib.studies import reproduce as rp
from roigan_lib.studies.engine import last_line
from roigan_lib.studies.pages import heading, to_html, write_pages

STORE = runpy.run_path(str(rp.ROOT / ".ci" / "store_notebooks.py"))["store"]
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def write_notebook(
    path, *code, parameters='profile = "laptop"\ndataset = "synthfaces"', title="A title"
):
    cells = [
        new_markdown_cell(f"# {title}\n\nThe *abstract* has $x^2$.\n\nMore prose."),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
    ]
    nbformat.write(new_notebook(cells=cells + [new_code_cell(text) for text in code]), path)


@pytest.fixture
def series(tmp_path, monkeypatch):
    monkeypatch.setenv("ROIGAN_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("ROIGAN_FIGURES", raising=False)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    return folder


def log_line(folder, name):
    """Code that leaves a trace of each execution."""
    return f"open({str(folder / 'log')!r}, 'a').write({name!r} + '\\n')"


def log_of(folder):
    return (folder / "log").read_text().split() if (folder / "log").exists() else []


def start(series, out):
    command = [sys.executable, "-m", "roigan_lib", "reproduce", "--profile", "smoke"]
    return subprocess.Popen(
        [*command, "--notebooks", str(series), "--out", str(out)],
        cwd=rp.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_runs_in_order_skips_what_is_done_and_writes_pages(series, tmp_path, capsys):
    write_notebook(
        series / "01_b.ipynb",
        log_line(series, "b") + "; assert profile == 'smoke'",
        title="Second & last",
    )
    write_notebook(
        series / "00_a.ipynb",
        log_line(series, "a"),
        "import os; print(os.environ['ROIGAN_FIGURES'])",
    )
    index = rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a", "b"]
    lines = [line for line in capsys.readouterr().out.splitlines() if " ok " in line]
    assert (
        len(lines) == 2 and lines[0].startswith("[1/2] 00_a") and lines[1].startswith("[2/2] 01_b")
    )
    page = index.read_text()
    assert (
        "Second &amp; last" in page
        and "The abstract has x^2." in page
        and 'href="00_a.html"' in page
    )
    first = (tmp_path / "out" / "00_a.html").read_text()
    assert str(tmp_path / "out" / "figures") in first  # a smoke run keeps out of figures/
    assert (
        "<math" in first
        and 'href="01_b.html"' in first
        and not re.search(r"<script[^>]* src", first)
    )

    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a", "b"] and capsys.readouterr().out.count("done before") == 2

    write_notebook(series / "01_b.ipynb", log_line(series, "b2"))  # only what changed runs again
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a", "b", "b2"]
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series, only=["00"], force=True)
    assert log_of(series) == ["a", "b", "b2", "a"]


@pytest.mark.slow
def test_a_new_checkpoint_runs_later_notebooks_again(series, tmp_path):
    make = (
        "import os, pathlib; p = pathlib.Path(os.environ['ROIGAN_RUNS'], 'smoke-synthfaces'); "
        "p.mkdir(parents=True, exist_ok=True)"
    )
    write_notebook(series / "00_a.ipynb", log_line(series, "a"))
    write_notebook(
        series / "06_t.ipynb",
        log_line(series, "t"),
        make,
        "import time; (p / 'final').write_text(str(time.time()))",
    )
    write_notebook(series / "08_c.ipynb", log_line(series, "c"))
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a", "t", "c"]
    (
        tmp_path / "runs" / "smoke-synthfaces" / "final"
    ).unlink()  # lost: made again, and what follows
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a", "t", "c", "t", "c"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_goes_on_where_it_stopped(series, tmp_path, how):
    write_notebook(series / "00_a.ipynb", log_line(series, "a"))
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)"
    write_notebook(series / "01_b.ipynb", log_line(series, "b"), wait, log_line(series, "end"))
    process = start(series, tmp_path / "out")
    deadline = time.monotonic() + 300  # a busy machine takes half a minute to import torch
    while "b" not in log_of(series) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert log_of(series) == ["a", "b"]
    process.send_signal(how)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == (-how if how == signal.SIGKILL else 130)
    assert how == signal.SIGKILL or "stopped: the same command goes on from here" in errors
    (tmp_path / "go").touch()
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a", "b", "b", "end"]


@pytest.mark.slow
def test_a_broken_notebook_gives_status_1_and_one_sentence(series, tmp_path, capsys):
    write_notebook(series / "00_a.ipynb", "x = 1", "raise KeyError('first\\nwhat went wrong')")
    write_notebook(series / "01_b.ipynb", log_line(series, "b"))
    status = rp.command(profile="smoke", out=tmp_path / "out", notebooks=series)
    said = capsys.readouterr()
    assert status == 1 and "FAILED" in said.out
    assert (
        said.err.count("\n") == 1
        and "00_a" in said.err
        and "cell [" in said.err
        and "KeyError" in said.err
    )
    assert (
        "what went wrong" in (tmp_path / "out" / "00_a.ipynb").read_text() and log_of(series) == []
    )
    page = (tmp_path / "out" / "index.html").read_text()
    assert "failed or unfinished" in page and "01_b: not run yet" in page


@pytest.mark.slow
@pytest.mark.parametrize("behind", [(), ("x = 2", "y = 3")])
def test_a_kernel_that_dies_is_a_failure_and_is_never_stored(series, tmp_path, capsys, behind):
    write_notebook(series / "00_a.ipynb", "x = 1")
    write_notebook(series / "01_b.ipynb", "x = 1", "import os; os.kill(os.getpid(), 9)", *behind)
    write_notebook(series / "02_c.ipynb", log_line(series, "c"))
    before = [path.read_text() for path in sorted(series.glob("*.ipynb"))]
    with pytest.raises(
        rp.NotebookFailed, match=f"^01_b stopped in cell 4/{4 + len(behind)}: the kernel died"
    ) as error:
        rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert "\n" not in str(error.value) and log_of(series) == []
    with pytest.raises(SystemExit, match="01_b has not been run to its end"):
        STORE(tmp_path / "out", series)
    assert [path.read_text() for path in sorted(series.glob("*.ipynb"))] == before  # 00_a neither
    with pytest.raises(rp.NotebookFailed):  # not "done before"
        rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    done = [line for line in capsys.readouterr().out.splitlines() if "done before" in line]
    assert len(done) == 1 and done[0].startswith("[1/3] 00_a")
    assert "failed or unfinished" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.slow
def test_stored_notebooks_keep_their_outputs_and_nothing_of_the_run(series, tmp_path):
    write_notebook(series / "00_a.ipynb", f"print(41 + 1); print({str(rp.ROOT)!r} + '/figures')")
    write_notebook(series / "02a_b.ipynb", "print('a chapter in parts')")
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    STORE(tmp_path / "out", series)
    part = nbformat.read(series / "02a_b.ipynb", as_version=4)
    assert part.cells[-1].outputs[0].text == "a chapter in parts\n"
    notebook = nbformat.read(series / "00_a.ipynb", as_version=4)
    prose, parameters, code = notebook.cells
    assert parameters.metadata == {"tags": ["parameters"]} and "laptop" in parameters.source
    assert prose.metadata == code.metadata == {} and code.execution_count is None
    assert code.outputs[0].text == "42\nfigures\n" and "papermill" not in notebook.metadata


def test_the_last_line_that_a_cell_prints_stands_behind_the_bar():
    message = lambda kind, **content: last_line({"msg_type": kind, "content": content})
    for text in ("\rold\rstep 3/9", "old\r\nstep 3/9\r\n", "step 3/9\n\n"):
        assert message("stream", name="stdout", text=text) == "step 3/9"
    shown = {"text/markdown": "`step 3/9`", "text/plain": "<Markdown object>"}
    assert message("update_display_data", data=shown) == "step 3/9"
    assert message("display_data", data=shown) == message("status") == ""


def test_what_would_stop_a_run_later_stops_it_before(series, tmp_path, monkeypatch, capsys):
    write_notebook(
        series / "00_a.ipynb", log_line(series, "a"), parameters='profile = dataset = ""\nseed = 0'
    )
    write_notebook(series / "01_b.ipynb", log_line(series, "b"))
    (tmp_path / "file").write_text("")
    run = lambda **more: rp.reproduce(
        **{"profile": "smoke", "out": tmp_path / "out", "notebooks": series, **more}
    )
    with pytest.raises(RoiganError, match="file could not be written to"):
        run(out=tmp_path / "file")
    with pytest.raises(RoiganError, match="needs a place"):
        monkeypatch.delenv("ROIGAN_DATA", raising=False)
        run(dataset="celeba")
    for name in ("ROIGAN_RUNS", "ROIGAN_FIGURES"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(RoiganError, match="file could not be written to"),
        ):
            patch.setenv(name, str(tmp_path / "file"))
            run()
    assert log_of(series) == []


@pytest.mark.slow
@pytest.mark.parametrize("content", ["[]", "[1]", "{", '{"key": 1}', '{"key": 1, "seconds": "x"}'])
def test_with_a_damaged_stamp_the_notebook_runs_again(series, tmp_path, content):
    write_notebook(series / "00_a.ipynb", log_line(series, "a"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00_a.json").write_text(content)
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a"]


@pytest.mark.slow
def test_two_runs_in_one_folder(series, tmp_path):
    write_notebook(
        series / "00_a.ipynb",
        log_line(series, "a"),
        f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)",
    )
    first = start(series, tmp_path / "out")
    deadline = time.monotonic() + 300
    while not log_of(series) and time.monotonic() < deadline:
        time.sleep(0.1)
    with pytest.raises(RoiganError, match=f"^Process {first.pid} is at work in .*out"):
        rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    (tmp_path / "go").touch()
    output, errors = first.communicate(timeout=300)
    assert first.returncode == 0 and " ok " in output, errors
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a"]


@pytest.mark.parametrize(
    "request_, sentence",
    [
        (dict(profile="laptpo"), "laptop"),
        (dict(dataset="synthface"), "did you mean 'synthfaces'"),
        (dict(only=["07"]), "No notebook begins with '07'"),
    ],
)
def test_unknown_names_are_refused_before_anything_runs(series, tmp_path, request_, sentence):
    write_notebook(
        series / "00_a.ipynb",
        log_line(series, "a"),
        parameters='profile = "laptop"\ndataset = "synthfaces"\nseed: int = 0',
    )
    with pytest.raises(RoiganError, match=sentence):
        rp.reproduce(
            **{"profile": "smoke", "out": tmp_path / "out", "notebooks": series, **request_}
        )
    assert log_of(series) == []


@pytest.mark.slow
def test_a_notebook_without_parameters_runs_and_a_damaged_one_fails(series, tmp_path):
    nbformat.write(
        new_notebook(cells=[new_code_cell(log_line(series, "a"))]), series / "00_a.ipynb"
    )
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)
    assert log_of(series) == ["a"]
    (series / "01_b.ipynb").write_text("{")
    with pytest.raises(rp.NotebookFailed, match="^01_b could not be run: .*JSON"):
        rp.reproduce("smoke", out=tmp_path / "out", notebooks=series)


def test_no_notebooks_is_an_error(tmp_path):
    with pytest.raises(RoiganError, match="no notebooks"):
        rp.reproduce("smoke", notebooks=tmp_path)


def test_own_runs_keep_out_of_the_committed_figures(monkeypatch, tmp_path):
    monkeypatch.delenv("ROIGAN_FIGURES", raising=False)
    assert rp.environment("laptop", "synthfaces", tmp_path)["ROIGAN_FIGURES"] == str(
        rp.ROOT / "figures"
    )
    assert rp.environment("laptop", "folder", tmp_path)["ROIGAN_FIGURES"] == str(
        tmp_path / "figures"
    )
    monkeypatch.setenv("ROIGAN_FIGURES", "elsewhere")
    assert rp.environment("smoke", "synthfaces", tmp_path)["ROIGAN_FIGURES"] == str(
        Path("elsewhere").resolve()
    )


def test_beside_other_programs_a_kernel_gets_the_threads_they_leave(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(rp.os, "cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = lambda: rp.environment("smoke", "synthfaces", tmp_path).get("OMP_NUM_THREADS")
    for load, wanted in ((2.0, None), (3.2, "1"), (9.0, "1")):
        monkeypatch.setattr(rp.os, "getloadavg", lambda load=load: (load, 0, 0), raising=False)
        assert threads() == wanted
        assert ("busy" in capsys.readouterr().out) == (wanted is not None)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # chosen already: the kernel inherits it
    assert threads() is None


def test_pages_show_widgets_pictures_and_formulas_without_a_kernel(tmp_path):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "VBox()"}
    prose = (
        "Code `$a$` stays, $$\\mathbb{E}_x[y_1 * y_2]$$ is set; "
        "it costs $5 and $6.\n\n[next](01_b.ipynb)"
    )
    cells = [
        new_markdown_cell(prose),
        new_code_cell("w", outputs=[new_output("display_data", widget)]),
        new_code_cell(
            "u", outputs=[new_output("display_data", widget | {"text/plain": "Needs a kernel."})]
        ),
        new_code_cell("v", outputs=[new_output("display_data", widget | {"image/png": PNG})]),
    ]
    notebook = new_notebook(cells=cells)
    page = to_html(notebook, tmp_path)
    assert "<code>$a$</code>" in page and page.count("<math") == 1 and "$5 and $6" in page
    assert 'href="01_b.html"' in page and PNG in page and "<script" not in page
    assert (
        page.count("interactive widget") == 1
        and page.count("Needs a kernel.") == 1
        and "VBox" not in page
    )
    nbformat.write(notebook, tmp_path / "00_a.ipynb")
    assert "data:image/png" in write_pages(tmp_path, [tmp_path / "00_a.ipynb"], "x").read_text()


def test_pages_fold_the_code_that_jupyter_folds(tmp_path):
    tagged, hidden = {"tags": ["install"]}, {"jupyter": {"source_hidden": True}}
    cells = [
        new_code_cell("import a", metadata=tagged, id="one"),
        new_code_cell("seen = '</pre></div>'", id="two"),
        new_code_cell("b = 1", metadata=hidden, id="three"),
    ]
    page = to_html(new_notebook(cells=cells), tmp_path)
    folded = re.findall("(?s)<details>(.*?)</details>", page)
    assert [bool(re.search(r">(import|b)<", part)) for part in folded] == [True, True]
    assert page.count("<details") == 2 and "seen" not in "".join(folded)
    assert "seen" in page and page.count("<div") == page.count("</div")


def test_heading_is_the_first_heading_and_paragraph():
    cells = [
        new_markdown_cell(
            "# The `block`\n![alt](x.png)\n\n> Fill [it](y) **well**\n> twice.\n\nNot this."
        )
    ]
    assert heading(new_notebook(cells=cells)) == ("The block", "Fill it well twice.")


@pytest.mark.parametrize("links", ["← [a](a.ipynb) · [b](b.ipynb) →", "[b](b.ipynb) →"])
def test_heading_passes_over_the_links_to_the_neighbours(links):
    cells = [new_markdown_cell(f"# A\n\n{links}\n\n**Question.** What?")]
    assert heading(new_notebook(cells=cells)) == ("A", "What?")
