"""`fgd audit`"""

import itertools
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from fgd_core.spec.administration import AuditEntryView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json_models
from service.client.fitting import Column, Row, fitted

_COLUMNS = (
    Column(heading="at"),
    Column(heading="who", narrow=8),
    Column(heading="did"),
    Column(heading="to", narrow=14),
    Column(heading="project", rank=1),
    Column(heading="status", is_number=True),
)


def audit(
    *,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this token's name did.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this, for example cancel_job.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Only in this project.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only where the target has this in it.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Who changed what, newest first; also what was refused.

    **Example**

    `fgd audit --action cancel_job --target 3f2a`
    """
    with FgdClient(server) as client:
        entries = client.administration.audit(actor=actor, action=action, project=project, target=target)
        found = list(itertools.islice(entries, limit))
    if as_json:
        print_json_models(found)
    elif not found:
        output().print("nothing was changed")
    else:
        output().print(audit_table(found, width=output().width))


def audit_table(found: Sequence[AuditEntryView], *, width: int) -> Group:
    """A row an entry; in a narrow terminal the project is left out, and details get lines of their own."""
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
    said = ", ".join(f"{name}={value}" for name, value in entry.details.items())
    return Text(said, style="dim") if said else None
