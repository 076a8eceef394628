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
    """List all requests to change something, newest first, including refused ones. Reports of runs are not listed.

    A page examines a limited number of entries. With several conditions it may have fewer entries than `limit`, or
    none, although more follow: the list ends where `next_cursor` is null.
    """
    async with services.database.reading() as session:
        found = await audit.page(
            session,
            actor=actor,
            action=action,
            project=project,
            target=target,
            before_id=cursors.decode_number(cursor) if cursor is not None else None,
            limit=limit,
        )
    next_cursor = cursors.encode_number(*found.end) if found.end is not None else None
    return AuditPage(items=[_view(row) for row in found.rows], next_cursor=next_cursor)


def _view(row: AuditEntry) -> AuditEntryView:
    return AuditEntryView.model_validate(columns(row) | {"entry_id": row.id, "details": row.details or {}})
