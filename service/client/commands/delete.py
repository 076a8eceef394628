"""`fgd delete`"""

import time
from typing import Annotated

import typer

from fgd_core.errors import FgdError
from fgd_core.spec.views import JobView
from service.client.asking import Ids
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_json
from service.client.errors import UsageError

# What ended just now is put away within a tick or two.
_PATIENCE_S = 15.0


def delete(
    ids: Ids,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that are over, with events, curves, logs, checkpoints and all other files. There is no way back.

    A job that another one waits for is refused.

    **Examples**

    `fgd delete 3f2a`

    `fgd delete 3f2a 77c0 --yes`
    """
    with FgdClient(server) as client:
        found = [client.find(prefix) for prefix in ids]
        if not yes:
            if as_json:
                raise UsageError("with --json nobody is asked; add --yes")
            for job in found:
                size_mb = sum(artifact.size_bytes for artifact in job.artifacts) / 1e6
                output().print(f"{job.name} {job.job_id}, {job.state}, {size_mb:.1f} MB", markup=False)
            typer.confirm(f"Delete {'it' if len(found) == 1 else f'all {len(found)}'} for good?", abort=True)
        for job in found:
            _delete(client, job)
            if not as_json:
                output().print(f"deleted {job.name} {job.job_id}", markup=False)
    if as_json:
        print_json({"deleted": [job.job_id for job in found]})


def _delete(client: FgdClient, job: JobView) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    with errors_to().status(f"deleting {job.job_id}"):
        while True:
            try:
                client.delete(job.job_id)
                return
            except FgdError as error:
                if error.code != "still_held" or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.5)
