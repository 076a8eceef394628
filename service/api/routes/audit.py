"""The audit trail: who changed what, and when."""

from typing import Annotated

from fastapi import APIRouter, Query

from fgd_core.spec.administration import AuditEntryView, AuditPage
from service.api import cursors
from service.api.access import AdminOfAll
from service.api.deps import ServicesDep
from service.store import audit
from service.store.tables import AuditEntry, columns

router = APIRouter(tags=["audit"])


@router.get("/v1/audit", operation_id="list_audit_entries")
async def list_audit_entries(
    *,
    services: ServicesDep,
    principal: AdminOfAll,
    actor: Annotated[str | None, Query(max_length=300, description="Only changes by the token with this name")] = None,
    action: Annotated[
        str | None, Query(max_length=300, description="Only this operation", examples=["cancel_job"])
    ] = None,
    project: Annotated[str | None, Query(max_length=300, description="Only this project")] = None,
    target: Annotated[str | None, Query(max_length=300, description="Text in the target's path")] = None,
    limit: cursors.Limit = 50,
    cursor: cursors.Cursor = None,
) -> AuditPage:
    """List all requests to change something, newest first, including refused ones. Reports of runs are not listed."""
    async with services.database.reading() as session:
        rows = await audit.page(
            session,
            actor=actor,
            action=action,
            project=project,
            target=target,
            before_id=_before_id(cursor) if cursor is not None else None,
            limit=limit + 1,
        )
    shown, next_cursor = cursors.page(rows, limit, lambda row: (row.at, str(row.id)))
    return AuditPage(items=[_view(row) for row in shown], next_cursor=next_cursor)


def _before_id(cursor: str) -> int:
    _, entry_id = cursors.decode(cursor)
    if not (entry_id.isascii() and entry_id.isdigit() and len(entry_id) <= 18):
        raise cursors.invalid("query.cursor", cursor, "omit it to get the first page")
    return int(entry_id)


def _view(row: AuditEntry) -> AuditEntryView:
    return AuditEntryView.model_validate(columns(row) | {"entry_id": row.id, "details": row.details or {}})
