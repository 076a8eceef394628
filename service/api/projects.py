"""Projects: whose share of the cluster a job takes."""

from typing import Annotated

from fastapi import APIRouter, Path

from fgd_core.spec.administration import ProjectList, ProjectSettings, ProjectView
from fgd_core.spec.jobs import ProjectName
from service.api import audit_notes
from service.api.access import AdminOfAll, Reader
from service.api.deps import ServicesDep
from service.store import projects
from service.store.projects import Limits, Usage

router = APIRouter(prefix="/v1/projects", tags=["projects"])

Name = Annotated[ProjectName, Path()]


@router.get("", operation_id="list_projects")
async def list_projects(services: ServicesDep, principal: Reader) -> ProjectList:
    """Those that were set up, and those that have jobs."""
    async with services.database.reading() as session:
        limits = await projects.limits(session)
        usage = await projects.usage(session, principal.project)
    names = sorted(name for name in {*limits, *usage, principal.project or "default"} if principal.sees(name))
    return ProjectList(items=[_view(name, limits.get(name), usage.get(name)) for name in names])


@router.get("/{name}", operation_id="get_project")
async def get(services: ServicesDep, principal: Reader, name: Name) -> ProjectView:
    """One that nobody set up has the defaults."""
    principal.check_sees(name, f"project {name!r}")
    async with services.database.reading() as session:
        limits = await projects.limits(session)
        usage = await projects.usage(session, name)
    return _view(name, limits.get(name), usage.get(name))


@router.put("/{name}", operation_id="set_project")
async def put(services: ServicesDep, principal: AdminOfAll, name: Name, wanted: ProjectSettings) -> ProjectView:
    """Its share and limits. What runs goes on, even above a new limit; what waits goes by it at once."""
    audit_notes.about(project=name, **wanted.model_dump())
    limits = Limits(**wanted.model_dump())
    async with services.database.writing() as session:
        await projects.set_limits(session, name, limits, services.clock())
        usage = await projects.usage(session, name)
    services.wake_dispatcher.set()
    return _view(name, limits, usage.get(name))


def _view(name: str, limits: Limits | None, usage: Usage | None) -> ProjectView:
    return ProjectView(name=name, **vars(limits or Limits()), **vars(usage or Usage()))
