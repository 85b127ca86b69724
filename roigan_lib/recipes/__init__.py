"""Recipes: a TOML file for each way of training and for each shipped model."""

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
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str) -> dict:
    """The tables of a recipe, those of its `base` beneath: {"model": {…}, …, "stages": […]}.

    name: one of `recipe_names`, or the path of a .toml file. RoiganError where there is none, or it
    names a table or a field that does not exist.
    """
    path = Path(name) if str(name).endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        raise RoiganError(
            f"There is no recipe {str(name)!r}; {suggest(name, recipe_names())}choose "
            f"one of {', '.join(recipe_names())}, or give the path of a .toml file."
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RoiganError(f"The recipe {path} cannot be read: {error}.") from None
    merged = read_recipe(tables.pop("base")) if "base" in tables else {}
    for key, table in tables.items():
        if key in PARTS:
            merged[key] = merged.get(key, {}) | table
        elif key in ("profile", "note", "average", "stages", "exceptions"):
            merged[key] = table
        else:
            raise RoiganError(
                f"{path.name} has a table {key!r}; {suggest(key, PARTS)}it may have "
                f"{', '.join(PARTS)}, stages, average, base, profile and note."
            )
    return merged
