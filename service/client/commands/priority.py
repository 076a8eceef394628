"""`fgd priority`"""

from typing import Annotated

import typer

from service.client.asking import ask
from service.client.console import SERVER, AsJson, Server


def priority(
    prefix: Annotated[str, typer.Argument(metavar="ID", help="A job id, or the beginning of it.")],
    value: Annotated[int, typer.Argument(metavar="N", min=-100, max=100, help="Higher goes first; usual is 0.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Change a job's place in the queue. Where there is no room, an urgent job may pause a preemptible one.

    **Examples**

    `fgd priority 3f2a 10`

    `fgd priority 3f2a -10`
    """
    ask(server, [prefix], lambda client, job_id: client.change(job_id, priority=value), as_json=as_json)
