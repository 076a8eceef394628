"""`fgd data`: the group of subcommands for data sets; the longer subcommands are in separate modules."""

from pathlib import Path
from typing import Annotated

from typer import Context, Option, Typer

from service.client import dataset_tables
from service.client.client import FgdClient
from service.client.commands.data_add import add
from service.client.commands.data_check import Name, Project, check
from service.client.commands.data_coco2017 import coco2017
from service.client.console import SERVER, AsJson, Server, output, print_answer, print_json, print_written, write_file
from service.client.exits import guarded

data = Typer(
    rich_markup_mode="markdown",
    help="""Register, check, list and show data sets: COCO, Pascal VOC and YOLO folders. Jobs use a registered one with
`data: {type: registered, name: blood}`. Without a subcommand, list the data sets.

**Examples**

`fgd data add blood --voc /data/VOC2007`

`fgd data check blood`

`fgd submit teacher.yaml --set 'data={type: registered, name: blood}'`
""",
)

data.command("add")(add)
data.command("check")(check)


@data.callback(invoke_without_command=True)
@guarded
def all_(context: Context, *, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List the data sets if no subcommand follows."""
    _list(None, None, server, as_json=as_json)


@data.command("list")
@guarded
def list_(
    project: Annotated[str | None, Option(metavar="NAME", help="Only data sets of this project.")] = None,
    text: Annotated[str | None, Option(metavar="TEXT", help="Only data sets whose name contains this text.")] = None,
    *,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List data sets, newest first. Images and boxes are shown as training + validation.

    **Example**

    `fgd data list --text blood`
    """
    _list(project, text, server, as_json=as_json)


def _list(project: str | None, text: str | None, server: str, *, as_json: bool) -> None:
    with FgdClient(server) as client:
        found = list(client.datasets.every(project=project, text=text))
    none = "no data sets; add one with `fgd data add NAME --coco … | --voc … | --yolo …`"
    print_answer(found, lambda: dataset_tables.dataset_table(found) if found else none, as_json=as_json)


@data.command()
@guarded
def show(
    name: Name,
    html: Annotated[
        Path | None, Option(metavar="FILE", help="Also write counts and sample images to one HTML file.")
    ] = None,
    project: Project = None,
    *,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show all details of one data set.

    **Example**

    `fgd data show blood --html blood.html`
    """
    with FgdClient(server) as client:
        dataset = client.datasets.get(name, project=project)
        if html is not None:
            write_file(html, client.datasets.page(dataset.dataset_id))
    if as_json:
        print_json(dataset)
        return
    output().print(dataset_tables.facts(dataset))
    if dataset.outcome is not None:
        output().print()
        for part in dataset_tables.outcome(dataset.outcome):
            output().print(part)
    if html is not None:
        print_written(html)


@data.command()
@guarded
def remove(name: Name, project: Project = None, *, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Remove a data set's registration; its files stay. The server refuses while unfinished jobs use the data set.

    **Example**

    `fgd data remove blood`
    """
    with FgdClient(server) as client:
        removed = client.datasets.remove(name, project=project)
    print_answer(removed, lambda: f"removed {removed.name}; its files stay where they are", as_json=as_json)


data.command("coco2017")(coco2017)
