"""API tokens: create, list and revoke them, and show the principal of the present one."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from fgd_core.errors import SpecError
from fgd_core.spec.administration import NewToken, TokenCreated, TokenList, TokenView, WhoAmI
from service.api import audit_notes
from service.api.access import Admin, Principal, Reader
from service.api.deps import ServicesDep
from service.store import api_tokens
from service.store.tables import ApiToken, columns

router = APIRouter(tags=["tokens"])


@router.post("/v1/tokens", status_code=201, operation_id="create_token")
async def create(services: ServicesDep, principal: Admin, response: Response, new: NewToken) -> TokenCreated:
    """Create an API token. Only this response contains its secret.

    An admin of one project creates tokens for that project only.
    """
    now = services.clock()
    if new.expires_at is not None and new.expires_at <= now:
        message = "expires_at is in the past; omit it, or send a time in the future"
        raise SpecError(message, reasons=[{"loc": "expires_at", "code": "in_the_past", "message": message}])
    token, row = api_tokens.new_token(
        name=new.name,
        role=new.role,
        project=principal.project_for(new.project),
        created_by=principal.name,
        expires_at=new.expires_at,
        now=now,
    )
    audit_notes.about(project=row.project, name=row.name, role=row.role)
    async with services.database.writing() as session:
        await api_tokens.insert_token(session, row)
    response.headers["Location"] = f"/v1/tokens/{row.id}"
    response.headers["Cache-Control"] = "no-store"
    return TokenCreated(**dict(_view(row)), token=token)


@router.get("/v1/tokens", operation_id="list_tokens")
async def list_tokens(services: ServicesDep, principal: Admin) -> TokenList:
    """List API tokens, newest first, including expired and revoked ones."""
    async with services.database.reading() as session:
        rows = await api_tokens.every(session, principal.project)
    return TokenList(items=[_view(row) for row in rows])


@router.delete("/v1/tokens/{token_id}", operation_id="revoke_token")
async def revoke(
    services: ServicesDep, principal: Admin, token_id: Annotated[str, Path(description="The id of a token")]
) -> TokenView:
    """Revoke an API token: at once on this replica, within seconds on the others.

    The token stays in the list, because the audit trail refers to it.
    """
    async with services.database.writing() as session:
        row = await api_tokens.get(session, token_id, principal.project)
        await api_tokens.revoke(session, token_id, services.clock())
        await session.refresh(row)
    services.tokens.forget()
    audit_notes.about(project=row.project, name=row.name)
    return _view(row)


@router.get("/v1/whoami", operation_id="who_am_i")
async def who_am_i(principal: Reader) -> WhoAmI:
    """Return the name, role and project of the token that this request carries."""
    return view_of(principal)


def view_of(principal: Principal) -> WhoAmI:
    """Return what a principal may know about itself."""
    return WhoAmI(
        name=principal.name, role=principal.role.label, project=principal.project, token_id=principal.token_id
    )


def _view(row: ApiToken) -> TokenView:
    return TokenView.model_validate(columns(row) | {"token_id": row.id})
