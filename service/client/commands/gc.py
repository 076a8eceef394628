"""`fgd gc`"""

from collections.abc import Sequence
from typing import Annotated

from rich.console import Group
from rich.text import Text
from typer import Option, confirm

from fgd_core.spec.housekeeping import HousekeepingView, Removal
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_json, size
from service.client.errors import UsageError
from service.client.exits import guarded
from service.client.fitting import Column, Row, fitted

_COLUMNS = (
    Column("what"),
    Column("job"),
    Column("name", narrow=12),
    Column("rows", is_number=True),
    Column("size", is_number=True),
)


@guarded
def gc(
    dry_run: Annotated[bool, Option("--dry-run", help="Only list what the server would delete.")] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Delete without asking first.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Delete what the server's retention rules no longer keep. The server does the same once a day.

    The rules apply to jobs that are over and that no other job needs. Days after the end of a job, by default:
    progress events 90, all but 2000 points of each curve 365, logs 365, outboxes 7, `last.pt` 90 after a success and
    365 otherwise; `best.pt` is kept forever. Audit entries are deleted after 730 days, expired and revoked tokens after
    90, delivered webhook calls after 30, files that belong to no job after 1. Change the rules in the server's
    environment with FGD_RETENTION_PROGRESS_DAYS, _CURVES_DAYS, _LOGS_DAYS, _SUCCEEDED_CHECKPOINTS_DAYS,
    _OTHER_CHECKPOINTS_DAYS, _BEST_CHECKPOINTS_DAYS, _OUTBOXES_DAYS, _ORPHANS_DAYS, _AUDIT_DAYS, _TOKENS_DAYS and
    _DELIVERIES_DAYS: a number of days, or `never`.

    **Examples**

    `fgd gc --dry-run`

    `fgd gc --yes --json | jq .size_bytes`
    """
    with FgdClient(server) as client:
        if not yes and not dry_run:
            if as_json:
                raise UsageError("--json asks no questions; add --yes to delete, or --dry-run to list")
            plan = client.housekeeping(dry_run=True)
            _show(plan)
            if not plan.num_items:
                return
            confirm("Delete all of this?", abort=True)
        with errors_to().status("checking" if dry_run else "deleting"):
            done = client.housekeeping(dry_run=dry_run)
            while not done.is_complete and not dry_run:
                done = _sum(done, client.housekeeping())
    if as_json:
        print_json(done)
    elif dry_run or yes:
        _show(done)
    else:
        output().print(f"done: {_total(done)}")


def _show(view: HousekeepingView) -> None:
    if not view.num_items:
        output().print("nothing to delete")
        return
    output().print(removal_table(view.items, width=output().width))
    if view.num_items > len(view.items):
        output().print(f"and {view.num_items - len(view.items)} more", style="dim")
    output().print(_total(view))


def removal_table(items: Sequence[Removal], *, width: int) -> Group:
    """Return a table with a row per item; a narrow one cuts the names and shows the reasons on separate lines."""
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
    verb = "would be deleted" if view.dry_run else "deleted"
    items = "1 item" if view.num_items == 1 else f"{view.num_items} items"
    return f"{items}, {view.num_rows:,} rows, {size(view.size_bytes)} {verb}"


def _sum(first: HousekeepingView, more: HousekeepingView) -> HousekeepingView:
    summed = ("items", "num_items", "num_rows", "size_bytes")
    return more.model_copy(update={name: getattr(first, name) + getattr(more, name) for name in summed})
