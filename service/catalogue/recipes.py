"""The published pairs of `examples/paper`, which the package carries along."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from fgd_core.errors import NotFoundError
from fgd_core.spec.recipes import Publication, Recipe
from fgd_core.spec.refusals import closest

# A link to the folder of examples: who reads them there and who installs the package sees the same files.
_FOLDER = Path(__file__).with_name("paper")
_INDEX: TypeAdapter[dict[str, Publication]] = TypeAdapter(dict[str, Publication])


@cache
def recipes() -> Mapping[str, Recipe]:
    """By name, in the order of the index."""
    index = _INDEX.validate_python(yaml.safe_load((_FOLDER / "index.yaml").read_text("utf-8")))
    return {name: _recipe(name, publication) for name, publication in index.items()}


def recipe_text(name: str) -> str:
    """The recipe's file, comments and all.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in recipes():
        raise NotFoundError(f"there is no recipe {name!r}; {closest(name, recipes())}")
    return (_FOLDER / f"{name}.yaml").read_text("utf-8")


def heading(publication: Publication) -> list[str]:
    """What a recipe's file begins with, as comments: the pair, what it came to, and where that is printed."""
    said = [f"{publication.student}, taught by {publication.teacher}."]
    for what, ap in (("boxes", publication.boxes), ("masks", publication.masks)):
        if ap is not None:
            reached = "not published" if ap.distilled is None else str(ap.distilled)
            figures = f"teacher {ap.teacher}, student alone {ap.student}, distilled {reached}"
            beside = f" ({ap.without_inheriting} with inherit: nothing)" if ap.without_inheriting is not None else ""
            said.append(f"AP of {what} on val2017: {figures}{beside}.")
    said.append(f"Figures: {publication.source}.")
    said.append(f"Settings: {publication.config}.")
    said += [f"Differs: {each}." for each in publication.differs]
    return said


def _recipe(name: str, publication: Publication) -> Recipe:
    spec: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text("utf-8"))
    teacher_file = Path(spec["teacher"]["checkpoint"]).name
    return Recipe(name=name, publication=publication, teacher_file=teacher_file, spec=spec)
