"""`fgd jobs`"""

import itertools
from datetime import UTC, datetime
from typing import Annotated, get_args

import typer
from rich.table import Table
from rich.text import Text

from fgd_core.spec.events import JobState
from fgd_core.spec.views import JobSummary
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json_models
from service.client.errors import UsageError
from service.client.live import STATE_STYLES, duration, number
from service.jobs.lifecycle import OVER

_STATES = ", ".join(get_args(JobState))


def jobs(
    state: Annotated[str | None, typer.Option("--state", help=f"Only those in this state: {_STATES}.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only train, distill or evaluate.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    **Examples**

    `fgd jobs --state running`

    `fgd jobs --kind distill --json | jq -r '.[].job_id'`
    """
    with FgdClient(server) as client:
        found = list(itertools.islice(client.jobs(state=_known(state), kind=kind), limit))
    if as_json:
        print_json_models(found)
    elif not found:
        output().print("no jobs yet; hand one in with `fgd submit SPEC`" if state is None else f"no job is {state}")
    else:
        output().print(_table(found))


def _known(state: str | None) -> JobState | None:
    for known in get_args(JobState):
        if state == known:
            return known  # type: ignore[no-any-return]
    if state is not None:
        raise UsageError(f"there is no state {state!r}; known are {_STATES}")
    return None


def _table(found: list[JobSummary]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("id", "name", "kind", "state", "epoch", "AP", "took", "why"):
        table.add_column(heading, no_wrap=heading != "why", justify="right" if heading in ("AP", "took") else "left")
    for job in found:
        at = job.progress
        table.add_row(
            job.job_id,
            Text(job.name, style="bold"),
            job.kind,
            Text(job.state, style=STATE_STYLES.get(job.state, "")),
            f"{at.epoch}/{at.epochs}" if at.epoch is not None else "",
            number(at.best_ap, ".3f"),
            duration(_took_s(job)),
            Text(job.reason or "", style="dim"),
        )
    return table


def _took_s(job: JobSummary) -> float | None:
    if job.started_at is None:
        return None
    end = job.ended_at if job.state in OVER and job.ended_at else datetime.now(UTC)
    return (end - job.started_at).total_seconds()
