"""The fast tests with the lowest versions that pyproject.toml names and with the index's newest.

python tests/versions.py --python python3.10 python3.13: an environment for each Python and each
resolution, one after the other, by uv (pip install uv), from wheels alone. The table goes to
tests/versions.md: a row for each environment, what was installed and what pytest said.

With --package: wheel and sdist are built of the last commit, in a folder with spaces and umlauts,
and each goes into an empty environment there, in which README's Python block has to run.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE, README = ROOT / "tests" / "versions.md", ROOT / "README.md"
SHOWN = "torch torchvision numpy pillow opencv-python-headless safetensors tyro pandas scipy onnx"
HEAD = ["Python", "versions", *SHOWN.split(), "passed", "failed", "skipped", "minutes"]


def build(uv, python, resolution, folder):
    """An environment in `folder`; the path of its Python."""
    run = lambda *words: subprocess.run([uv, *map(str, words)], check=True, cwd=ROOT)
    made = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not made.exists():  # as of an earlier call with --where
        run("venv", "--quiet", "--python", shutil.which(python) or python, folder)
    asked = ["--resolution", resolution, "--extra", "notebooks", "--extra", "test"]
    run("pip", "install", "--quiet", "--python", made, "--only-binary", ":all:", *asked, "-r",
        "pyproject.toml")  # fmt: skip
    return made


def row_of(uv, made, resolution, arguments):
    """A row of the table, and what pytest said of what failed."""
    ask = [made, "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    listed = [uv, "pip", "list", "--python", str(made), "--format", "freeze"]
    listed = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    there = dict(line.lower().split("==") for line in listed.splitlines() if "==" in line)
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"PYTHONPATH": str(ROOT), "ROIGAN_CACHE": cache}
        env["PATH"] = f"{made.parent}{os.pathsep}{env['PATH']}"
        tests = [made, "-m", "pytest", "tests", "-m", "not slow", "-q", "-p", "no:cacheprovider"]
        began = time.monotonic()
        done = subprocess.run(
            [*tests, *arguments], cwd=ROOT, env=env, capture_output=True, text=True
        )
    count = lambda word: int((re.findall(rf"(\d+) {word}", done.stdout[-400:]) or [0])[-1])
    counts = [count("passed"), count("failed") + count("errors?"), count("skipped")]
    minutes = f"{(time.monotonic() - began) / 60:.1f}"
    failed = re.findall(r"^(?:FAILED|ERROR) .*$", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1):
        failed.append(done.stdout[-2000:] + done.stderr[-2000:])
    row = [version, resolution, *(there.get(name, "") for name in SHOWN.split()), *counts, minutes]
    return [str(value) for value in row], failed


def packaged(uv, python):
    """What went wrong with wheel and sdist, a line each."""
    wrong = []
    block = re.search(
        r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    with tempfile.TemporaryDirectory(prefix="roigan-package-") as scratch:
        place = Path(scratch, "ein Ordner für Umläute")
        commit = subprocess.run(
            ["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(commit.stdout)) as archive:
            archive.extractall(place / "check out", filter="data")
        subprocess.run(
            [uv, "build", "--quiet", "--out-dir", place, place / "check out"], check=True
        )
        for file in sorted([*place.glob("*.whl"), *place.glob("*.tar.gz")]):
            there = place / f"environment of {file.suffix}"
            subprocess.run([uv, "venv", "--quiet", "--python", python, there], check=True)
            made = there / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            install = [uv, "pip", "install", "--quiet", "--python", made]
            subprocess.run([*install, f"roigan-lib[notebooks] @ {file.as_uri()}"], check=True)
            for words in ([made, "-c", block[1]], [made.with_name("roigan"), "models"]):
                done = subprocess.run(words, cwd=place, capture_output=True, text=True)
                if done.returncode:
                    wrong.append(f"{file.name}: {words[1][:20]}: {done.stderr[-500:]}")
            print(f"{file.name}: {'failed' if wrong else 'runs README'}", flush=True)
    return wrong


def written(rows):
    """The rows as a table in Markdown, those of earlier calls kept where they are not made anew."""
    old = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.is_file() else []
    kept = [[cell.strip() for cell in line.strip("|").split("|")] for line in old]
    found = {(r[0], r[1]): r for r in kept if len(r) == len(HEAD) and r[0][:1].isdigit()}
    found |= {(r[0], r[1]): r for r in rows}
    lines = [HEAD, ["---"] * len(HEAD), *(found[key] for key in sorted(found))]
    text = "# The fast tests with old and new versions\n\nMade by `python tests/versions.py`.\n\n"
    TABLE.write_text(text + "".join(f"| {' | '.join(line)} |\n" for line in lines), "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="names or paths")
    parser.add_argument("--resolution", nargs="+", default=["lowest-direct", "highest"])
    parser.add_argument("--where", default=None, help="folder of the environments, kept")
    parser.add_argument("--package", action="store_true", help="wheel and sdist, as said above")
    parser.add_argument("tests", nargs="*", help="further arguments of pytest")
    asked, rows, wrong = parser.parse_args(), [], 0
    uv = shutil.which("uv") or sys.exit("There is no uv here: pip install uv.")
    if asked.package:
        print(*(wrong := packaged(uv, asked.python[0])), sep="\n")
        return min(len(wrong), 1)
    for python in asked.python:
        for resolution in asked.resolution:
            with tempfile.TemporaryDirectory(prefix="roigan-versions-") as scratch:
                folder = Path(asked.where or scratch) / f"{Path(python).name}-{resolution}"
                made = build(uv, python, resolution, folder)
                row, failed = row_of(uv, made, resolution, asked.tests)
            rows.append(row)
            written(rows)
            wrong += len(failed)
            print(" ".join(row), *failed, sep="\n", flush=True)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
