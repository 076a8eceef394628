"""`fgd delete`"""

from typing import Annotated

from typer import Option, confirm

from fgd_core.errors import FgdError
from fgd_core.retrying import Backoff, RetryPolicy, pause
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, JobIds, Server, errors_to, output, print_json, size
from service.client.errors import UsageError
from service.client.exits import guarded

# The server releases the resources of a run a few seconds after its end.
_RELEASE = RetryPolicy(first_pause_s=0.5, factor=1.0, timeout_s=15.0)


@guarded
def delete(
    ids: JobIds,
    *,
    yes: Annotated[bool, Option("--yes", "-y", help="Delete without asking first.")] = False,
    force: Annotated[bool, Option("--force", help="Also delete files that an alias of a model names.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that are over, with their events, curves, logs, checkpoints and all other files.

    This cannot be undone. The server refuses to delete a job that another job waits for, and without `--force` a job
    whose file an alias of a model names, such as `street-signs@production`.

    **Examples**

    `fgd delete 3f2a`

    `fgd delete 3f2a 77c0 --yes`
    """
    with FgdClient(server) as client:
        found = [client.find(prefix) for prefix in ids]
        if not yes:
            if as_json:
                raise UsageError("--json asks no questions; add --yes to delete the jobs")
            for job in found:
                files = size(sum(artifact.size_bytes for artifact in job.artifacts))
                output().print(f"{job.name} {job.job_id}, {job.state}, {files}", markup=False)
            confirm(f"Delete {'this job' if len(found) == 1 else f'all {len(found)} jobs'}?", abort=True)
        for job in found:
            _delete(client, job, force=force)
            if not as_json:
                output().print(f"deleted {job.name} {job.job_id}", markup=False)
    if as_json:
        print_json({"deleted": [job.job_id for job in found]})


def _delete(client: FgdClient, job: JobView, *, force: bool) -> None:
    """Delete a job; wait until the server has released the resources of a run that has just ended."""
    backoff = Backoff(_RELEASE)
    with errors_to().status(f"deleting {job.job_id}"):
        while True:
            try:
                client.delete(job.job_id, force=force)
                return
            except FgdError as error:
                pause_s = backoff.failed() if error.code == "still_held" else None
                if pause_s is None:
                    raise
            pause(pause_s)
