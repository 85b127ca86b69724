"""The rooms of the house: imports run one way, from what uses to what is used, and in no circle."""

import ast
import io
import tokenize
from pathlib import Path

import roigan_lib

LIBRARY = Path(roigan_lib.__file__).parent
# From below: a module may import what stands on an earlier line, also inside functions.
ORDER = """
errors
files
parallel recipes
checks
config_checks mixtures
config precision
data
masks
models
losses perceptual regularizers
inpainter labelled
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


# Physical lines of the reading path and of all Python, and lines of code: all but blank ones,
# comments and docstrings. The plan is 1,800, 8,000 and 7,500; these rise only with a new feature.
METHOD, ALL, CODE = 1800, 15196, 10620


def code_lines(text):
    """The numbers of the lines that hold code: a token that is no comment, and no docstring."""
    told = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            told |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*silent, tokenize.ENDMARKER):
            found |= set(range(token.start[0], token.end[0] + 1))
    return found - told


def test_lines_only_become_fewer():
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(LIBRARY.rglob("*.py"))}
    lines = {path: len(text.splitlines()) for path, text in texts.items()}
    path_of = "masks models/layers models/generator models/discriminator losses objective training"
    method = sum(lines[LIBRARY / f"{n}.py"] for n in [*path_of.split(), "inpainter", "config"])
    found = method, sum(lines.values()), sum(len(code_lines(text)) for text in texts.values())
    assert all(now <= most for now, most in zip(found, (METHOD, ALL, CODE))), found
