"""`fgd watch`"""

from collections.abc import Sequence
from typing import Annotated

from typer import Argument, Exit, Option

from fgd_core.spec.views import JobSummary
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output
from service.client.errors import UsageError
from service.client.exits import EXIT_REFUSED, guarded, interruptible
from service.client.overview import watch_all
from service.client.watching import watch as watch_jobs


@guarded
def watch(
    ids: Annotated[
        list[str] | None, Argument(metavar="ID...", help="Ids of jobs, or their first characters.  [default: all jobs]")
    ] = None,
    project: Annotated[str | None, Option(metavar="NAME", help="Without ids: only jobs of this project.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Follow jobs live: state, epoch, loss and its terms, images/s, AP, time left.

    Without ids, the command shows all unfinished and all new jobs in one table, until Ctrl-C. A terminal shows progress
    bars; a pipe or a file gets a line for each important event; `--json` prints every event, one per line. Ctrl-C does
    not stop the jobs. With ids, the command ends when the jobs are over, and exits with 1 if one of them did not
    succeed. A sweep shows its trials, best first.

    **Examples**

    `fgd watch`

    `fgd watch 3f2a 77c0`

    `fgd watch 3f2a --json | jq 'select(.kind == "evaluated").data.scores.ap'`
    """
    if ids and project is not None:
        raise UsageError("--project cannot be combined with ids; leave out one of the two")
    with FgdClient(server) as client:
        if ids:
            follow_to_the_end(client, [client.find(prefix) for prefix in ids], as_json=as_json)
            return
        with interruptible():
            watch_all(client, output(), project=project, as_json=as_json)


def follow_to_the_end(client: FgdClient, jobs: Sequence[JobSummary], *, as_json: bool) -> None:
    """Show the progress of jobs until all are over.

    Raises:
        Exit: with 1 if a job did not succeed, with 130 on Ctrl-C; the jobs then continue.
    """
    ids = " ".join(job.job_id for job in jobs)
    again = f"Watch again: fgd watch {ids} · stop them: fgd cancel {ids}"
    with interruptible(f"stopped watching; the jobs continue. {again}"):
        ended = watch_jobs(client, jobs, output(), as_json=as_json)
    if any(job.state != "succeeded" for job in ended):
        raise Exit(EXIT_REFUSED)
