"""Projects: their shares and limits of the cluster, and their current use."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path

from fgd_core.spec.administration import ProjectList, ProjectSettings, ProjectView
from fgd_core.spec.kinds.base import ProjectName
from service.api import audit_notes
from service.api.access import AdminOfAll, Reader
from service.api.deps import ServicesDep
from service.jobs.queueing import Limits
from service.store import projects
from service.store.projects import Usage

router = APIRouter(prefix="/v1/projects", tags=["projects"])

Name = Annotated[ProjectName, Path(description="The name of a project", examples=["default"])]


@router.get("", operation_id="list_projects")
async def list_projects(services: ServicesDep, principal: Reader) -> ProjectList:
    """List the projects that have settings or jobs."""
    async with services.database.reading() as session:
        limits = await projects.limits(session)
        usage = await projects.usage(session, principal.project)
    names = sorted(name for name in {*limits, *usage, principal.project or "default"} if principal.sees(name))
    return ProjectList(items=[_view(name, limits.get(name), usage.get(name)) for name in names])


@router.get("/{name}", operation_id="get_project")
async def get(services: ServicesDep, principal: Reader, name: Name) -> ProjectView:
    """Return a project's share, limits and current use. A project without settings has the defaults."""
    principal.check_sees(name, f"project {name!r}")
    async with services.database.reading() as session:
        limits = await projects.limits(session)
        usage = await projects.usage(session, name)
    return _view(name, limits.get(name), usage.get(name))


@router.put("/{name}", operation_id="set_project")
async def put(services: ServicesDep, principal: AdminOfAll, name: Name, new: ProjectSettings) -> ProjectView:
    """Set a project's share and limits.

    They apply to waiting jobs at once. Running jobs continue, even if they exceed a new limit.
    """
    audit_notes.about(project=name, **new.model_dump())
    limits = Limits(**new.model_dump())
    async with services.database.writing() as session:
        await projects.set_limits(session, name, limits, services.clock())
        usage = await projects.usage(session, name)
    services.wake_dispatcher.set()
    return _view(name, limits, usage.get(name))


def _view(name: str, limits: Limits | None, usage: Usage | None) -> ProjectView:
    return ProjectView(name=name, **asdict(limits or Limits()), **asdict(usage or Usage()))
