"""The frame: bounds on every dependency, one list of them, package data, a quick import, files the README names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import roigan_lib

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest there

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [
    Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
]
TEXT = (".py", ".md", ".toml", ".yml", ".lock", ".json", ".jsonl", ".js", ".css")


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
        "-e .[test]",
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
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), (
            requirement.name
        )


def test_imports_in_the_library_are_declared():
    comes_with = {
        "cv2": "opencv-python-headless",
        "PIL": "pillow",
        "IPython": "ipywidgets",
        "traitlets": "ipywidgets",
        "pygments": "nbconvert",
        "skimage": "scikit-image",
    }
    declared = {
        canonicalize_name(requirement.name)
        for requirement in DEPENDENCIES[: len(PROJECT["dependencies"])]
    }
    for path in (ROOT / "roigan_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = (
                    [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
                )
            for name in (
                {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"roigan_lib"}
            ):
                assert canonicalize_name(comes_with.get(name, name)) in declared, (
                    f"{path.name} imports {name}"
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
        roigan_lib.lod_model


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


def test_files_and_links_that_the_readme_names_exist():
    for target in re.findall(r"\]\(((?!https?:|#)[^)\s]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_make_explains_a_missing_python():
    command = ["make", "install", "VENV=build/none", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode
        and "There is no no-such-python: install Python 3.10 or newer" in done.stdout
    )
    assert not (ROOT / "build" / "none").exists()
