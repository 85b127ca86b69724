"""What the terminal shows while a notebook runs: its cell, the time, what the cell prints."""

import io
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from roigan_lib.studies import reproduce as rp
from roigan_lib.studies import watch as w

CELLS = [
    new_code_cell("# why\nx = 1"),
    new_markdown_cell("# Title\n\nText\n## The *second* one"),
    new_code_cell("y = 2"),
    new_code_cell(" "),
    new_code_cell("z = 3"),
]
STEP = "step 400/2800  21.3 images/s  3.2 min left  0.57 GiB  d 1.234  g 5.678"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def stream(text, name="stdout"):
    return {"msg_type": "stream", "content": {"name": name, "text": text}}


def test_a_cell_is_called_by_its_heading_or_its_first_line():
    assert w.labels(CELLS) == [
        "# why",
        "The second one",
        "The second one",
        "The second one",
        "The second one",
    ]


@pytest.mark.parametrize(
    "pieces",
    [
        ["\rold", "\rstep 3/9"],
        ["old\r", "step 3/9\r"],
        ["old\n", "ste", "p 3/9"],
        ["step  3/9\n\n"],
        ["old\n\x1b[2K\x1b[1Astep 3/9"],
        ["x\r\nstep 3/9\r\n"],
    ],
)
def test_the_last_line_that_a_cell_prints(pieces):
    watch = w.Watch("[1/2] 00_a", io.StringIO())
    for piece in pieces:
        watch.hear(stream(piece))
        watch.hear(stream("\n", "stderr"))
    assert watch.said == "step 3/9" and watch.line().endswith(" · step 3/9")


def test_a_text_shown_in_the_place_of_another_is_heard_and_pictures_are_not():
    watch = w.Watch("[1/2] 00_a", io.StringIO())
    update = lambda data: watch.hear({"msg_type": "update_display_data", "content": {"data": data}})
    update({"text/markdown": "`step 3/9  2.0 images/s`", "text/plain": "<Markdown object>"})
    update({"image/png": "…", "text/plain": "<Picture>"})
    update({"text/markdown": "a\n\ntable"})
    watch.hear({"msg_type": "display_data", "content": {"data": {"text/plain": "<Figure>"}}})
    watch.hear({"msg_type": "status", "content": {"execution_state": "busy"}})
    assert watch.said == "step 3/9 2.0 images/s"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_line_fits_and_keeps_rate_and_time_left(width):
    watch = w.Watch("reproduce", io.StringIO())
    watch.begin(
        "[5/10] 06_training", "the kernel starts", {"all": 480.0, w.digest(CELLS[2]): 470.0}
    )
    assert "last time 8.0 min" in watch.line()
    watch.start(CELLS)
    watch.cell_start(2)
    assert all(
        part in watch.line() for part in ("cell 2/3", "“The second one”", "(last time 7.8 min)")
    )
    watch.hear(stream(STEP))
    line = watch.line(width)
    assert len(line) <= width and "cell 2/3" in line and "step 400/2800 21.3 images/s" in line
    assert width < 80 or "3.2 min left" in line
    watch.cell_end(2)
    assert STEP.split()[0] not in watch.line() and list(watch.took) == [w.digest(CELLS[2])]
    watch.cell_start(4)
    assert (
        "cell 3/3" in watch.line() and watch.line().count("last time") == 1
    )  # this cell's is not known


def test_a_terminal_sees_one_line_in_its_place_and_a_pipe_sees_many(monkeypatch):
    monkeypatch.setattr(w, "REDRAW", 0.05)
    monkeypatch.setattr(w, "EVERY", 0.2)
    for shown in (Terminal(), io.StringIO()):
        with w.Watch("reproduce", shown) as watch:
            time.sleep(1)
            watch.say("[1/2] 00_a ok")
            time.sleep(1)
        text = shown.getvalue()
        if shown.isatty():
            assert text.count("\n") == 1 and text.count("\r") > 10 and text.endswith(" \r")
            assert (
                "getting ready" not in text.split("\n")[0].split("\r")[-1]
            )  # nothing is left beside the line
        else:
            lines = text.splitlines()
            assert "\r" not in text and len(lines) > 6 and lines.count("[1/2] 00_a ok") == 1


@pytest.mark.slow
def test_a_series_shows_cells_progress_and_the_last_time(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(w, "REDRAW", 0.02)
    monkeypatch.setattr(w, "EVERY", 0.05)
    monkeypatch.setenv("ROIGAN_RUNS", str(tmp_path / "runs"))
    (tmp_path / "nb").mkdir()
    code = (
        "import time\nfor k in range(5):\n    print(f'\\rstep {k}/5', end='', flush=True)\n"
        "    time.sleep(0.4)"
    )
    cells = [
        new_code_cell('profile = dataset = ""', metadata={"tags": ["parameters"]}),
        new_markdown_cell("## Train"),
        new_code_cell(code),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "nb" / "00_a.ipynb")
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=tmp_path / "nb")
    lines = capsys.readouterr().out.splitlines()
    assert any(
        l.startswith("[1/1] 00_a, ") and " · cell 3/3 “Train” " in l and l.endswith(" · step 3/5")
        for l in lines
    )
    assert not any("last time" in l for l in lines)  # not known, so not said
    rp.reproduce("smoke", out=tmp_path / "out", notebooks=tmp_path / "nb", force=True)
    lines = capsys.readouterr().out.splitlines()
    assert any(l.startswith("last time this notebook took ") for l in lines)
    assert any(
        "“Train” 1 s (last time 2 s)" in l or "“Train” 0 s (last time 2 s)" in l for l in lines
    )
