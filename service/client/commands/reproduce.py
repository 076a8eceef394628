"""`fgd reproduce`"""

from typing import Annotated

from rich.console import Group
from rich.table import Table
from rich.text import Text
from typer import Exit, Option

from fgd_core.errors import SpecError
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.commands.submit import print_submitted
from service.client.commands.watch import follow_to_the_end
from service.client.console import SERVER, AsJson, JobId, Server, print_answer
from service.client.errors import UsageError
from service.client.exits import EXIT_REFUSED, guarded
from service.client.reproduction import Reproduction, reproduction, scores_of

_STYLES = {"identical": "bold green", "agrees": "green", "differs": "bold red"}
_MAX_NAME = 100


@guarded
def reproduce(
    prefix: JobId,
    other: Annotated[
        str | None, Option("--with", metavar="ID", help="Compare with this job, which ran the same spec; submit none.")
    ] = None,
    detached: Annotated[bool, Option("--detach", help="Submit the job, and do not wait for it.")] = False,
    *,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Run a job again, with its spec and its seed, and check whether its scores agree.

    On the same code, packages and processor a run repeats itself to the last bit. Otherwise the command shows what was
    different, and tests whether the APs differ by more than chance (see `fgd compare`). It exits with 1 if they do.

    **Examples**

    `fgd reproduce 3f2a`

    `fgd reproduce 3f2a --detach`, and later `fgd reproduce 3f2a --with 77c0`
    """
    if detached and other is not None:
        raise UsageError("--with submits no job, so there is none to --detach; leave out one of the two")
    with FgdClient(server) as client:
        first = client.find(prefix)
        scores_of(first)
        second = client.find(other) if other is not None else _submitted(client, first)
        if detached:
            print_submitted(second, as_json=as_json)
            return
        if other is None:
            second = _ended(client, second, as_json=as_json)
        found = reproduction(client, first, second)
    print_answer(found, lambda: reproduction_table(found), as_json=as_json)
    if found.verdict == "differs":
        raise Exit(EXIT_REFUSED)


def _submitted(client: FgdClient, first: JobView) -> JobView:
    if isinstance(first.spec, dict):
        raise SpecError(
            f"an older version stored the spec of {first.job_id}, and this one cannot read it; write it anew with "
            f"`fgd show {first.job_id} --json`",
            job_id=first.job_id,
        )
    name = f"{first.name} again"[:_MAX_NAME].rstrip()
    return client.submit(first.spec.model_copy(update={"name": name}))


def _ended(client: FgdClient, job: JobView, *, as_json: bool) -> JobView:
    # With `--json`, the comparison is the only document on standard output.
    if as_json:
        return client.wait(job.job_id)
    print_submitted(job, as_json=False)
    follow_to_the_end(client, [job], as_json=False)
    return client.job(job.job_id)


def reproduction_table(found: Reproduction) -> Group:
    """Return the verdict, the scores that differ, and what was different between the jobs."""
    style = _STYLES[found.verdict]
    parts: list[Text | Table] = [Text.assemble((found.verdict, style), f": {found.sentence}")]
    unequal = [figure for figure in found.figures if not figure.is_equal]
    if unequal:
        parts.append(_table("score", [(each.name, _number(each.first), _number(each.second)) for each in unequal]))
    if found.differences:
        parts.append(_table("different", [(each.what, each.first, each.second) for each in found.differences]))
    elif found.verdict != "identical":
        parts.append(Text("nothing that is recorded differs: an operation of this device is not deterministic"))
    return Group(*parts)


def _table(heading: str, rows: list[tuple[str, str, str]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in (heading, "first", "again"):
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}"
