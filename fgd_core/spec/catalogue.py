"""What can be asked for, told by the specs themselves: see `service.catalogue`."""

from typing import Literal, TypeAlias

from pydantic import JsonValue

from fgd_core.spec.base import Fact
from fgd_core.spec.recipes import Recipe
from fgd_core.spec.search import Dimension

SectionName: TypeAlias = Literal[
    "jobs",
    "detectors",
    "backbones",
    "methods",
    "data",
    "optimizers",
    "schedules",
    "searchers",
    "schedulers",
    "dimensions",
]


class Setting(Fact):
    """A field, with those inside it by their path: what `--set` takes."""

    path: str
    type: str
    """In words: `whole number`, `list of numbers`."""
    required: bool
    default: JsonValue
    """None where it is required."""
    values: list[JsonValue] | None
    """The only ones that are possible."""
    section: SectionName | None
    """Where the entries stand that it takes one of; `values` are their names."""
    minimum: float | None
    """Is itself possible."""
    exclusive_minimum: float | None
    """Is not."""
    maximum: float | None
    exclusive_maximum: float | None
    help: str


class Entry(Fact):
    """A choice that a spec offers."""

    name: str
    chosen_by: str
    """The field that names it: `type: retinanet`."""
    help: str
    settings: list[Setting]


class SpaceEntry(Fact):
    """A ready space for sweeps, around the published weights of RetinaNet; around those of its base in a sweep."""

    name: str
    dimensions: dict[str, Dimension]


class Catalogue(Fact):
    """GET /v1/catalogue"""

    jobs: list[Entry]
    detectors: list[Entry]
    backbones: list[Entry]
    methods: list[Entry]
    data: list[Entry]
    optimizers: list[Entry]
    schedules: list[Entry]
    searchers: list[Entry]
    schedulers: list[Entry]
    dimensions: list[Entry]
    spaces: list[SpaceEntry]
    recipes: list[Recipe]
