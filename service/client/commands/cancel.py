"""`fgd cancel`"""

from typing import Annotated

import typer

from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json_models


def cancel(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Job ids, or the beginnings of them.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Ask jobs to stop. A running one saves a checkpoint first; one that still waits ends at once.

    **Example**

    `fgd cancel 3f2a`
    """
    with FgdClient(server) as client:
        # All names are looked up before the first job is touched: a slip in the last must not half-carry it out.
        found = [client.find(prefix) for prefix in ids]
        asked = [client.cancel(job.job_id) for job in found]
    if as_json:
        print_json_models(asked)
        return
    for job in asked:
        output().print(f"{job.name} {job.job_id} is {job.state}", markup=False)
