"""The frame: dependencies and their bounds, package data, a quick import, the README's links."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import roigan_lib

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest there

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["optional-dependencies"].items()
}
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
DEPENDENCIES = [r for r in sum(EXTRAS.values(), CORE) if r.name != PROJECT["name"]]
TEXT = (".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".lock", ".json", ".jsonl", ".js", ".css")


@pytest.mark.parametrize("requirement", DEPENDENCIES, ids=lambda r: r.name)
def test_every_dependency_has_both_bounds(requirement):
    assert {clause.operator for clause in requirement.specifier} == {">=", "<"}


def test_environment_yml_is_the_same_list():
    text = (ROOT / "environment.yml").read_text()
    assert f"python {PROJECT['requires-python']}" in text
    items = re.findall(r"^ +- (.+)$", text, re.MULTILINE)
    assert items == [
        "conda-forge",
        f"python {PROJECT['requires-python']}",
        "pip",
        "git",
        "make",
        "pip:",
        "-e .[notebooks,test]",
    ]


def test_the_lock_has_each_dependency_within_its_bounds():
    lines = [
        line
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert all(
        re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines
    )  # exact, no local builds, no paths
    assert not [line for line in lines if line.startswith(("nvidia", "cuda", "triton"))]
    locked = {
        canonicalize_name(name): version for name, version in (line.split("==") for line in lines)
    }
    for requirement in DEPENDENCIES:
        if requirement.marker is None and requirement not in EXTRAS["dev"]:
            version = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement.name


COMES_WITH = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "IPython": "ipywidgets",
    "traitlets": "ipywidgets",
    "nbclient": "papermill",
    "tomllib": "tomli",  # Python 3.10
    "nbformat": "nbconvert",
    "pygments": "nbconvert",
}


def foreign(tree):
    """Top names of what a module's code imports from elsewhere, with the depth of the statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            absolute = isinstance(node, ast.ImportFrom) and node.level == 0
            names = [node.module] if absolute else []
        top = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"roigan_lib"}
        yield from (canonicalize_name(COMES_WITH.get(name, name)) for name in top)


@pytest.mark.slow
def test_imports_in_the_library_are_declared():
    declared = {canonicalize_name(r.name) for r in DEPENDENCIES}
    for path in (ROOT / "roigan_lib").rglob("*.py"):
        undeclared = set(foreign(ast.parse(path.read_text(encoding="utf-8")))) - declared
        assert not undeclared, f"{path.name} imports {undeclared}"


@pytest.mark.slow
def test_every_dependency_is_imported_or_a_program():
    """What nothing imports goes, but for programs and what others import."""
    programs = {"jupyterlab", "nbval", "pytest-xdist", "ruff", "pre-commit", "jinja2"}
    programs |= {"snakemake", "snakemake-executor-plugin-slurm"}  # workflow/Snakefile
    programs |= {"onnxruntime", "dlib-bin", "face-recognition-models"}  # test_page's, notebook 12's
    sources = [*(ROOT / "roigan_lib").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    used = {name for path in sources for name in foreign(ast.parse(path.read_text("utf-8")))}
    assert {canonicalize_name(r.name) for r in DEPENDENCIES} - programs <= used


BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
"""


def run_without(extras, code, cwd):
    """Run code in a Python to which the packages of all extras seem not to be installed."""
    names = {canonicalize_name(r.name) for r in extras}
    absent = names | {name for name, home in COMES_WITH.items() if home in names}
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(absent=absent - {"tomli"}) + code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_core_completes_a_picture_and_an_absent_extra_is_one_sentence(tmp_path):
    core = {r.name for r in CORE}
    extras = [r for r in DEPENDENCIES if r.name not in core]
    Image.new("RGB", (80, 80), "gray").save(tmp_path / "a.png")
    inpaint = "inpaint a.png --crop square --model celeba --out b.png".split()
    code = f"from roigan_lib.cli import main; sys.exit(main({inpaint}))"
    done = run_without(extras, code, tmp_path)
    assert done.returncode == 0 and (tmp_path / "b.png").exists(), done.stderr
    done = run_without(extras, "import roigan_lib; roigan_lib.explore", tmp_path)
    assert "RoiganError: anywidget is not installed: pip install 'roigan-lib[" in done.stderr
    code = "from roigan_lib.cli import main; sys.exit(main(['reproduce']))"
    done = run_without(extras, code, tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: \w+ is not installed: pip install '.*\[notebooks\]'\.\n", done.stderr
    )


def test_package_data_is_present_and_covered():
    folder = ROOT / "roigan_lib"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]["*"]
    data = [
        p
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts
    ]
    assert {"explorer.js", "explorer.css"} <= {p.name for p in data}
    assert any(p.suffix == ".safetensors" for p in (folder / "weights").iterdir())
    stray = [
        p.name
        for p in data
        if not any(p.match(pattern) for pattern in patterns) and p.suffix != ".md"
    ]
    assert not stray, "files that an installed package would lack"


def test_importing_the_package_is_quick_and_leaves_torch_alone():
    code = (
        "import time, sys; t = time.perf_counter(); import roigan_lib; "
        "print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, torch_loaded = done.stdout.split()
    assert float(seconds) < 1 and torch_loaded == "False"


def test_public_names_resolve_and_a_wrong_one_is_explained():
    for name in roigan_lib.__all__:
        assert getattr(roigan_lib, name) is not None
    with pytest.raises(AttributeError, match="load_model"):
        getattr(roigan_lib, "lod_model")  # noqa: B009 (a name that is not there)


def test_nothing_committed_names_a_path_of_one_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for path in (ROOT / name for name in listed.stdout.splitlines()):
        if (
            path.suffix in TEXT
            and path.is_file()
            and path.parent != Path(__file__).resolve().parent
        ):
            assert not re.search(r"/(?:work|root|home)/\w", path.read_text(encoding="utf-8")), (
                path.name
            )


DOCS = ("using", "results", "grid", "scaling", "cost")
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in DOCS)]


@pytest.mark.parametrize("page", PAGES)
def test_files_and_links_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(((?!https?:|#)[^)\s]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_readme_is_short_and_its_pictures_are_described():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1500
    pictures = re.findall(r"!\[([^\]]*)\]\(", text)
    assert len(pictures) >= 2 and all(len(words.split()) >= 5 for words in pictures)


def test_every_notebook_stands_in_the_course_map():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"\(notebooks/([\w]+)\.ipynb\) \| ", text)
    there = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb")}
    assert not there - set(found)


@pytest.mark.parametrize("venv", ["build/none", "build/no ne für alle"])
def test_make_explains_a_missing_python(venv):
    command = ["make", "install", f"VENV={venv}", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode
        and "There is no no-such-python: install Python 3.10 or newer" in done.stdout
    )
    assert not (ROOT / venv).exists()


def test_jupyterlab_begins_where_the_figures_of_the_chapters_can_be_seen():
    command = ["make", "--dry-run", "lab"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if "jupyter lab" in line)
    words = line.split("jupyter lab", 1)[1].split()
    assert words == ["--LabApp.default_url=/lab/tree/notebooks"]  # a folder would be its root


@pytest.mark.parametrize("name", ["venv", "no ne für alle"])
def test_make_leaves_the_environment_of_another_checkout_alone(name, tmp_path):
    (tmp_path / name / "bin").mkdir(parents=True)
    python = tmp_path / name / "bin" / "python"
    python.write_text("#!/bin/sh\necho installed\n")
    python.chmod(0o755)
    stamp = tmp_path / name / ".roigan-installed"
    command = ["make", "install", f"VENV={tmp_path / name}"]
    alone = {key: text for key, text in os.environ.items() if not key.startswith("MAKE")}

    def install():  # as from a shell, also where `make test` runs this
        return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True)

    stamp.write_text("/another/checkout\n")
    os.utime(stamp, (1, 1))
    done = install()
    assert done.returncode and "runs the checkout in /another/checkout: name another" in done.stdout
    assert stamp.read_text() == "/another/checkout\n"
    for before in ("", f"{ROOT}\n", None):  # a stamp of older versions is empty
        if before is None:
            stamp.unlink()
        else:
            stamp.write_text(before)
            os.utime(stamp, (1, 1))
        assert "installed" in install().stdout and stamp.read_text() == f"{ROOT}\n"
    assert not install().stdout  # nothing is left to do


@pytest.mark.slow
def test_the_additions_of_contributing_run_as_they_stand(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    done = run_without([], code, tmp_path)
    assert code and done.returncode == 0, done.stderr


def test_version_is_the_same_everywhere():
    version = roigan_lib.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == version
