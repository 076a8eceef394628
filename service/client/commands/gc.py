"""`fgd gc`"""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from fgd_core.spec.housekeeping import HousekeepingView, Removal
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_json
from service.client.errors import UsageError
from service.client.fitting import Column, Row, fitted
from service.client.sizes import size

_COLUMNS = (
    Column(heading="what"),
    Column(heading="job"),
    Column(heading="name", narrow=12),
    Column(heading="rows", is_number=True),
    Column(heading="size", is_number=True),
)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Put away what the server's rules no longer keep. It does so by itself once a day.

    Only jobs that are over are touched, and none that another still needs. In days after a job's end, by default:
    progress events 90, all but 2000 points of each curve 365, logs 365, outboxes 7, `last.pt` 90 after a success and
    else 365; `best.pt` stays for good. Audit entries go after 730 days, dead tokens after 90, delivered webhooks after
    30, files of no job after one. Change them with FGD_RETENTION_PROGRESS_DAYS, _CURVES_DAYS, _LOGS_DAYS,
    _SUCCEEDED_CHECKPOINTS_DAYS, _OTHER_CHECKPOINTS_DAYS, _BEST_CHECKPOINTS_DAYS, _OUTBOXES_DAYS, _ORPHANS_DAYS,
    _AUDIT_DAYS, _TOKENS_DAYS and _DELIVERIES_DAYS, in the server's environment: days, or `never`.

    **Examples**

    `fgd gc --dry-run`

    `fgd gc --yes --json | jq .size_bytes`
    """
    with FgdClient(server) as client:
        if not yes and not dry_run:
            if as_json:
                raise UsageError("with --json nobody is asked; add --yes, or --dry-run")
            plan = client.housekeeping(dry_run=True)
            _show(plan)
            if not plan.num_items:
                return
            typer.confirm("Do it?", abort=True)
        with errors_to().status("looking" if dry_run else "cleaning up"):
            done = client.housekeeping(dry_run=dry_run)
            while not done.is_complete and not dry_run:
                done = _sum(done, client.housekeeping())
    if as_json:
        print_json(done.model_dump(mode="json"))
    elif dry_run or yes:
        _show(done)
    else:
        output().print(f"done: {_total(done)}")


def _show(view: HousekeepingView) -> None:
    if not view.num_items:
        output().print("nothing to put away")
        return
    output().print(removal_table(view.items, width=output().width))
    if view.num_items > len(view.items):
        output().print(f"and {view.num_items - len(view.items)} more", style="dim")
    output().print(_total(view))


def removal_table(items: Sequence[Removal], *, width: int) -> Group:
    """A row a thing; in a narrow terminal the names are cut, and reasons get lines of their own."""
    rows = [
        Row(
            cells=(
                item.kind.replace("_", " "),
                item.job_id or "",
                Text(item.name),
                f"{item.num_rows:,}" if item.num_rows else "",
                size(item.size_bytes),
            ),
            label=item.job_id or item.name,
            note=Text(item.why),
            style="dim" if item.is_noted else "",
        )
        for item in items
    ]
    return fitted(_COLUMNS, rows, width=width, wrap_notes=True)


def _total(view: HousekeepingView) -> str:
    what = "would go" if view.dry_run else "gone"
    return f"{view.num_items} things, {view.num_rows:,} rows, {size(view.size_bytes)} {what}"


def _sum(first: HousekeepingView, more: HousekeepingView) -> HousekeepingView:
    return HousekeepingView(
        dry_run=more.dry_run,
        items=[*first.items, *more.items],
        num_items=first.num_items + more.num_items,
        num_rows=first.num_rows + more.num_rows,
        size_bytes=first.size_bytes + more.size_bytes,
        is_complete=more.is_complete,
    )
