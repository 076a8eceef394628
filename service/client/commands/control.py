"""`fgd pause`, `resume`, `cancel`, `retry`, `priority`: one request to each of the named jobs."""

from collections.abc import Callable, Sequence
from typing import Annotated

from rich.text import Text
from typer import Argument, Option

from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, JobId, JobIds, Server, errors_to, output, print_json
from service.client.exits import guarded, interruptible
from service.client.live import STATE_STYLES

Wait = Annotated[bool, Option("--wait", help="Wait until the jobs have stopped and released their resources.")]


@guarded
def pause(ids: JobIds, wait: Wait = False, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Pause jobs: each saves a checkpoint, stops and releases its resources until `fgd resume`.

    A resumed run ends with the same weights as a run that was never paused.

    **Examples**

    `fgd pause 3f2a`

    `fgd pause 3f2a 77c0 --wait`
    """
    _send(server, ids, FgdClient.pause, wait=wait, as_json=as_json)


@guarded
def resume(ids: JobIds, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Queue paused jobs again. Each continues from the step at which it was paused.

    **Example**

    `fgd resume 3f2a`
    """
    _send(server, ids, FgdClient.resume, as_json=as_json)


@guarded
def cancel(ids: JobIds, wait: Wait = False, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Cancel jobs. A running job saves a checkpoint first; a waiting job ends at once.

    **Examples**

    `fgd cancel 3f2a`

    `fgd cancel 3f2a 77c0 --wait`
    """
    _send(server, ids, FgdClient.cancel, wait=wait, as_json=as_json)


@guarded
def retry(ids: JobIds, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Queue failed or cancelled jobs again. Each continues from its newest checkpoint, with its full number of retries.

    **Examples**

    `fgd retry 3f2a`

    `fgd jobs --state failed --json | jq -r '.[].job_id' | xargs fgd retry`
    """
    _send(server, ids, FgdClient.retry, as_json=as_json)


@guarded
def priority(
    prefix: JobId,
    value: Annotated[
        int, Argument(metavar="N", min=-100, max=100, help="Jobs with a higher number start first; new jobs have 0.")
    ],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Change a job's priority. If the cluster is full, an urgent job may pause a preemptible one.

    **Examples**

    `fgd priority 3f2a 10`

    `fgd priority 3f2a -10`
    """
    _send(server, [prefix], lambda client, job_id: client.change(job_id, priority=value), as_json=as_json)


def _send(
    server: str,
    ids: Sequence[str],
    request: Callable[[FgdClient, str], JobView],
    *,
    wait: bool = False,
    as_json: bool = False,
) -> None:
    """Find all jobs, send a request for each, and print the state of each.

    All ids are looked up before the first request: a typing error in the last id must not leave half of them done.

    Raises:
        Exit: with 130 on Ctrl-C while waiting; the requests stay in effect.
    """
    with FgdClient(server) as client:
        found = [client.find(prefix) for prefix in ids]
        jobs = [request(client, job.job_id) for job in found]
        if wait:
            jobs = _wait(client, jobs)
    if as_json:
        print_json(jobs)
        return
    for job in jobs:
        text = Text.assemble((job.name, "bold"), f" {job.job_id} is ", (job.state, STATE_STYLES.get(job.state, "")))
        output().print(text.append(f": {job.reason}" if job.reason else ""), soft_wrap=True)


def _wait(client: FgdClient, jobs: Sequence[JobView]) -> list[JobView]:
    stopped: list[JobView] = []
    with interruptible("stopped waiting; the request stays in effect. `fgd jobs` shows the state of the jobs"):
        for job in jobs:
            with errors_to().status(Text(f"{job.name} is {job.state}")):
                stopped.append(client.standstill(job.job_id))
    return stopped
