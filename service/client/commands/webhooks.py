"""`fgd webhooks`"""

import itertools
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fgd_core.errors import FgdError
from fgd_core.spec.administration import DeliveryView, NewWebhook, WebhookView
from service.client.checking import checked
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_json, print_json_models
from service.client.exits import guarded
from service.client.fitting import Column, Row, fitted

webhooks = typer.Typer(
    rich_markup_mode="markdown",
    help="""Who is told of the ends of jobs. Without a command, list.

**Example**

`fgd webhooks add https://example.org/jobs`
""",
)

Id = Annotated[str, typer.Argument(metavar="ID", help="As `fgd webhooks` lists it.")]

_COLUMNS = (
    Column(heading="at"),
    Column(heading="job"),
    Column(heading="state"),
    Column(heading="tries", is_number=True),
    Column(heading="next try", rank=1),
)


@webhooks.callback(invoke_without_command=True)
@guarded
def show(context: typer.Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is not None:
        return
    with FgdClient(server) as client:
        found = client.administration.webhooks()
    if as_json:
        print_json_models(found)
    elif not found:
        output().print("no webhooks yet; add one with `fgd webhooks add URL`")
    else:
        output().print(_table(found))


@webhooks.command()
@guarded
def add(
    url: Annotated[str, typer.Argument(metavar="URL")],
    project: Annotated[str | None, typer.Option("--project", help="Whose jobs it hears of.  [default: all]")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Have a URL called at each end of a job. The secret that signs the calls is shown this once.

    **Example**

    `fgd webhooks add https://ci.example.org/fgd --project blood-cells`
    """
    asked = checked(NewWebhook, url=url, project=project)
    with FgdClient(server) as client:
        made = client.administration.create_webhook(asked.url, project=asked.project)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    errors_to().print(f"{made.webhook_id} calls {made.url}. Its secret is shown this once:", markup=False)
    output().print(made.secret, markup=False, soft_wrap=True)


@webhooks.command()
@guarded
def test(webhook_id: Id, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Call it now, with a message of the type `webhook.test`.

    **Example**

    `fgd webhooks test 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        tested = client.administration.test_webhook(webhook_id)
    if as_json:
        print_json(tested.model_dump(mode="json"))
    elif tested.delivered:
        output().print(f"delivered; it answered {tested.status}")
    if not tested.delivered:
        if as_json:
            raise typer.Exit(1)
        raise FgdError(f"not delivered: {tested.error}")


@webhooks.command()
@guarded
def deliveries(
    webhook_id: Id,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """What it was told, newest first, and what became of it.

    **Example**

    `fgd webhooks deliveries 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        found = list(itertools.islice(client.administration.deliveries(webhook_id), limit))
    if as_json:
        print_json_models(found)
    elif not found:
        output().print("nothing yet: no job has ended since it was added")
    else:
        output().print(delivery_table(found, width=output().width))


@webhooks.command()
@guarded
def remove(webhook_id: Id, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Call it no more, not even about what it has not heard of yet.

    **Example**

    `fgd webhooks remove 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        removed = client.administration.remove_webhook(webhook_id)
    if as_json:
        print_json(removed.model_dump(mode="json"))
    else:
        output().print(f"{removed.url} is called no more", markup=False)


def _table(found: list[WebhookView]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("id", "project", "URL", "made by"):
        table.add_column(heading, no_wrap=heading == "id")
    for webhook in found:
        table.add_row(webhook.webhook_id, webhook.project or "all", webhook.url, webhook.created_by)
    return table


def delivery_table(found: Sequence[DeliveryView], *, width: int) -> Group:
    """A row a delivery; in a narrow terminal the next try is left out, and errors get lines of their own."""
    rows = [
        Row(
            cells=(
                f"{delivery.created_at:%Y-%m-%d %H:%M}",
                delivery.job_id,
                delivery.state.replace("_", " "),
                str(delivery.tries),
                f"{delivery.next_try_at:%Y-%m-%d %H:%M}" if delivery.next_try_at else "",
            ),
            label=delivery.job_id or "test",
            note=Text(delivery.last_error) if delivery.last_error else None,
        )
        for delivery in found
    ]
    return fitted(_COLUMNS, rows, width=width, wrap_notes=True)
