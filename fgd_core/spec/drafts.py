"""Requests and views of drafts: specs that a person is writing and that are no jobs yet."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.costs import CostEstimate
from fgd_core.spec.prediction import PredictionView
from fgd_core.spec.views import ProblemReason

Text = Annotated[str, Field(max_length=100_000)]
Path = Annotated[str, Field(min_length=1, max_length=500)]


class NewDraft(Command):
    """POST /v1/drafts: check a spec, after changing some of its fields."""

    text: Text = ""
    """The spec in YAML or JSON. If it is empty, the draft begins with `start`."""
    start: Annotated[str, Field(max_length=200)] = ""
    """`kind:distill`: the shortest spec of a kind. `recipe:NAME`: a recipe. `job:ID`: the spec of a job."""
    changes: Annotated[dict[Path, JsonValue], Field(max_length=200)] = {}
    """Values to set, by the path of the field, such as `training.epochs`."""
    removed: Annotated[list[Path], Field(max_length=200)] = []
    """Paths of fields to remove, so that they have their defaults; they are removed before `changes` are made."""


class DraftReason(ProblemReason):
    """Why the draft cannot be submitted as it is."""

    line: int | None
    """Line of the text, counted from 1, that sets the field, or the nearest field around it. None if there is none."""


class Placement(Fact):
    """What the job would take of the cluster, and when it could start if it were submitted now."""

    cpus: int
    """Of all its workers together."""
    gpus: int
    workers: int
    """Of all its tasks together."""
    num_ahead: int
    """Waiting jobs that the dispatcher considers before it."""
    code: str
    """As in GET /v1/queue; `starts_now` if there is room."""
    message: str
    not_before: datetime | None


class DraftView(Fact):
    """The text after the changes, and what the server thinks of it."""

    text: str
    spec: dict[str, JsonValue] | None
    """The text as JSON; None if it is no mapping in YAML."""
    reasons: list[DraftReason]
    """Empty if the job would be accepted."""
    placement: Placement | None
    """None if there are reasons, or if the cluster does not answer."""
    prediction: PredictionView | None = None
    """What the job would reach. None if there are reasons, or for other kinds than train and distill."""
    cost: CostEstimate | None = None
    """None if there are reasons, or for other kinds than train, distill, study and sweep."""
