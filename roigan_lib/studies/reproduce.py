"""Run the notebook series from disk to a page one can click through: `make reproduce`.

Papermill executes each notebook into build/<profile>-<dataset>/, with the repository root as
working directory. A stamp beside it holds a hash of what went in (the notebook, the library, the
parameters, the checkpoints of earlier notebooks), so that a second run skips what is done and a
killed one goes on where it stopped; and the seconds of every cell, for the next time's `watch`.

Pictures go where ROIGAN_FIGURES says; left unset, into the build folder, but for the laptop and
thesis profiles on synthfaces into the committed figures/. Checkpoints go below ROIGAN_RUNS
(default runs/).
"""

import ast
import hashlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from ..checks import check_folder, check_seed, on_signals, only_run
from ..errors import RoiganError, suggest
from ..files import write_atomically
from .pages import WIDGET, read_stamp, write_pages
from .watch import Watch, clock, runs

ROOT = Path(__file__).resolve().parents[2]
LIBRARY_FILES = (".py", ".json", ".js", ".css", ".toml", ".safetensors")


class NotebookFailed(RuntimeError):
    """A notebook stopped: one sentence with its name, the cell and the error's last line."""


def list_notebooks(where=None, only=None):
    """Paths of NN_name.ipynb, NNa_name.ipynb. where: a folder or files; only: beginnings."""
    where = ROOT / "notebooks" if where is None else where
    folder = isinstance(where, (str, Path))
    paths = Path(where).glob("[0-9][0-9]*_*.ipynb") if folder else where
    found = sorted(map(Path, paths)) if folder else list(map(Path, paths))
    if not found:
        raise RoiganError(
            f"There are no notebooks in {where}: run this from a clone of the repository."
        )
    for start in only or ():
        if not any(path.name.startswith(start) for path in found):
            raise RoiganError(
                f"No notebook begins with {start!r}; there are {', '.join(p.stem for p in found)}."
            )
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def read_notebook(path):
    """The notebook's JSON. Raises RoiganError if the file is not a notebook."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        content["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RoiganError(f"{path} is not a readable notebook: restore it with git.") from error
    return content


def parameter_names(path):
    """Names assigned in the cell tagged `parameters`; RoiganError without profile and dataset.

    Papermill would only warn; its own inspection overlooks lines with an equals sign in a comment.
    """
    tagged = lambda cell: "parameters" in cell["metadata"].get("tags", ())
    cells = list(filter(tagged, read_notebook(path)["cells"]))
    if not cells:
        raise RoiganError(
            f"{Path(path).name} has no cell tagged `parameters`: tag the one that sets profile and "
            f"dataset."
        )
    nodes = ast.walk(ast.parse("".join(cells[0]["source"])))
    names = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    for name in {"profile", "dataset"} - set(names):
        raise RoiganError(
            f"{Path(path).name} has no parameter {name!r}; {suggest(name, names)}add one."
        )
    return names


def check_request(profile, dataset, parameters, known):
    """RoiganError for an unknown profile, data set or parameter, a bad seed, missing pictures."""
    from ..config import load_config
    from ..data import DATASETS, sources

    load_config(profile)
    if dataset not in DATASETS:
        raise RoiganError(
            f"There is no data set {dataset!r}; {suggest(dataset, DATASETS)}"
            f"choose one of {', '.join(DATASETS)}."
        )
    for name in set(parameters) - set(known):
        raise RoiganError(
            f"No notebook has a parameter {name!r}; {suggest(name, known)}"
            f"there are {', '.join(sorted(known))}."
        )
    if "seed" in parameters:
        check_seed(parameters["seed"], 2**32)
    if dataset != "synthfaces":
        ready, lines = sources.check(dataset, parameters.get("root"))
        if not ready:
            raise RoiganError(" ".join(lines))


def environment(profile, dataset, out):
    """Variables for the kernels: this checkout's library first, the places of what they write."""
    committed = dataset == "synthfaces" and profile in ("laptop", "thesis")
    figures = ROOT / "figures" if committed else Path(out).resolve() / "figures"
    return {
        "ROIGAN_FIGURES": os.environ.get("ROIGAN_FIGURES") or str(figures),
        "ROIGAN_RUNS": os.environ.get("ROIGAN_RUNS") or str(ROOT / "runs"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a remark of the debugger about frozen modules
    }


def execute(source, target, parameters, variables, watch):
    """Run one notebook with papermill, source -> target, in the repository root.

    variables: of the kernel's environment; watch: the `watch.Watch` that shows it. Raises
    NotebookFailed, which says what broke.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    from . import engine

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, no other
    for quiet in ("papermill", "asyncio"):  # what they would say, the sentences below say
        logging.getLogger(quiet).setLevel(logging.CRITICAL)
    options = dict(engine_name=engine.NAME, kernel_name="python3", language="python")
    options |= dict(progress_bar=False, watch=watch, variables=variables, folder=str(ROOT))
    failed = lambda how: NotebookFailed(f"{Path(source).stem} {how}")
    try:
        papermill.execute_notebook(str(source), str(target), parameters, **options)
    except papermill.PapermillExecutionError as error:
        last = _last_line(error.ename, error.evalue)
        raise failed(f"stopped in cell [{error.exec_count}]: {last}") from error
    except DeadKernelError as error:
        where = f"{watch.place} (“{watch.label}”)" if watch.place else "its last cell"
        why = "the kernel died, as it does where memory runs out."
        raise failed(f"stopped in {where}: {why}") from error
    except Exception as error:  # the disk is full, no kernel starts …: still one sentence
        raise failed(f"could not be run: {_last_line(type(error).__name__, str(error))}") from error
    if not is_complete(target):
        raise failed("was not run to its end, though no cell of it failed.")


def _last_line(kind, message):
    lines = message.strip().splitlines()
    return f"{kind}: {lines[-1].strip()}" if lines else kind


def is_complete(executed):
    """True if every code cell was executed: papermill says so, and the kernel gave it a number.

    A killed run leaves a cell `running` and the rest `pending`; a dead kernel leaves one `failed`.
    """
    try:
        return all(
            cell["metadata"]["papermill"]["status"] == "completed" and cell["execution_count"]
            for cell in filter(runs, read_notebook(executed)["cells"])
        )
    except (RoiganError, KeyError, TypeError):
        return False


def _check_complete(out, sources):
    for source in sources:
        if not is_complete(Path(out) / source.name):
            raise RoiganError(
                f"{source.stem} has not been run to its end in {out}: run `make reproduce` first."
            )


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
    parameters=None,
    store=False,
):
    """Run the series, skip what is done, write the HTML pages. Returns the path of index.html.

    Args:
        profile, dataset: names of roigan_lib.config.PROFILES and roigan_lib.data.DATASETS.
        out: folder for executed notebooks and pages; default build/<profile>-<dataset>.
        notebooks: a folder or a list of files instead of the repository's series.
        only: beginnings of notebook names, such as ["03", "08"].   force: run all again.
        parameters: {name: value}, given to each notebook that has the name in its parameters cell.
        store: afterwards put the executed notebooks in place of the repository's (maintainers).
    Raises RoiganError before anything runs for an unknown name, a folder that cannot be written or
    where another run is at work; NotebookFailed when a notebook breaks or its kernel dies: it stays
    in `out`, and the pages of what ran are written all the same.
    """
    with Watch("reproduce") as watch:
        parameters, series = dict(parameters or {}), list_notebooks(notebooks)
        chosen = list_notebooks(series, only)
        names = {path: parameter_names(path) for path in series}
        check_request(profile, dataset, parameters, {name for of in names.values() for name in of})
        out = Path(out) if out is not None else ROOT / "build" / f"{profile}-{dataset}"
        variables = environment(profile, dataset, out)
        places = [out, variables["ROIGAN_RUNS"], variables["ROIGAN_FIGURES"]]
        if store:  # what would stop it at the end stops it here
            places.append(series[0].parent)
            _check_complete(out, [path for path in series if path not in chosen])
        for folder in places:
            check_folder(folder)
        wanted = {"profile": profile, "dataset": dataset} | parameters
        plan = {
            path: {name: wanted[name] for name in wanted if name in names[path]} for path in series
        }
        checkpoints = Path(variables["ROIGAN_RUNS"]) / f"{profile}-{dataset}"
        with only_run(out):
            failure = _run_series(plan, chosen, out, variables, checkpoints, force, watch)
            watch.begin("reproduce", "writing the pages")
            index = write_pages(out, series, f"{profile} · {dataset}")
        if failure:
            raise failure
        if store:
            watch.say(f"{len(store_notebooks(out, series))} notebooks stored with their outputs")
    return index


def _run_series(plan, chosen, out, variables, checkpoints, force, watch):
    """Run what is chosen and not done, a line each; the NotebookFailed that stopped it, or None."""
    stamps = {path: read_stamp(out / f"{path.stem}.json", watch.say) for path in plan}
    known = [stamps[path].get("took", {}).get("all") for path in chosen]
    if None not in known:
        these = "these notebooks" if len(known) > 1 else "this notebook"
        watch.say(f"last time {these} took {clock(sum(known))}")
    library, made = _tree_hash(Path(__file__).resolve().parents[1], LIBRARY_FILES), []
    for source, values in plan.items():
        stamp, target = stamps[source], out / source.name
        if source in chosen:
            title = f"[{chosen.index(source) + 1}/{len(chosen)}] {source.stem}"
            key = _digest([source.read_text("utf-8"), library, values, made])
            before = _tree_hash(checkpoints)
            lost = stamp.get("made") and not before
            if stamp.get("key") == key and is_complete(target) and not (lost or force):
                watch.say(f"{title:<40} done before")
            else:
                stamp.pop("key", None)  # until the end; how long it took last time stays known
                _write_stamp(target, stamp)
                watch.begin(title, "the kernel starts", stamp.get("took"))
                try:
                    execute(source, target, values, variables, watch)
                except NotebookFailed as failure:
                    watch.say(f"{title:<40} FAILED   {time.monotonic() - watch.begun:.1f} s")
                    return failure
                seconds, after = time.monotonic() - watch.begun, _tree_hash(checkpoints)
                watch.say(f"{title:<40} ok       {seconds:.1f} s")
                stamp |= {"key": key, "seconds": seconds} | (
                    {"made": after} if after != before else {}
                )
                stamp["took"] = watch.took | {"all": round(seconds, 2)}
                _write_stamp(target, stamp)
        made += [stamp["made"]] if stamp.get("made") else []
    return None


def _write_stamp(target, stamp):
    write_atomically(target.with_suffix(".json"), json.dumps(stamp, indent=1).encode())


def store_notebooks(out, sources):
    """Put the executed notebooks of `out`, with their outputs, in place of the source files.

    Papermill's marks, injected cells, run counts, widgets without a kernel and paths of the
    checkout go. Raises RoiganError for a notebook that was not run to its end.
    """
    _check_complete(out, sources)
    for source in sources:
        content = read_notebook(Path(out) / source.name)
        kept = ("kernelspec", "language_info")
        content["metadata"] = {k: v for k, v in content["metadata"].items() if k in kept}
        tags = lambda cell: cell["metadata"].get("tags", [])
        cells = [cell for cell in content["cells"] if "injected-parameters" not in tags(cell)]
        for cell in cells:
            cell["metadata"] = {"tags": tags(cell)} if tags(cell) else {}
            for part in [cell, *cell.get("outputs", ())]:
                part.get("data", {}).pop(WIDGET, None)
                if "execution_count" in part:
                    part["execution_count"] = None
        text = json.dumps(content | {"cells": cells}, indent=1, ensure_ascii=False)
        write_atomically(source, (text.replace(f"{ROOT}/", "") + "\n").encode())
    return sources


def command(parameter=(), **options):
    """`roigan reproduce`: options of `reproduce`, parameters as texts such as "seed=1".

    Prints, and returns the exit status: 0, or 1 with one sentence on stderr when a notebook breaks,
    130 when it was stopped. A RoiganError is left to the caller.
    """
    try:
        with on_signals(signal.default_int_handler, signal.SIGTERM):
            index = reproduce(parameters=dict(map(_parse_parameter, parameter)), **options)
    except NotebookFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return 130
    print(f"open {index}")
    return 0


def _parse_parameter(text):
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise RoiganError(f"--parameter takes NAME=VALUE, not {text!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
