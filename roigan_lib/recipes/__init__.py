"""Recipes: a TOML file for each way of training and for each shipped model.

`base` names another recipe whose tables lie beneath; `[objective.weights]` replaces the whole
table. `[[stages]]` have a name and tables of their own over the recipe's, weights one by one;
`average` names the stages whose averaged weights are the model, `[stretch]` lengthens told
sliders, `[steer]` is for `roigan steer`. `making` trains what stands here.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import RoiganError, shown, suggest
from ..files import path_of, plain_file

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

RECIPES = Path(__file__).resolve().parent
PARTS = ("model", "data", "objective", "optimisation", "run")
INNER = (*PARTS, "weights")
KINDS = dict.fromkeys((*PARTS, "stretch", "steer"), dict) | {"stages": list, "average": list}
KINDS |= {"profile": str, "note": str, "exceptions": (str, list, dict)}


def recipe_names() -> list[str]:
    """The recipes that come with the kit."""
    return sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem != "profiles")


def read_toml(path) -> dict:
    """The tables of a file; RoiganError where it is no TOML."""
    path = plain_file(path, "recipe", most=2**20)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        why = str(error).rstrip(".")
        raise RoiganError(
            f"The recipe {path} cannot be read ({why}); mend or replace it."
        ) from None


def read_recipe(name: str, above: tuple = ()) -> dict:
    """The tables of a recipe, those of its `base` beneath: {"model": {…}, …, "stages": […]}.

    name: one of `recipe_names`, or the path of a .toml file. RoiganError where there is none, or it
    has a table that means nothing.
    """
    shipped = isinstance(name, str) and name in recipe_names()
    path = RECIPES / f"{name}.toml" if shipped else path_of(name, "recipe")
    if path.suffix != ".toml" or not path.exists() or path in above:
        kind = "is its own base" if path in above else "There is no recipe"
        what = f"{shown(name)} {kind}" if path in above else f"{kind} {shown(name)}"
        raise RoiganError(
            f"{what}; {suggest(name, recipe_names())}choose "
            f"one of {', '.join(recipe_names())}, or give the path of a .toml file."
        )
    tables = read_toml(path)
    base = tables.pop("base", None)
    merged = {} if base is None else read_recipe(base, (*above, path))
    for key, table in tables.items():
        if key not in KINDS:
            raise RoiganError(
                f"{path.name} has a table {key!r}; {suggest(key, PARTS)}it may have "
                f"{', '.join(PARTS)}, stages, average, stretch, steer, base, profile and note."
            )
        rows = table if isinstance(table, list) else [table]
        tables_in = [row[k] for row in rows if isinstance(row, dict) for k in INNER if k in row]
        tables_in += [t["weights"] for t in tables_in if isinstance(t, dict) and "weights" in t]
        kind = {"stages": dict, "average": str}.get(key, object)
        if not (
            isinstance(table, KINDS[key])
            and all(isinstance(row, kind) for row in rows)
            and all(isinstance(inner, dict) for inner in tables_in)
        ):
            raise RoiganError(
                f"{path.name}: {key} holds {shown(table)}, which no recipe has there."
            )
        merged[key] = merged.get(key, {}) | table if key in PARTS else table
    return merged
