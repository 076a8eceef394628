"""What users can choose from. `service.catalogue` builds it from the specs."""

from typing import Literal, TypeAlias

from pydantic import JsonValue

from fgd_core.spec.base import Fact
from fgd_core.spec.dimensions import Dimension
from fgd_core.spec.recipes import Recipe

SectionName: TypeAlias = Literal[
    "jobs",
    "detectors",
    "backbones",
    "methods",
    "data",
    "augments",
    "optimizers",
    "schedules",
    "searchers",
    "schedulers",
    "dimensions",
]


class Setting(Fact):
    """A field of a spec, or of a part of it, by the path that `--set` takes."""

    path: str
    type: str
    """In words, for example `whole number` or `list of numbers`."""
    required: bool
    default: JsonValue
    """None if the field is required."""
    values: list[JsonValue] | None
    """All possible values; None if there are too many to list."""
    section: SectionName | None
    """The section of the catalogue whose entries the field takes; `values` are their names."""
    minimum: float | None
    """The smallest possible value."""
    exclusive_minimum: float | None
    """Every value must be above this."""
    maximum: float | None
    """The largest possible value."""
    exclusive_maximum: float | None
    """Every value must be below this."""
    help: str


class Entry(Fact):
    """A choice that a spec offers."""

    name: str
    chosen_by: str
    """The field that selects it, for example `type: retinanet`."""
    help: str
    settings: list[Setting]


class SpaceEntry(Fact):
    """A preset of a sweep's search space.

    The dimensions shown are those around the published weights for RetinaNet; in a sweep they are around the published
    weights for the base's detector.
    """

    name: str
    dimensions: dict[str, Dimension]


class Catalogue(Fact):
    """GET /v1/catalogue"""

    jobs: list[Entry]
    detectors: list[Entry]
    backbones: list[Entry]
    methods: list[Entry]
    data: list[Entry]
    augments: list[Entry]
    optimizers: list[Entry]
    schedules: list[Entry]
    searchers: list[Entry]
    schedulers: list[Entry]
    dimensions: list[Entry]
    spaces: list[SpaceEntry]
    recipes: list[Recipe]
