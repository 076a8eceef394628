"""Recipes: the published pairs of teacher and student in `examples/paper`, which the package contains."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from fgd_core.errors import NotFoundError
from fgd_core.spec.recipes import Publication, Recipe
from fgd_core.spec.refusals import closest

# A link to the folder of examples: the repository and the installed package show the same files.
_FOLDER = Path(__file__).with_name("paper")
_INDEX: TypeAdapter[dict[str, Publication]] = TypeAdapter(dict[str, Publication])


@cache
def recipes() -> Mapping[str, Recipe]:
    """Return the recipes by name, in the order of the index."""
    index = _INDEX.validate_python(yaml.safe_load((_FOLDER / "index.yaml").read_text("utf-8")))
    return {name: _recipe(name, publication) for name, publication in index.items()}


def recipe_text(name: str) -> str:
    """Return a recipe's file, with its comments.

    Raises:
        NotFoundError: there is no recipe with this name.
    """
    if name not in recipes():
        raise NotFoundError(f"there is no recipe {name!r}; {closest(name, recipes())}")
    return (_FOLDER / f"{name}.yaml").read_text("utf-8")


def _recipe(name: str, publication: Publication) -> Recipe:
    spec: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text("utf-8"))
    teacher_file = Path(spec["teacher"]["checkpoint"]).name
    return Recipe(name=name, publication=publication, teacher_file=teacher_file, spec=spec)
