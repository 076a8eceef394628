"""`fgd models`"""

from collections.abc import Sequence
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Argument, Context, Option, Typer

from fgd_core.errors import NotFoundError
from fgd_core.spec.models import Lineage, LineageJob, ModelVersion, ModelView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, print_answer
from service.client.exits import guarded

models = Typer(
    rich_markup_mode="markdown",
    help="""Name checkpoints and exports: versions, stages, and where each comes from. Without a subcommand, list them.

**Examples**

`fgd models add street-signs 3f2a --file detector.onnx --alias production`

`fgd predict street-signs@production photos`
""",
)

Name = Annotated[str, Argument(metavar="NAME", help="The model's name.")]
Project = Annotated[str | None, Option(metavar="NAME", help="The model's project.")]


@models.callback(invoke_without_command=True)
@guarded
def show(context: Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List the models if no subcommand follows."""
    if context.invoked_subcommand is not None:
        return
    with FgdClient(server) as client:
        found = client.models.list()
    print_answer(found, lambda: _table(found), as_json=as_json)


@models.command("add")
@guarded
def add(
    name: Name,
    job: Annotated[str, Argument(metavar="JOB", help="The id of the job that wrote the file.")],
    *,
    file: Annotated[str, Option(metavar="NAME", help="A checkpoint, or an export such as detector.onnx.")] = "best.pt",
    alias: Annotated[str | None, Option(metavar="STAGE", help="Let this alias name the new version.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Give a file of a job the next version of a model.

    **Example**

    `fgd models add street-signs 3f2a --file detector.onnx --alias production`
    """
    with FgdClient(server) as client:
        found = client.find(job)
        added = client.models.add(name, found.job_id, file)
        if alias is not None:
            client.models.set_alias(name, alias, added.version, project=found.project)
        view = client.models.get(name, project=found.project)
    print_answer(view, lambda: _table([view]), as_json=as_json)


@models.command("alias")
@guarded
def alias_(
    name: Name,
    alias: Annotated[str, Argument(metavar="STAGE", help="Such as staging or production.")],
    version: Annotated[int, Argument(metavar="VERSION", help="The version that it names from now on.")],
    *,
    project: Project = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Let an alias name another version.

    **Example**

    `fgd models alias street-signs production 2`
    """
    with FgdClient(server) as client:
        view = client.models.set_alias(name, alias, version, project=project)
    print_answer(view, lambda: _table([view]), as_json=as_json)


@models.command("unalias")
@guarded
def unalias(
    name: Name,
    alias: Annotated[str, Argument(metavar="STAGE", help="Such as staging or production.")],
    *,
    project: Project = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Remove an alias; the version that it names stays.

    **Example**

    `fgd models unalias street-signs staging`
    """
    with FgdClient(server) as client:
        before = client.models.get(name, project=project)
        if not any(alias in version.aliases for version in before.versions):
            known = ", ".join(sorted(each for version in before.versions for each in version.aliases)) or "none"
            raise NotFoundError(f"the model {name} has no alias {alias!r}; it has: {known}")
        view = client.models.remove_alias(name, alias, project=project)
    print_answer(view, lambda: _table([view]), as_json=as_json)


@models.command("lineage")
@guarded
def lineage(
    reference: Annotated[str, Argument(metavar="NAME[@VERSION]", help="A model, with a version or an alias.")],
    *,
    project: Project = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show the jobs and data sets that a version comes from, and the jobs that used it.

    **Example**

    `fgd models lineage street-signs@production`
    """
    name, _, wanted = reference.partition("@")
    with FgdClient(server) as client:
        version = chosen_version(client.models.get(name, project=project), wanted)
        found = client.models.lineage(name, version.version, project=project)
    print_answer(found, lambda: _lineage_table(found), as_json=as_json)


def chosen_version(model: ModelView, wanted: str) -> ModelVersion:
    """Return the version with a number or an alias; the newest if `wanted` is empty.

    Raises:
        NotFoundError: the model has no such version.
    """
    if not wanted:
        return model.versions[0]
    for version in model.versions:
        if wanted in (str(version.version), *version.aliases):
            return version
    known = ", ".join(word for each in model.versions for word in (str(each.version), *each.aliases))
    raise NotFoundError(f"the model {model.name} has no version or alias {wanted!r}; it has: {known}")


def _table(found: Sequence[ModelView]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("model", "project", "version", "aliases", "job", "file", "since"):
        table.add_column(heading, no_wrap=True)
    for model in found:
        for version in model.versions:
            table.add_row(
                Text(model.name, style="bold"),
                model.project,
                str(version.version),
                ", ".join(version.aliases),
                version.job_id,
                version.artifact,
                f"{version.created_at:%Y-%m-%d}",
            )
    return table


def _lineage_table(found: Lineage) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("", "job", "name", "kind", "state", "data", "started from"):
        table.add_column(heading, no_wrap=True)
    rows: list[tuple[str, LineageJob]] = [("made by", found.made_by[0])] if found.made_by else []
    rows += [("from", job) for job in found.made_by[1:]] + [("used by", job) for job in found.used_by]
    for role, job in rows:
        table.add_row(
            role, job.job_id, Text(job.name, style="bold"), job.kind, job.state, job.data, ", ".join(job.needs)
        )
    return table
