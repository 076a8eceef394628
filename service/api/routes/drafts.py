"""Drafts: check a spec before it is submitted, and change its text by the paths of its fields."""

from fastapi import APIRouter

from fgd_core.spec.drafts import DraftView, NewDraft
from service.api import audit_notes, drafts
from service.api.access import Submitter
from service.api.deps import ServicesDep

router = APIRouter(prefix="/v1/drafts", tags=["jobs"])


@router.post("", operation_id="check_draft")
async def check_draft(services: ServicesDep, principal: Submitter, new: NewDraft) -> DraftView:
    """Check a spec without submitting it: every reason against it with its line, and when it could start.

    The text may be changed on the way; its comments stay. Nothing is stored.
    """
    audit_notes.leave_out()
    return await drafts.draft(services, principal, new)
