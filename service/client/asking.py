"""One request to several jobs: what the commands have in common that move jobs about."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.text import Text

from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.console import errors_to, output, print_json_models
from service.client.exits import EXIT_INTERRUPTED
from service.client.live import STATE_STYLES

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Job ids, or the beginnings of them.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until they stand still and hold nothing of the cluster.")]


def ask(
    server: str,
    ids: Sequence[str],
    request: Callable[[FgdClient, str], JobView],
    *,
    wait: bool = False,
    as_json: bool = False,
) -> None:
    """Look all of `ids` up, send each its request, and show what became of them.

    All names are looked up before the first job is touched: a slip in the last must not half-carry it out.

    Raises:
        typer.Exit: with 130 on Ctrl-C while waiting; what was asked for goes on.
    """
    with FgdClient(server) as client:
        found = [client.find(prefix) for prefix in ids]
        asked = [request(client, job.job_id) for job in found]
        if wait:
            asked = _await(client, asked)
    if as_json:
        print_json_models(asked)
        return
    for job in asked:
        said = Text.assemble((job.name, "bold"), f" {job.job_id} is ", (job.state, STATE_STYLES.get(job.state, "")))
        output().print(said.append(f": {job.reason}" if job.reason else ""), soft_wrap=True)


def _await(client: FgdClient, asked: Sequence[JobView]) -> list[JobView]:
    console = errors_to()
    stood: list[JobView] = []
    try:
        for job in asked:
            with console.status(Text(f"{job.name} is {job.state}")):
                stood.append(client.standstill(job.job_id))
    except KeyboardInterrupt as interrupt:
        console.print("\nno longer waiting; what was asked for goes on. `fgd jobs` tells how far it is")
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    return stood
