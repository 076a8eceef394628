"""`fgd data`: a group; a subcommand is a function here or in a module of its own, and a line below."""

from pathlib import Path
from typing import Annotated

import typer

from service.client import dataset_tables
from service.client.client import FgdClient
from service.client.commands.data_add import add
from service.client.commands.data_check import Name, Project, check
from service.client.commands.data_coco2017 import coco2017
from service.client.commands.report import write
from service.client.console import SERVER, AsJson, Server, output, print_json, print_json_models
from service.client.exits import guarded

data = typer.Typer(
    rich_markup_mode="markdown",
    help="""Data sets by name: COCO, Pascal VOC and YOLO folders, checked once and counted. Jobs name one with
`data: {type: registered, name: blood}`. Without a command, list them.

**Examples**

`fgd data add blood --voc /data/VOC2007`

`fgd data check blood`

`fgd submit teacher.yaml --set 'data={type: registered, name: blood}'`
""",
)

data.command("add")(guarded(add))
data.command("check")(guarded(check))


@data.callback(invoke_without_command=True)
@guarded
def all_(context: typer.Context, *, server: Server = SERVER, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        _list(None, None, server, as_json=as_json)


@data.command("list")
@guarded
def list_(
    project: Annotated[str | None, typer.Option("--project", help="Only those of this project.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Somewhere in the name.")] = None,
    *,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Data sets, newest first; images and boxes are to train on + to score on.

    **Example**

    `fgd data list --text blood`
    """
    _list(project, text, server, as_json=as_json)


def _list(project: str | None, text: str | None, server: str, *, as_json: bool) -> None:
    with FgdClient(server) as client:
        found = list(client.datasets.every(project=project, text=text))
    if as_json:
        print_json_models(found)
    elif not found:
        output().print("no data sets; add one with `fgd data add NAME --coco … | --voc … | --yolo …`")
    else:
        output().print(dataset_tables.listed(found))


@data.command()
@guarded
def show(
    name: Name,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write counts and drawn samples as one HTML page.")
    ] = None,
    project: Project = None,
    *,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """All there is to know about one data set.

    **Example**

    `fgd data show blood --html blood.html`
    """
    with FgdClient(server) as client:
        dataset = client.datasets.get(name, project=project)
        if html is not None:
            write(html, client.datasets.page(dataset.dataset_id))
    if as_json:
        print_json(dataset.model_dump(mode="json"))
        return
    output().print(dataset_tables.facts(dataset))
    if dataset.outcome is not None:
        output().print()
        for part in dataset_tables.outcome(dataset.outcome):
            output().print(part)
    if html is not None:
        output().print(f"written: {html}", markup=False, soft_wrap=True)


@data.command()
@guarded
def remove(name: Name, project: Project = None, *, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Forget a data set; its files stay. Refused while jobs that are not over refer to it.

    **Example**

    `fgd data remove blood`
    """
    with FgdClient(server) as client:
        removed = client.datasets.remove(name, project=project)
    if as_json:
        print_json(removed.model_dump(mode="json"))
    else:
        output().print(f"{removed.name} is forgotten; its files are where they were", markup=False)


data.command("coco2017")(guarded(coco2017))
