"""`fgd projects`"""

from typing import Annotated

from rich.table import Table
from typer import Argument, Context, Option, Typer

from fgd_core.spec.administration import ProjectSettings, ProjectView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, print_answer
from service.client.errors import UsageError
from service.client.exits import checked, guarded

projects = Typer(
    rich_markup_mode="markdown",
    help="""Show and change shares and limits of projects. Without a subcommand, list the projects and what they use.

**Example**

`fgd projects`
""",
)

_NONE = "none"


@projects.callback(invoke_without_command=True)
@guarded
def show(context: Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List the projects if no subcommand follows."""
    with FgdClient(server) as client:
        found = client.administration.projects()
    print_answer(found, lambda: _table(found), as_json=as_json)


@projects.command("set")
@guarded
def set_(
    *,
    name: Annotated[str, Argument(metavar="NAME", help="The project's name.")],
    weight: Annotated[
        float | None, Option(metavar="W", help="Share relative to other waiting projects; new ones have 1.")
    ] = None,
    max_running_jobs: Annotated[str | None, Option(metavar="N", help=f"Most jobs at a time, or `{_NONE}`.")] = None,
    max_gpus: Annotated[str | None, Option(metavar="N", help=f"Most GPUs at a time, or `{_NONE}`.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Change a project's share and limits; other settings stay unchanged.

    **Example**

    `fgd projects set blood-cells --max-running-jobs 4 --max-gpus none`
    """
    given = {"weight": weight, "max_running_jobs": max_running_jobs, "max_gpus": max_gpus}
    changes = {option: _limit(value) for option, value in given.items() if value is not None}
    if not changes:
        raise UsageError("nothing to change; give --weight, --max-running-jobs or --max-gpus")
    with FgdClient(server) as client:
        now = client.administration.project(name)
        kept = {field: getattr(now, field) for field in ProjectSettings.model_fields}
        view = client.administration.set_project(name, checked(ProjectSettings, **kept | changes))
    print_answer(view, lambda: _table([view]), as_json=as_json)


def _limit(value: float | str) -> float | str | None:
    return None if value == _NONE else value


def _table(found: list[ProjectView]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("project", "weight", "running", "of", "GPUs", "of", "queued"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "project" else "right")
    for project in found:
        table.add_row(
            project.name,
            f"{project.weight:g}",
            str(project.running_jobs),
            _or_all(project.max_running_jobs),
            str(project.gpus),
            _or_all(project.max_gpus),
            str(project.queued_jobs),
        )
    return table


def _or_all(limit: int | None) -> str:
    return str(limit) if limit is not None else "no limit"
