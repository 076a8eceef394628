"""`fgd jobs`"""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, get_args

from rich.console import Group
from rich.text import Text
from typer import Argument, Option

from fgd_core.spec.event_text import duration, number
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.refusals import closest
from fgd_core.spec.views import JobSort, JobSummary
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.errors import UsageError
from service.client.exits import guarded
from service.client.fitting import Column, Row, fitted
from service.client.live import STATE_STYLES

_KINDS = tuple(kind.model_fields["kind"].default for kind in get_args(get_args(JobSpec)[0]))
_STATES = ", ".join(get_args(JobState))
_COLUMNS = tuple(sort for sort in get_args(JobSort) if not sort.startswith("-"))


@guarded
def jobs(
    text: Annotated[
        str | None,
        Argument(metavar="TEXT", help="Only jobs whose name contains this text, or whose id begins with it."),
    ] = None,
    *,
    state: Annotated[
        list[str] | None, Option(metavar="STATE", help=f"Only jobs in this state: {_STATES}. Repeatable.")
    ] = None,
    kind: Annotated[str | None, Option(metavar="KIND", help=f"Only jobs of this kind: {', '.join(_KINDS)}.")] = None,
    project: Annotated[str | None, Option(metavar="NAME", help="Only jobs of this project.")] = None,
    parent: Annotated[
        str | None, Option(metavar="ID", help="Only the runs of this study, and jobs made from this job's spec.")
    ] = None,
    since: Annotated[datetime | None, Option(help="Only jobs submitted after this local time.")] = None,
    until: Annotated[datetime | None, Option(help="Only jobs submitted before this local time.")] = None,
    sort: Annotated[
        str, Option(metavar="COLUMN", help=f"Sort by {', '.join(_COLUMNS)}; with `-` in front the largest come first.")
    ] = "-created",
    limit: Annotated[int, Option(min=1, metavar="N", help="Show at most N jobs.")] = 50,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first unless sorted otherwise.

    **Examples**

    `fgd jobs --state running --state queued`

    `fgd jobs teacher --project vision --since 2026-01-31`

    `fgd jobs --kind distill --sort -best_ap`

    `fgd jobs --parent 3f2a --state failed`

    `fgd jobs --kind distill --json | jq -r '.[].job_id'`
    """
    with FgdClient(server) as client:
        matching = client.jobs(
            state=[_known(word) for word in state or ()],
            kind=_known_kind(kind) if kind is not None else None,
            project=project,
            parent=client.find(parent).job_id if parent is not None else None,
            text=text,
            created_after=since.astimezone() if since else None,
            created_before=until.astimezone() if until else None,
            sort=_known_sort(sort),
        )
        found = list(itertools.islice(matching, limit))
    if as_json:
        print_json(found)
    elif found:
        output().print(job_table(found, width=output().width))
    elif any((text, state, kind, project, parent, since, until)):
        output().print("no jobs match; `fgd jobs` lists all jobs")
    else:
        output().print("no jobs yet; submit one with `fgd submit SPEC`")


def _known(state: str) -> JobState:
    for known in get_args(JobState):
        if state == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"{state!r} is not a state; the states are {_STATES}")


def _known_kind(kind: str) -> str:
    if kind not in _KINDS:
        raise UsageError(f"{kind!r} is not a kind of job; {closest(kind, _KINDS)}")
    return kind


def _known_sort(sort: str) -> JobSort:
    for known in get_args(JobSort):
        if sort == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--sort {sort!r} is not a column of the list; {closest(sort, _COLUMNS)}")


def job_table(found: Sequence[JobSummary], *, width: int) -> Group:
    """Return a table with a row per job; a narrow one omits the least important columns."""
    # A column with the same project in every row has no information.
    has_projects = len({job.project for job in found}) > 1 or found[0].project != "default"
    columns = (
        Column("id"),
        Column("name", narrow=16),
        Column("kind", rank=1),
        *((Column("project", rank=2),) if has_projects else ()),
        Column("priority", is_number=True, rank=4),
        Column("state"),
        Column("epoch"),
        Column("AP", is_number=True),
        Column("ran", is_number=True, rank=3),
    )
    rows = []
    for job in found:
        progress = job.progress
        cells = (
            job.job_id,
            Text(job.name, style="bold"),
            job.kind,
            *((job.project,) if has_projects else ()),
            str(job.priority or ""),
            Text(job.state, style=STATE_STYLES.get(job.state, "")),
            f"{progress.epoch}/{progress.epochs}" if progress.epoch is not None else "",
            number(progress.best_ap, ".3f"),
            duration(_ran_s(job)),
        )
        note = Text(job.reason, style="dim") if job.reason else None
        rows.append(Row(cells=cells, label=job.job_id, note=note))
    return fitted(columns, rows, width=width, wrap_notes=True)


def _ran_s(job: JobSummary) -> float | None:
    """Return the running time in seconds, without waits and pauses."""
    if job.started_at is None or job.ran_s is None:
        return None
    now_s = (datetime.now(UTC) - job.running_since).total_seconds() if job.running_since is not None else 0.0
    return job.ran_s + now_s
