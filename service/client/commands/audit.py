"""`fgd audit`"""

import itertools
from collections.abc import Sequence
from typing import Annotated

from rich.console import Group
from rich.text import Text
from typer import Option

from fgd_core.spec.administration import AuditEntryView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_answer
from service.client.exits import guarded
from service.client.fitting import Column, Row, fitted

_COLUMNS = (
    Column("at"),
    Column("who", narrow=8),
    Column("action"),
    Column("target", narrow=14),
    Column("project", rank=1),
    Column("status", is_number=True),
)


@guarded
def audit(
    *,
    actor: Annotated[str | None, Option(metavar="NAME", help="Only actions of this token.")] = None,
    action: Annotated[str | None, Option(metavar="NAME", help="Only this action, for example cancel_job.")] = None,
    project: Annotated[str | None, Option(metavar="NAME", help="Only actions in this project.")] = None,
    target: Annotated[str | None, Option(metavar="TEXT", help="Only actions whose target contains this text.")] = None,
    limit: Annotated[int, Option(min=1, metavar="N", help="Show at most N actions.")] = 50,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List who changed what, newest first, with the requests that the server refused.

    **Example**

    `fgd audit --action cancel_job --target 3f2a`
    """
    with FgdClient(server) as client:
        entries = client.administration.audit(actor=actor, action=action, project=project, target=target)
        found = list(itertools.islice(entries, limit))
    print_answer(
        found,
        lambda: audit_table(found, width=output().width) if found else "no actions match",
        as_json=as_json,
    )


def audit_table(found: Sequence[AuditEntryView], *, width: int) -> Group:
    """Return a table with a row per entry; a narrow one omits the project and shows details on separate lines."""
    rows = [
        Row(
            cells=(
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                Text(entry.actor, style="bold"),
                entry.action,
                Text(entry.target),
                entry.project or "",
                Text(str(entry.status), style="" if entry.status < 400 else "red"),
            ),
            label=f"{entry.at:%H:%M:%S} {entry.action}",
            note=_details(entry),
        )
        for entry in found
    ]
    return fitted(_COLUMNS, rows, width=width, wrap_notes=True)


def _details(entry: AuditEntryView) -> Text | None:
    text = ", ".join(f"{name}={value}" for name, value in entry.details.items())
    return Text(text, style="dim") if text else None
