"""Drafts: changes a text by the paths of its fields, and checks it as its submission would."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import yaml
from pydantic import JsonValue, ValidationError

from fgd_core.errors import FgdError, SpecError
from fgd_core.spec.choices import choices
from fgd_core.spec.costs import CostEstimate
from fgd_core.spec.data import Registered
from fgd_core.spec.drafts import DraftReason, DraftView, NewDraft, Placement
from fgd_core.spec.jobs import JOB_SPEC, JobSpec, data_by_path, with_data
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.prediction import PREDICTED_KINDS, PredictionView
from fgd_core.spec.refusals import spec_reasons
from fgd_core.spec.views import ProblemReason
from service.api import body_limits, costs, predictions, queue_order, spec_text, submission, yaml_documents
from service.api.access import Principal, visible_job
from service.api.compute_thread import run_in_compute_thread
from service.api.deps import Services
from service.catalogue.recipes import recipe_text
from service.catalogue.starts import start_text
from service.dispatcher.starting import MAX_EXPLAINED
from service.errors import ForbiddenError
from service.jobs.cluster import Capacity
from service.jobs.queueing import Queued, Wait

_SELF = "draft"


async def draft(services: Services, principal: Principal, new: NewDraft) -> DraftView:
    """Change the text of a draft, and return it with every reason against it and its place on the cluster.

    Raises:
        NotFoundError: `start` names nothing that there is.
    """
    text = new.text or await _start(services, principal, new.start)
    try:
        text, document, lines = await run_in_compute_thread(_read, text, new)
    except FgdError as error:
        line = error.details.get("line")
        reason = DraftReason(loc="", code="yaml", message=error.message, line=line if isinstance(line, int) else None)
        return DraftView(text=text, spec=None, reasons=[reason], placement=None)
    spec: JobSpec | None = None
    try:
        spec, reasons = await submission.check(services, principal, JOB_SPEC.validate_python(document))
    except ValidationError as error:
        reasons = [_named(reason) for reason in spec_reasons(error)]
    except ForbiddenError as error:
        reasons = [ProblemReason(loc="project", code=error.code, message=error.message)]
    if spec is None or reasons:
        return DraftView(text=text, spec=document, reasons=_with_lines(reasons, lines), placement=None)
    capacity = await services.capacity.recent()
    return DraftView(
        text=text,
        spec=document,
        reasons=[],
        placement=await _placement(services, spec, capacity),
        prediction=await _prediction(services, spec),
        cost=await _cost(services, spec, capacity),
    )


async def _start(services: Services, principal: Principal, start: str) -> str:
    source, _, name = start.partition(":")
    match source:
        case "kind":
            return start_text(name)
        case "recipe":
            return recipe_text(name)
        case "job":
            async with services.database.reading() as session:
                job = await visible_job(session, principal, name)
            return spec_text.written(_choices_of(job.spec)) + "\n"
        case "":
            return ""
    message = f"start {start!r} is unknown; write kind:NAME, recipe:NAME or job:ID"
    raise SpecError(message, reasons=[{"loc": "start", "code": "start", "message": message}])


def _choices_of(stored: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what the author of a job's spec chose; of a spec of another version, everything."""
    try:
        spec = JOB_SPEC.validate_python(stored)
    except ValidationError:
        return dict(stored)
    # The server looks up names of data sets anew.
    unresolved = {
        loc: data.model_copy(update={"resolved": None}) if isinstance(data, Registered) else data
        for loc, data in data_by_path(spec).items()
    }
    # The kind first, as in all examples; the order of the other fields is that of the models.
    return {"kind": spec.kind, **choices(with_data(spec, unresolved))}


def _read(text: str, new: NewDraft) -> tuple[str, dict[str, JsonValue], dict[str, int]]:
    """Return the text after the changes, the mapping in it, and the line of each field.

    Raises:
        SpecError: the text is no mapping in YAML, or a server would refuse it as a body.
        TooLargeError: the text is too long.
    """
    document = _document(text)
    if new.changes or new.removed:
        try:
            text = spec_text.edited(text, new.changes, new.removed)
        except (yaml.YAMLError, RecursionError) as cause:
            raise SpecError(f"this change cannot be written into the text: {cause}") from cause
        document = _document(text)
    return text, document, spec_text.lines(text)


def _document(text: str) -> dict[str, JsonValue]:
    body = yaml_documents.to_json(text.encode("utf-8", "surrogatepass"))
    body_limits.check(body, body_limits.of_path("/v1/jobs"))
    document = json.loads(body)
    if not isinstance(document, dict):
        raise SpecError("a spec is a mapping, whose first line is for example `kind: train`", line=1)
    return document


def _named(reason: ProblemReason) -> ProblemReason:
    """The refusal of an unknown kind of job names no field."""
    return reason if reason.loc else reason.model_copy(update={"loc": "kind"})


def _with_lines(reasons: Sequence[ProblemReason], lines: Mapping[str, int]) -> list[DraftReason]:
    return [
        DraftReason(
            **reason.model_dump(), line=next((lines[path] for path in _around(reason.loc) if path in lines), None)
        )
        for reason in reasons
    ]


def _around(path: str) -> Iterator[str]:
    """Yield `a.b.c`, `a.b` and `a` for `a.b.c`."""
    while path:
        yield path
        path = path.rpartition(".")[0]


async def _placement(services: Services, spec: JobSpec, capacity: Capacity | None) -> Placement | None:
    """Ask the rule that starts jobs where this one would be in the queue."""
    if capacity is None:
        return None
    now = services.clock()
    line = await queue_order.read_line(services.database, now, max_alike=MAX_EXPLAINED)
    job = _queued(spec)
    order, waits = queue_order.in_order(line.with_last(job), capacity, max_waits=None)
    wait = waits.get(_SELF) or Wait("starts_now", "starts now", 0.0)
    workers = job.tasks * job.workers
    return Placement(
        cpus=job.cpus * workers,
        gpus=job.gpus * workers,
        workers=workers,
        num_ahead=[each.job_id for each in order].index(_SELF),
        code=wait.code,
        message=wait.message,
        not_before=_later(now, wait.not_before_s),
    )


async def _prediction(services: Services, spec: JobSpec) -> PredictionView | None:
    if spec.kind not in PREDICTED_KINDS:
        return None
    async with services.database.reading() as session:
        compute = await predictions.of_draft(session, spec)
    return await run_in_compute_thread(compute)


async def _cost(services: Services, spec: JobSpec, capacity: Capacity | None) -> CostEstimate | None:
    if not costs.is_priced(spec):
        return None
    async with services.database.reading() as session:
        compute = await costs.of_draft(session, spec, capacity)
    return await run_in_compute_thread(compute)


def _queued(spec: JobSpec) -> Queued:
    asked = spec.resources
    return Queued(
        job_id=_SELF,
        project=spec.project,
        priority=spec.priority,
        cpus=asked.cpus,
        gpus=asked.gpus,
        tasks=spec.concurrent_trials if isinstance(spec, SweepSpec) else 1,
        workers=asked.workers,
        min_workers=asked.least_workers,
    )


def _later(now: datetime, seconds: float | None) -> datetime | None:
    return now + timedelta(seconds=seconds) if seconds is not None else None
