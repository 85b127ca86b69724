"""The ledger of notebook 13: tags name rows, rows are whole, keys find numbers, cells exist."""

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIELDS = ["row", "claim", "thesis", "verdict", "found", "number"]
WRITTEN = {"holds", "misprint", "not reproduced", "better here", "difference declared"}
WITHOUT = {"not testable", "not shown yet"}
KINDS = {"eq": 52, "fig": 24, "tab": 3, "sys": 46, "cl": 57}
WAITING = 0  # rows with a verdict whose cell has no tag yet

with open(ROOT / "notebooks" / "ledger.csv", encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


def plain(name):
    """A row's name as a tag can hold it: without commas."""
    return " ".join(re.sub("[,;]", " ", name).split())


def tags():
    """(notebook, cell, name) of every tag ledger:NAME."""
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for tag in cell["metadata"].get("tags", ()):
                if tag.startswith("ledger:"):
                    yield path, cell, plain(tag.removeprefix("ledger:"))


TAGS = list(tags())


def test_every_row_has_its_fields_and_its_name_once():
    assert list(ROWS[0]) == FIELDS
    names = [row["row"] for row in ROWS]
    assert len(set(map(plain, names))) == len(names)
    assert {k: sum(n.split()[0] == k for n in names) for k in KINDS} == KINDS
    for row in ROWS:
        assert row["claim"] and row["thesis"] and row["verdict"] in WRITTEN | WITHOUT, row
        assert bool(row["number"]) == (row["verdict"] in WRITTEN), row
        assert row["found"] or row["verdict"] == "not shown yet", row
        assert not any("\n" in text for text in row.values()), row


def test_every_tag_names_a_row_or_an_entry_of_the_bibliography():
    names = {plain(row["row"]) for row in ROWS} | {f"ref {n}" for n in range(1, 58)}
    assert TAGS and not [(path.name, name) for path, _, name in TAGS if name not in names]


def test_every_tagged_cell_can_be_linked():
    found = [(path.name, cell.get("id", "")) for path, cell, _ in TAGS]
    assert all(re.fullmatch(r"[\w-]{1,64}", cell) for _, cell in found), found


def test_verdicts_stand_on_cells():
    """The notebook shows such a row as "not shown yet", so it cannot lie; here it is counted."""
    shown = {name for _, _, name in TAGS}
    missing = [r["row"] for r in ROWS if r["verdict"] in WRITTEN and plain(r["row"]) not in shown]
    assert len(missing) <= WAITING, f"{len(missing)} rows without a cell: {missing}"


@pytest.mark.parametrize("row", [r for r in ROWS if "?" in r["number"]], ids=lambda r: r["row"])
def test_keys_find_rows(row):
    for part in row["number"].split(" | "):
        file, query = part.split(": ", 1)[1].split("?", 1)
        wanted = [pair.split("=", 1) for pair in query.split("&")]
        lines = (ROOT / "figures" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
        found = [x for x in map(json.loads, lines) if all(str(x.get(k)) == v for k, v in wanted)]
        assert found, part


def stored(cell_id):
    path = ROOT / "notebooks" / "13_ledger.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (cell,) = (c for c in cells if c["id"] == cell_id)
    return "".join(cell["source"]), json.dumps(cell["outputs"])


def test_the_stored_page_links_to_cells_that_exist():
    ids = {(path.name, cell["id"]) for path, cell, _ in TAGS}
    page = "".join(stored(f"l13-{name}")[1] for name in ("eq", "fig", "tab", "sys", "cl3", "cl4"))
    links = re.findall(r'href=\\"([\w.]+)#cell-id=([\w-]+)\\"', page)
    assert len(links) > 80 and not set(links) - ids, "run notebook 13 again and store it"
    assert page.count("<tr id=") == len(ROWS)


def test_a_row_without_a_cell_is_not_shown_yet_whatever_is_written():
    code = stored("l13-judge")[0].split("verdict = ")[0]
    space = {"shown": {"eq 1.1": ["a cell"], "cl a": ["a cell"]}}
    exec(code, space)
    judge = lambda row, verdict: space["judge"]({"row": row, "verdict": verdict})
    assert judge("eq 1.1", "holds") == "holds" and judge("eq 1.2", "holds") == "not shown yet"
    assert judge("cl a", "not shown yet") == "not judged yet"
    assert judge("cl b", "not testable") == "not testable"
