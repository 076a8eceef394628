"""`fgd webhooks`"""

import itertools
from collections.abc import Sequence
from typing import Annotated

from rich.console import Group
from rich.table import Table
from rich.text import Text
from typer import Argument, Context, Exit, Option, Typer

from fgd_core.errors import FgdError
from fgd_core.spec.administration import DeliveryView, NewWebhook, WebhookView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_answer, print_json
from service.client.exits import checked, guarded
from service.client.fitting import Column, Row, fitted

webhooks = Typer(
    rich_markup_mode="markdown",
    help="""Manage webhooks: URLs that the server calls when a job ends. Without a subcommand, list them.

**Example**

`fgd webhooks add https://example.org/jobs`
""",
)

Id = Annotated[str, Argument(metavar="ID", help="An id from `fgd webhooks`.")]

_COLUMNS = (Column("at"), Column("job"), Column("state"), Column("tries", is_number=True), Column("next try", rank=1))


@webhooks.callback(invoke_without_command=True)
@guarded
def show(context: Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List the webhooks if no subcommand follows."""
    with FgdClient(server) as client:
        found = client.administration.webhooks()
    none = "no webhooks yet; add one with `fgd webhooks add URL`"
    print_answer(found, lambda: _table(found) if found else none, as_json=as_json)


@webhooks.command()
@guarded
def add(
    url: Annotated[str, Argument(metavar="URL", help="The http or https URL to call.")],
    project: Annotated[str | None, Option(metavar="NAME", help="Only jobs of this project.  [default: all]")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Add a webhook: the server calls the URL when a job ends. The secret that signs the calls is shown only once.

    **Example**

    `fgd webhooks add https://ci.example.org/fgd --project blood-cells`
    """
    new = checked(NewWebhook, url=url, project=project)
    with FgdClient(server) as client:
        made = client.administration.create_webhook(new.url, project=new.project)
    if as_json:
        print_json(made)
        return
    errors_to().print(f"added webhook {made.webhook_id} for {made.url}. Its secret is shown only once:", markup=False)
    output().print(made.secret, markup=False, soft_wrap=True)


@webhooks.command()
@guarded
def test(webhook_id: Id, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Call a webhook now, with a message of the type `webhook.test`.

    **Example**

    `fgd webhooks test 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        tested = client.administration.test_webhook(webhook_id)
    if as_json:
        print_json(tested)
    elif tested.delivered:
        output().print(f"delivered; the URL answered {tested.status}")
    if not tested.delivered:
        if as_json:
            raise Exit(1)
        raise FgdError(f"not delivered: {tested.error}")


@webhooks.command()
@guarded
def deliveries(
    webhook_id: Id,
    limit: Annotated[int, Option(min=1, metavar="N", help="Show at most N calls.")] = 50,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List the calls of a webhook, newest first, with their outcome.

    **Example**

    `fgd webhooks deliveries 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        found = list(itertools.islice(client.administration.deliveries(webhook_id), limit))
    none = "no calls yet: no job has ended since the webhook was added"
    print_answer(found, lambda: delivery_table(found, width=output().width) if found else none, as_json=as_json)


@webhooks.command()
@guarded
def remove(webhook_id: Id, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Remove a webhook. The server drops the calls that it has not delivered yet.

    **Example**

    `fgd webhooks remove 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        removed = client.administration.remove_webhook(webhook_id)
    print_answer(removed, lambda: f"removed webhook {removed.webhook_id} for {removed.url}", as_json=as_json)


def _table(found: list[WebhookView]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("id", "project", "URL", "created by"):
        table.add_column(heading, no_wrap=heading == "id")
    for webhook in found:
        table.add_row(webhook.webhook_id, webhook.project or "all", webhook.url, webhook.created_by)
    return table


def delivery_table(found: Sequence[DeliveryView], *, width: int) -> Group:
    """Return a table with a row per call; a narrow one omits the next try and shows errors on separate lines."""
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
