"""Run the notebook series from disk to a page one can click through: `make reproduce`.

Papermill executes each notebook into build/<profile>-<dataset>/, with the repository root as
working directory. A stamp beside it holds a hash of what went in (the notebook, the library, the
parameters, the checkpoints of earlier notebooks), so that a second run skips what is done and a
killed one goes on where it stopped.

Pictures go where ROIGAN_FIGURES says; left unset, into the build folder, but for the laptop and
thesis profiles on synthfaces into the committed figures/. Checkpoints go below ROIGAN_RUNS
(default runs/).
"""

import hashlib
import json
import logging
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from ..checks import check_folder, on_signals, only_run
from ..errors import RoiganError, suggest
from ..files import path_of, place, write_atomically
from .pages import read_stamp, write_pages

ROOT = Path(__file__).resolve().parents[2]
LIBRARY_FILES = (".py", ".json", ".js", ".css", ".html", ".toml", ".safetensors")


class NotebookFailed(RuntimeError):
    """A notebook stopped: one sentence with its name, the cell and the error's last line."""


def list_notebooks(folder=None, only=None):
    """Paths of NN_name.ipynb, of the repository or of a folder. only: beginnings of names."""
    folder = ROOT / "notebooks" if folder is None else path_of(folder, "folder")
    found = sorted(folder.glob("[0-9][0-9]*_*.ipynb"))
    if not found:
        raise RoiganError(
            f"There are no notebooks in {folder}: run this from a clone of the repository."
        )
    for start in only or ():
        if not any(path.name.startswith(start) for path in found):
            raise RoiganError(
                f"No notebook begins with {start!r}; there are {', '.join(p.stem for p in found)}."
            )
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def check_request(profile, dataset):
    """RoiganError for an unknown profile or data set, or for missing pictures."""
    from ..config import load_config
    from ..data import DATASETS, sources

    load_config(profile)
    if dataset not in DATASETS:
        raise RoiganError(
            f"There is no data set {dataset!r}; {suggest(dataset, DATASETS)}"
            f"choose one of {', '.join(DATASETS)}."
        )
    if dataset != "synthfaces":
        ready, lines = sources.check(dataset)
        if not ready:
            raise RoiganError(" ".join(lines))


def environment(profile, dataset, out):
    """Variables for the kernels: this checkout's library first, the places of what they write."""
    committed = dataset == "synthfaces" and profile in ("laptop", "thesis")
    figures = ROOT / "figures" if committed else Path(out).resolve() / "figures"
    given = [name for name in ("ROIGAN_DATA", "ROIGAN_CACHE") if os.environ.get(name)]
    places = {"ROIGAN_FIGURES": figures, "ROIGAN_RUNS": ROOT / "runs", **dict.fromkeys(given, "")}
    places = {name: str(place(name, usual).resolve()) for name, usual in places.items()}
    return (
        places
        | _threads()
        | {  # whole paths, as a kernel works in another folder
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a remark of the debugger about frozen modules
        }
    )


def _threads():
    """As many threads for a kernel as other programs leave cores: OpenMP's threads burn their time
    waiting for one that has to wait.
    """
    load, cores = getattr(os, "getloadavg", lambda: (0,))()[0], os.cpu_count() or 1
    if os.environ.get("OMP_NUM_THREADS") or load <= 0.75 * cores:
        return {}
    free = str(max(1, cores - round(load)))
    print(
        f"Other programs keep about {load:.0f} of {cores} cores busy: the notebooks compute with "
        f"{free} thread(s), which is faster then (set OMP_NUM_THREADS to choose)."
    )
    return {"OMP_NUM_THREADS": free}


def execute(source, target, parameters, variables, title):
    """Run one notebook with papermill, source -> target, in the repository root.

    variables: of the kernel's environment; title: stands before the bar of a terminal. Raises
    NotebookFailed, which says what broke.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    from . import engine

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, no other
    for quiet in ("papermill", "asyncio"):  # what they would say, the sentences below say
        logging.getLogger(quiet).setLevel(logging.CRITICAL)
    options = dict(engine_name=engine.NAME, kernel_name="python3", language="python")
    bar = dict(desc=title, leave=False, dynamic_ncols=True, disable=None)  # None: but in a terminal
    options |= dict(progress_bar=bar, variables=variables, folder=str(ROOT))
    failed = lambda how: NotebookFailed(f"{Path(source).stem} {how}")
    try:
        papermill.execute_notebook(str(source), str(target), parameters, **options)
    except papermill.PapermillExecutionError as error:
        last = _last_line(error.ename, error.evalue)
        raise failed(f"stopped in cell [{error.exec_count}]: {last}") from error
    except DeadKernelError as error:
        why = "the kernel died, as it does where memory runs out."
        raise failed(f"stopped in {error}: {why}") from error
    except Exception as error:  # the disk is full, no kernel starts …: still one sentence
        raise failed(f"could not be run: {_last_line(type(error).__name__, str(error))}") from error


def _last_line(kind, message):
    lines = message.strip().splitlines()
    return f"{kind}: {lines[-1].strip()}" if lines else kind


def _digest(value):
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()


def _tree_hash(folder, endings=("",)):
    """A digest of names and contents of the files below a folder; "" where there are none."""
    rows = [
        (str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name.endswith(endings) and path.name != ".lock"
    ]
    return _digest(rows) if rows else ""


def reproduce(
    profile="laptop",
    dataset="synthfaces",
    out=None,
    notebooks=None,
    only=None,
    force=False,
    pages=True,
):
    """Run the series, skip what is done, write the HTML pages. Returns the path of index.html.

    Args:
        profile, dataset: names of roigan_lib.config.PROFILES and roigan_lib.data.DATASETS.
        out: folder for executed notebooks and pages; default build/<profile>-<dataset>.
        notebooks: a folder instead of the repository's series.
        only: beginnings of notebook names, such as ["03", "08"].   force: run all again.
        pages: False leaves the pages to a later call, and returns `out`: runs of other notebooks
            may then work in the same folder at the same time, as those of workflow/Snakefile do.
    Raises RoiganError before anything runs for an unknown name, a folder that cannot be written or
    where another run is at work; NotebookFailed when a notebook breaks or its kernel dies: it stays
    in `out`, and the pages of what ran are written all the same.
    """
    series, chosen = list_notebooks(notebooks), list_notebooks(notebooks, only)
    check_request(profile, dataset)
    out = path_of(ROOT / "build" / f"{profile}-{dataset}" if out is None else out, "folder")
    variables = environment(profile, dataset, out)
    for folder in (out, variables["ROIGAN_RUNS"], variables["ROIGAN_FIGURES"]):
        check_folder(folder)
    values = {"profile": profile, "dataset": dataset}
    checkpoints = Path(variables["ROIGAN_RUNS"]) / f"{profile}-{dataset}"
    with ExitStack() as held:
        for part in [out] * pages + [out / ".locks" / source.stem for source in chosen]:
            held.enter_context(only_run(part))
        failure = _run_series(series, chosen, values, out, variables, checkpoints, force)
        index = write_pages(out, series, f"{profile} · {dataset}") if pages else out
    if failure:
        raise failure
    return index


def _run_series(series, chosen, values, out, variables, checkpoints, force):
    """Run what is chosen and not done, a line each; the NotebookFailed that stopped it, or None."""
    library, made = _tree_hash(Path(__file__).resolve().parents[1], LIBRARY_FILES), []
    for source in series:
        target, stamp = out / source.name, read_stamp(out / f"{source.stem}.json")
        if source in chosen:
            title = f"[{chosen.index(source) + 1}/{len(chosen)}] {source.stem}"
            say = lambda how: print(f"{title:<40} {how}", flush=True)
            key = _digest([source.read_text("utf-8"), library, values, made])
            before, begun = _tree_hash(checkpoints), time.monotonic()
            lost = stamp.get("made") and not before
            if stamp.get("key") == key and target.exists() and not (lost or force):
                say("done before")
            else:
                stamp.pop("key", None)  # until the end
                _write_stamp(target, stamp)
                try:
                    execute(source, target, values, variables, title)
                except NotebookFailed as failure:
                    say(f"FAILED   {time.monotonic() - begun:.1f} s")
                    return failure
                seconds, after = time.monotonic() - begun, _tree_hash(checkpoints)
                say(f"ok       {seconds:.1f} s")
                stamp |= {"key": key, "seconds": seconds}
                stamp |= {"made": after} if after != before else {}
                _write_stamp(target, stamp)
        made += [stamp["made"]] if stamp.get("made") else []
    return None


def _write_stamp(target, stamp):
    write_atomically(target.with_suffix(".json"), json.dumps(stamp, indent=1).encode())


def command(**options):
    """`roigan reproduce`: `reproduce` with these options.

    Prints, and returns the exit status: 0, or 1 with one sentence on stderr when a notebook breaks,
    130 when it was stopped. A RoiganError is left to the caller.
    """
    try:
        with on_signals(signal.default_int_handler, signal.SIGTERM):
            index = reproduce(**options)
    except NotebookFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return 130
    print(f"open {index}")
    return 0
