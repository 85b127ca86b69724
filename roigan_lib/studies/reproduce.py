"""Run the notebook series from disk to a page one can click through: `make reproduce`.

Each notebook is executed by papermill into build/<profile>-<dataset>/, with the repository root as working directory.
A stamp beside it records a hash of what went in (the notebook, the library, the parameters, the checkpoints that
earlier notebooks made), so that a second run skips what is done and a killed one goes on where it stopped; and how long
every cell took, which the terminal shows the next time (see `watch`).

Pictures go where ROIGAN_FIGURES says. Left unset, it means figures/ for the laptop and thesis profiles on synthfaces,
the ones committed; any other run keeps its pictures in its own build folder. Checkpoints go below ROIGAN_RUNS
(default runs/).
"""

import ast
import contextlib
import difflib
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
from .pages import read_stamp, write_pages
from .watch import Watch, clock

ROOT = Path(__file__).resolve().parents[2]
LIBRARY_FILES = (".py", ".json", ".js", ".css", ".safetensors")


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error: one sentence with its name, the cell and the error's last line."""


# --- what there is to run ---------------------------------------------------------------------------------------------


def list_notebooks(where=None, only=None):
    """Sorted paths of NN_name.ipynb. where: a folder or a list of files; only: beginnings of names, such as "03"."""
    where = ROOT / "notebooks" if where is None else where
    if isinstance(where, (str, Path)):
        found = sorted(Path(where).glob("[0-9][0-9]_*.ipynb"))
    else:
        found = [Path(path) for path in where]
    if not found:
        raise RoiganError(
            f"There are no notebooks in {where}: run this from a clone of the repository."
        )
    for path in found:
        if not path.is_file():
            raise RoiganError(f"There is no notebook {path}.")
    for start in only or ():
        if not any(path.name.startswith(start) for path in found):
            raise RoiganError(
                f"No notebook begins with {start!r}; there are {', '.join(p.stem for p in found)}."
            )
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def read_notebook(path):
    """The notebook's JSON; RoiganError if the file is not a notebook."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        content["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise RoiganError(f"{path} is not a readable notebook: restore it with git.") from error
    return content


def parameter_names(path):
    """Names assigned in the cell tagged `parameters`, in order; RoiganError if there is no such cell."""
    for cell in read_notebook(path)["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            try:
                tree = ast.parse("".join(cell["source"]))
            except SyntaxError as error:
                raise RoiganError(
                    f"The parameters cell of {Path(path).name} is not Python: {error.msg}."
                ) from error
            targets = [
                t
                for node in tree.body
                if isinstance(node, (ast.Assign, ast.AnnAssign))
                for t in getattr(node, "targets", None) or [node.target]
            ]
            return [t.id for t in targets if isinstance(t, ast.Name)]
    raise RoiganError(
        f"{Path(path).name} has no cell tagged `parameters`: tag the one that sets profile and dataset."
    )


def choose_parameters(path, wanted):
    """The part of `wanted` that this notebook takes. A near miss in the notebook (`proflie`) is an error, since
    papermill would only warn and run with the default."""
    names = parameter_names(path)
    for name in wanted:
        close = difflib.get_close_matches(
            name, [n for n in names if n not in wanted], n=1, cutoff=0.75
        )
        if name not in names and close:
            raise RoiganError(
                f"{Path(path).name} has no parameter {name!r}: did you mean {close[0]!r}?"
            )
    return {name: value for name, value in wanted.items() if name in names}


def check_request(profile, dataset, parameters, notebooks):
    """RoiganError for an unknown profile, data set, a parameter that none of the notebooks has, a seed that cannot be, or
    pictures that are not there."""
    from ..config import load_config
    from ..data import DATASETS, sources

    load_config(profile)
    if dataset not in DATASETS:
        raise RoiganError(
            f"There is no data set {dataset!r}; {suggest(dataset, DATASETS)}"
            f"choose one of {', '.join(DATASETS)}."
        )
    known = {name for path in notebooks for name in parameter_names(path)}
    for name in parameters:
        if name not in known:
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


# --- running one, and knowing that it ran -----------------------------------------------------------------------------


def build_folder(out, profile, dataset):
    """Where executed notebooks and pages go: `out`, else build/<profile>-<dataset> in the repository."""
    return Path(out) if out is not None else ROOT / "build" / f"{profile}-{dataset}"


def environment(profile, dataset, out):
    """Variables the kernels see: this checkout's library first, and where figures and checkpoints go."""
    committed = dataset == "synthfaces" and profile in ("laptop", "thesis")
    figures = ROOT / "figures" if committed else Path(out).resolve() / "figures"
    path = [str(ROOT)] + [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return {
        "ROIGAN_FIGURES": os.environ.get("ROIGAN_FIGURES") or str(figures),
        "ROIGAN_RUNS": os.environ.get("ROIGAN_RUNS") or str(ROOT / "runs"),
        "PYTHONPATH": os.pathsep.join(path),
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one in the user's home
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }  # silences the debugger's remark about frozen modules


@contextlib.contextmanager
def _environ(values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def execute(source, target, parameters, variables, watch):
    """Run one notebook with papermill: source -> target, cwd = repository root. NotebookFailed says what broke.

    watch: the `watch.Watch` that shows it.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    from . import engine  # noqa: F401 (registers itself)

    name = Path(source).stem
    for quiet in ("papermill", "asyncio"):  # what they would say, the sentences below say
        logging.getLogger(quiet).setLevel(logging.CRITICAL)
    with _environ(variables):
        try:
            papermill.execute_notebook(
                str(source),
                str(target),
                parameters,
                kernel_name="python3",
                language="python",
                cwd=str(ROOT),
                progress_bar=False,
                start_timeout=180,
                engine_name="roigan",
                extra_arguments=["--log-level=CRITICAL"],
                watch=watch,
            )
        except papermill.PapermillExecutionError as error:
            last = _last_line(error.ename, error.evalue)
            raise NotebookFailed(f"{name} stopped in cell [{error.exec_count}]: {last}") from error
        except DeadKernelError as error:
            raise NotebookFailed(
                f"{name} stopped in {watch.failed or 'its last cell'}: the kernel died, as it does where "
                f"memory runs out."
            ) from error
        except Exception as error:  # the disk is full, no kernel starts …: still one sentence
            raise NotebookFailed(
                f"{name} could not be run: {_last_line(type(error).__name__, str(error))}"
            ) from error
    if not is_complete(target):
        raise NotebookFailed(f"{name} was not run to its end, though no cell of it failed.")


def _last_line(kind, message):
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"{kind}: {lines[-1]}" if lines else kind


def library_hash():
    """A digest of roigan_lib's code and shipped weights: what the notebooks' results depend on besides themselves."""
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parent.parent
    for path in sorted(
        p for p in folder.rglob("*") if p.suffix in LIBRARY_FILES and "__pycache__" not in p.parts
    ):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def files_hash(folder):
    """A digest of names, sizes and times of the files below a folder; "" if there are none."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file() and p.name != ".lock")
    rows = [f"{p.relative_to(folder)} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest() if rows else ""


def _key(*inputs):
    """A digest of what a notebook's results depend on; a path stands for the file's content."""
    content = [
        hashlib.sha256(i.read_bytes()).hexdigest() if isinstance(i, Path) else i for i in inputs
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _write_stamp(path, stamp):
    part = path.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=1))
    os.replace(part, path)


def is_complete(executed):
    """True if every code cell was really executed: papermill says so, and the kernel gave it a number.

    A killed run leaves one cell `running` and the rest `pending`; a kernel that died leaves one `failed`.
    """
    try:
        cells = read_notebook(executed)["cells"]
        return all(
            c["metadata"].get("papermill", {}).get("status") == "completed" and c["execution_count"]
            for c in cells
            if c["cell_type"] == "code" and "".join(c["source"]).strip()
        )
    except (OSError, RoiganError, KeyError, TypeError, AttributeError):
        return False


def reproduce(
    profile="laptop",
    dataset="synthfaces",
    out=None,
    notebooks=None,
    force=False,
    only=None,
    parameters=None,
):
    """Run the series, skip what is done, write the HTML pages. Returns the path of index.html.

    Args:
        profile, dataset: names of roigan_lib.config.PROFILES and roigan_lib.data.DATASETS.
        out: folder for executed notebooks and pages; default build/<profile>-<dataset> in the repository.
        notebooks: a folder or a list of files instead of the repository's series.
        force: run all again.   only: beginnings of notebook names, such as ["03", "08"].
        parameters: {name: value}, given to each notebook that has the name in its parameters cell.
    Raises RoiganError before anything runs for an unknown name, a folder that cannot be written or where another run is
    at work; NotebookFailed when a notebook breaks or its kernel dies: the broken notebook stays in `out`, and the pages
    of what ran are written all the same.
    """
    with Watch("reproduce") as watch:
        series = list_notebooks(notebooks)
        check_request(profile, dataset, parameters or {}, series)
        chosen = list_notebooks(series, only)
        out = build_folder(out, profile, dataset)
        variables = environment(profile, dataset, out)
        wanted = {"profile": profile, "dataset": dataset, **(parameters or {})}
        plan = [(path, choose_parameters(path, wanted)) for path in series]
        for folder in (out, variables["ROIGAN_RUNS"], variables["ROIGAN_FIGURES"]):
            check_folder(folder)
        checkpoints = Path(variables["ROIGAN_RUNS"]) / f"{profile}-{dataset}"
        with only_run(out):
            failure = _run_series(plan, chosen, out, variables, checkpoints, force, watch)
            watch.begin("reproduce", "writing the pages")
            index = write_pages(out, series, f"{profile} · {dataset}")
    if failure:
        raise failure
    return index


def _run_series(plan, chosen, out, variables, checkpoints, force, watch):
    """Run what is chosen and not done, a line each; returns the NotebookFailed that stopped it, or None."""
    library, made = library_hash(), []
    known = [read_stamp(out / f"{path.stem}.json").get("took", {}).get("all") for path in chosen]
    if None not in known:
        watch.say(
            f"last time {'these notebooks' if len(known) > 1 else 'this notebook'} took {clock(sum(known))}"
        )
    for source, values in plan:
        stamp_path, target = out / f"{source.stem}.json", out / source.name
        stamp = read_stamp(stamp_path, watch.say)
        if source in chosen:
            title = f"[{chosen.index(source) + 1}/{len(chosen)}] {source.stem}"
            key = _key(source, library, values, made)
            lost = stamp.get("made") and not files_hash(checkpoints)
            if stamp.get("key") == key and is_complete(target) and not lost and not force:
                watch.say(f"{title:<40} done before")
            else:
                stamp.pop("key", None)  # until the end; how long it took last time stays known
                _write_stamp(stamp_path, stamp)
                before, start = files_hash(checkpoints), time.monotonic()
                watch.begin(title, "the kernel starts", stamp.get("took"))
                try:
                    execute(source, target, values, variables, watch)
                except NotebookFailed as failure:
                    watch.say(f"{title:<40} FAILED   {time.monotonic() - start:.1f} s")
                    return failure
                after, seconds = files_hash(checkpoints), time.monotonic() - start
                watch.say(f"{title:<40} ok       {seconds:.1f} s")
                stamp = {
                    "key": key,
                    "seconds": seconds,
                    "made": after if after != before else stamp.get("made"),
                    "took": watch.took | {"all": round(seconds, 2)},
                }
                _write_stamp(stamp_path, stamp)
        made += [stamp["made"]] if stamp.get("made") else []
    return None


def _check_complete(out, sources):
    for source in sources:
        if not is_complete(Path(out) / source.name):
            raise RoiganError(
                f"{source.stem} has not been run to its end in {out}: run `make reproduce` first."
            )


def store(out, series=None):
    """Put the executed notebooks of `out` in place of the repository's, with their outputs and nothing of this machine.

    Papermill's marks, injected cells, timings, widget states without a kernel and paths of the checkout go.
    RoiganError for a notebook that was not run to its end. Returns the paths written.
    """
    written, sources = [], list_notebooks(series)
    _check_complete(out, sources)
    for source in sources:
        content = read_notebook(Path(out) / source.name)
        content["metadata"] = {
            k: v for k, v in content["metadata"].items() if k in ("kernelspec", "language_info")
        }
        content["cells"] = [
            c
            for c in content["cells"]
            if "injected-parameters" not in c["metadata"].get("tags", ())
        ]
        count = 0
        for cell in content["cells"]:
            cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k == "tags" and v}
            if cell["cell_type"] == "code":
                count += 1
                cell["execution_count"] = count
                for output in cell["outputs"]:
                    if "execution_count" in output:
                        output["execution_count"] = count
                    output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        text = json.dumps(content, indent=1, ensure_ascii=False).replace(f"{ROOT}/", "")
        part = source.with_suffix(".part")
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, source)
        written.append(source)
    return written


# --- the command line -------------------------------------------------------------------------------------------------


def add_arguments(parser):
    """Options of `python -m roigan_lib reproduce`."""
    parser.add_argument(
        "--profile", default="laptop", help="smoke | laptop | thesis (default: laptop)"
    )
    parser.add_argument(
        "--dataset",
        default="synthfaces",
        help="synthfaces | celeba | cats | cars | folder (default: synthfaces)",
    )
    parser.add_argument("--out", help="folder for the result (default: build/<profile>-<dataset>)")
    parser.add_argument("--notebooks", help="folder of notebooks (default: the repository's)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NN",
        help="run only notebooks whose names begin so, e.g. 03 08",
    )
    parser.add_argument(
        "--store",
        action="store_true",
        help="afterwards put the executed notebooks in place of the repository's (for maintainers)",
    )
    parser.add_argument("--force", action="store_true", help="run again what is done")
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter in the notebooks that have it, e.g. -p seed=1",
    )


def _parse_parameter(text):
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise RoiganError(f"--parameter takes NAME=VALUE, not {text!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def run(args):
    """Exit status: 0, or 1 with one sentence on stderr when a notebook breaks. A RoiganError is left to the caller."""
    parameters = dict(_parse_parameter(text) for text in args.parameter)
    if args.store:  # what would stop it at the end stops it here
        series = list_notebooks(args.notebooks)
        check_folder(series[0].parent)
        chosen = list_notebooks(series, args.only)
        _check_complete(
            build_folder(args.out, args.profile, args.dataset),
            [path for path in series if path not in chosen],
        )
    try:
        with on_signals(signal.default_int_handler, signal.SIGTERM):
            index = reproduce(
                args.profile,
                args.dataset,
                out=args.out,
                notebooks=args.notebooks,
                force=args.force,
                only=args.only,
                parameters=parameters,
            )
    except NotebookFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return 130
    if args.store:
        print(
            f"{len(store(Path(index).parent, args.notebooks))} notebooks stored with their outputs"
        )
    print(f"open {index}")
    return 0
