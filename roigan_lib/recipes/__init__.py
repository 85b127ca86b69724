"""Recipes: a TOML file for each way of training and for each shipped model.

`base` names another recipe whose tables lie beneath; `[objective.weights]` replaces the whole
table. `[[stages]]` have a name and tables of their own over the recipe's, weights one by one;
`average` names the stages whose averaged weights are the model, `[stretch]` lengthens told
sliders. `making` trains what stands here.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import RoiganError, suggest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

RECIPES = Path(__file__).resolve().parent
PARTS = ("model", "data", "objective", "optimisation", "run")


def recipe_names() -> list[str]:
    """The recipes that come with the kit."""
    return sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem != "profiles")


def read_toml(path) -> dict:
    """The tables of a file; RoiganError where it is no TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RoiganError(f"The recipe {path} cannot be read: {error}.") from None


def read_recipe(name: str) -> dict:
    """The tables of a recipe, those of its `base` beneath: {"model": {…}, …, "stages": […]}.

    name: one of `recipe_names`, or the path of a .toml file. RoiganError where there is none, or it
    has a table that means nothing.
    """
    path = Path(name) if str(name).endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        raise RoiganError(
            f"There is no recipe {str(name)!r}; {suggest(name, recipe_names())}choose "
            f"one of {', '.join(recipe_names())}, or give the path of a .toml file."
        )
    tables = read_toml(path)
    merged = read_recipe(tables.pop("base")) if "base" in tables else {}
    for key, table in tables.items():
        if key in PARTS:
            merged[key] = merged.get(key, {}) | table
        elif key in ("profile", "note", "average", "stretch", "stages", "exceptions"):
            merged[key] = table
        else:
            raise RoiganError(
                f"{path.name} has a table {key!r}; {suggest(key, PARTS)}it may have "
                f"{', '.join(PARTS)}, stages, average, stretch, base, profile and note."
            )
    return merged
