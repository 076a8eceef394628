"""`fgd logs`"""

from typing import Annotated

import typer

from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_json
from service.client.live import line
from service.client.standing import standing_of
from service.jobs.lifecycle import OVER


def logs(
    prefix: Annotated[str, typer.Argument(metavar="ID", help="A job id, or the beginning of it.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """What a job reported so far, and what the processes of its ended attempts printed.

    **Examples**

    `fgd logs 3f2a`

    `fgd logs 3f2a --json | jq '.logs["attempt-1.log"]' -r`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
        events = client.stored_events(job.job_id)
        names = sorted(artifact.name for artifact in job.artifacts if artifact.name.endswith(".log"))
        printed = {name: client.text_artifact(job.job_id, name) for name in names}
    if as_json:
        print_json({"events": [event.model_dump(mode="json") for event in events], "logs": printed})
        return
    standing = standing_of(job)
    for event in events:
        standing.update(event)
        said = line(standing, event)
        if said:
            output().print(said, markup=False, soft_wrap=True)
    for name, text in printed.items():
        output().rule(name, align="left")
        output().out(text, highlight=False)
    if job.state not in OVER and job.dashboard_url:
        errors_to().print(f"the newest attempt prints to {job.dashboard_url}", style="dim", soft_wrap=True)
