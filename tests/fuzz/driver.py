"""Run every case of the tables under a time and a memory limit; one JSON line for each.

`python -m fuzz.driver PLACE [KIND …]`, with tests/ on the path. A case ends in a sentence (the
kit's own error: one sentence that names what is wrong), in a right result, or in a fault.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SECONDS, WALL = 10, 60  # of a case: of processor time, and where it waits
MEMORY = 2**30  # bytes of all cases together, beyond what the imports take
TABLES = (
    "arguments",
    "settings",
    "pictures",
    "places",
    "archives",
    "weights",
    "texts",
    "commands",
    "runs",
    "uses",
)
SENTENCE, RIGHT = "a sentence", "a right result"


class Case(NamedTuple):
    """What is tried. words: one of them is in the sentence; none: a right result is wanted."""

    kind: str
    name: str
    run: Callable
    words: tuple = ()


class Hang(BaseException):
    """No Exception, so that no reader takes it for damage."""


def ring(*_):
    raise Hang


def faulty(text, words):
    """What is wrong with a sentence, or None."""
    if "\n" in text or not text.endswith(".") or len(text) > 600:
        return "no sentence"
    if re.search(r"0x[0-9a-f]{6}|Traceback|NoneType' object", text):
        return "words of a programmer"
    if not any(word.lower() in text.lower() for word in words):
        return f"names none of {words}"
    return None


def tried(case):
    """(outcome, what was said) of a case; any other outcome than the two wanted is a fault."""
    from roigan_lib import RoiganError

    signal.setitimer(signal.ITIMER_PROF, SECONDS), signal.setitimer(signal.ITIMER_REAL, WALL)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            case.run()
        addresses = [str(w.message) for w in told if " at 0x" in str(w.message)]
        if case.words or addresses:
            return "SILENT" if case.words else "WARNING", "".join(addresses[:1])
        return RIGHT, ""
    except RoiganError as error:
        if not case.words:
            return "REFUSED", str(error)
        wrong = faulty(str(error), case.words)
        return (f"SENTENCE: {wrong}" if wrong else SENTENCE), str(error)
    except Hang:
        return "HANG", ""
    except BaseException as error:
        kind = "WRONG" if isinstance(error, AssertionError) else "TRACEBACK"
        at = error.__traceback__
        while at and at.tb_next:
            at = at.tb_next
        where = f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else ""
        return kind, f"{type(error).__name__}: {error} ({where})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0), signal.setitimer(signal.ITIMER_REAL, 0)


def data_bytes():
    """What the process has asked of the system for data."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return 1024 * int(re.search(r"VmData:\s+(\d+)", status.read_text())[1])


def main(place, *kinds):
    place = Path(place)
    os.environ.setdefault("ROIGAN_CACHE", str(place / "cache"))
    os.environ.pop("ROIGAN_DATA", None)
    import torch

    import roigan_lib  # noqa: F401

    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, ring), signal.signal(signal.SIGPROF, ring)
    tables = [importlib.import_module(f"fuzz.{name}") for name in TABLES]
    # the imports of the library lie before the limit
    for name in (
        "cli",
        "metrics",
        "photo",
        "explorer",
        "control",
        "baselines",
        "data",
        "making",
        "studies.pages",
    ):
        importlib.import_module(f"roigan_lib.{name}")
    for table in tables:
        getattr(table, "warm", lambda: None)()
    before = data_bytes()
    if before:
        resource.setrlimit(resource.RLIMIT_DATA, (before + MEMORY, before + MEMORY))
    os.chdir(place)
    with open(place / "cases.jsonl", "w") as out:
        for table in tables:
            folder = Path(tempfile.mkdtemp(dir=place, prefix=table.__name__[5:] + "-"))
            for case in table.cases(folder):
                if kinds and case.kind not in kinds:
                    continue
                wanted = SENTENCE if case.words else RIGHT
                row = {"kind": case.kind, "case": case.name, "wanted": wanted}
                out.write(json.dumps(row | {"begun": True}) + "\n")
                out.flush()  # a process that dies has named what it died of
                begun = time.process_time()
                outcome, said = tried(case)
                seconds = round(time.process_time() - begun, 3)
                row |= {"outcome": outcome, "said": said[:700], "seconds": seconds}
                out.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
