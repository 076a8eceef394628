"""`fgd trials`"""

from collections import Counter
from typing import Annotated

import typer

from fgd_core.errors import NotFoundError
from fgd_core.spec.jobs import SweepSpec
from fgd_core.spec.search import Objective
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.trial_table import trial_table


def trials(
    prefix: Annotated[str, typer.Argument(metavar="ID", help="A sweep's id, or the beginning of it.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """The trials of a sweep, the best ahead: how far each is, what it has reached, and its values.

    **Examples**

    `fgd trials 3f2a`

    `fgd trials 3f2a --json | jq '.items[] | select(.state == "failed").error.message'`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
        found = client.sweeps.trials(job.job_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    if not found.items:
        output().print(f"the sweep is {job.state} and has begun no trial yet")
        return
    output().print(trial_table(found.items, objectives_of(job), width=output().width))
    counts = Counter(trial.state for trial in found.items)
    output().print(" · ".join(f"{count} {state}" for state, count in counts.items()), style="dim")


def objectives_of(job: JobView) -> tuple[Objective, ...]:
    """Raises NotFoundError where the job is no sweep that this version can read."""
    if not isinstance(job.spec, SweepSpec):
        raise NotFoundError(f"job {job.job_id} is of kind {job.kind!r}; `fgd jobs --kind sweep` lists the sweeps")
    return job.spec.objectives or (Objective(),)
