"""`fgd watch`"""

from collections.abc import Sequence
from typing import Annotated

import typer

from fgd_core.spec.views import JobSummary
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output
from service.client.errors import UsageError
from service.client.exits import EXIT_INTERRUPTED, EXIT_REFUSED
from service.client.overview import watch_all
from service.client.watching import watch as watch_jobs


def watch(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Job ids, or the beginnings of them; none: all jobs.")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="Of all jobs, only those of this project.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Follow jobs live: state, epoch, loss and its terms, images/s, AP, time left.

    Without ids all jobs that are not over and those yet to come, in one table, until Ctrl-C. On a terminal with bars;
    into a pipe or file with one line for each notable event; with `--json` every event, one a line. Ctrl-C leaves the
    jobs running. With ids it exits 1 when one of them did not succeed. A sweep shows its trials, the best ahead.

    **Examples**

    `fgd watch`

    `fgd watch 3f2a 77c0`

    `fgd watch 3f2a --json | jq 'select(.kind == "evaluated").data.scores.ap'`
    """
    if ids and project is not None:
        raise UsageError("--project narrows down all jobs; leave it out, or the ids")
    with FgdClient(server) as client:
        if ids:
            follow_to_the_end(client, [client.find(prefix) for prefix in ids], as_json=as_json)
            return
        try:
            watch_all(client, output(), project=project, as_json=as_json)
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from interrupt


def follow_to_the_end(client: FgdClient, jobs: Sequence[JobSummary], *, as_json: bool) -> None:
    """Show the jobs until all are over.

    Raises:
        typer.Exit: with 1 when one did not succeed, with 130 on Ctrl-C, which leaves them running.
    """
    try:
        ended = watch_jobs(client, jobs, output(), as_json=as_json)
    except KeyboardInterrupt as interrupt:
        ids = " ".join(job.job_id for job in jobs)
        errors_to().print(f"\nno longer watching; the jobs go on. Again: fgd watch {ids} · end them: fgd cancel {ids}")
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    if any(job.state != "succeeded" for job in ended):
        raise typer.Exit(EXIT_REFUSED)
