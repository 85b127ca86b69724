"""The rooms of the house: imports run one way, from what uses to what is used, and in no circle."""

import ast
from pathlib import Path

import roigan_lib

LIBRARY = Path(roigan_lib.__file__).parent
# From below: a module may import what stands on an earlier line, also inside functions.
ORDER = """
errors
files
parallel recipes
checks config_checks
config precision
data
masks
models
losses perceptual regularizers
inpainter
stored picture_files
ensemble batches objective released
checkpoint
journal
training
making baselines metrics photo
plots
control
explorer studies
cli
__main__
"""
RANK = {name: i for i, line in enumerate(ORDER.strip().splitlines()) for name in line.split()}


def imports(path):
    """Absolute names of the library's modules that a file imports, anywhere in it."""
    package = ("roigan_lib", *path.relative_to(LIBRARY).with_suffix("").parts)[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                inner = f"{target}.{name.name}"
                yield inner if is_module(inner) else target


def is_module(name):
    place = LIBRARY.joinpath(*name.split(".")[1:])
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def files():
    return [path for path in sorted(LIBRARY.rglob("*.py")) if path != LIBRARY / "__init__.py"]


def room(parts):
    return parts[0].removesuffix(".py")


def test_every_module_has_a_place():
    assert {room(path.relative_to(LIBRARY).parts) for path in files()} == set(RANK)


def test_no_arrow_runs_against_the_order():
    wrong = []
    for path in files():
        own = room(path.relative_to(LIBRARY).parts)
        for name in imports(path):
            other = (name.split(".") + [own])[1]
            if other != own and RANK[other] >= RANK[own]:
                wrong.append(f"{path.relative_to(LIBRARY)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_circle_within_a_room():
    names = {}
    for path in files():
        parts = ["roigan_lib", *path.relative_to(LIBRARY).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found = {name: {n for n in imports(path) if n != name} for name, path in names.items()}
    # a package's __init__ gathers its modules; these look at each other, not at it
    while found:
        free = {n for n, needs in found.items() if not needs & found.keys()}
        assert free, f"a circle among {sorted(found)}"
        found = {n: needs for n, needs in found.items() if n not in free}


METHOD, ALL = 2080, 12352  # the plan is 1,800 and 8,000: these may only fall


def test_lines_only_become_fewer():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    path_of = "masks models/layers models/generator models/discriminator losses objective training"
    method = sum(lines[LIBRARY / f"{n}.py"] for n in [*path_of.split(), "inpainter", "config"])
    assert method <= METHOD and sum(lines.values()) <= ALL, (method, sum(lines.values()))
