"""Models: names, versions and stages over checkpoints and exports, and where each version comes from."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError, NotFoundError
from fgd_core.spec import models as spec
from fgd_core.spec.data import name_of
from fgd_core.spec.kinds.base import ProjectName
from service.api import audit_notes
from service.api.access import Principal, Reader, Submitter
from service.api.deps import ServicesDep
from service.jobs.lifecycle import is_over
from service.store import artifacts, jobs, models
from service.store.tables import Job, ModelVersion

router = APIRouter(prefix="/v1/models", tags=["models"])

Name = Annotated[spec.ModelName, Path(description="The name of a model", examples=["street-signs"])]
Version = Annotated[spec.Version, Path(description="The number of a version")]
AliasName = Annotated[spec.Alias, Path(description="A stage, such as `production`", examples=["production"])]
Project = Annotated[ProjectName | None, Query(description="The project of the model; default: that of the token")]


@router.get("", operation_id="list_models")
async def list_models(services: ServicesDep, principal: Reader, project: Project = None) -> spec.ModelList:
    """List the models with their versions and aliases."""
    async with services.database.reading() as session:
        return spec.ModelList(items=await models.views(session, project=principal.project_for(project)))


@router.get("/{name}", operation_id="get_model")
async def get(services: ServicesDep, principal: Reader, name: Name, project: Project = None) -> spec.ModelView:
    """Return a model with its versions and aliases."""
    own = _project(principal, project)
    async with services.database.reading() as session:
        found = await models.views(session, project=own, name=name)
    return _only(found, own, name)


@router.post("/{name}/versions", status_code=201, operation_id="add_model_version")
async def add_version(
    services: ServicesDep, principal: Submitter, response: Response, name: Name, new: spec.NewModelVersion
) -> spec.ModelVersion:
    """Give a file of a job that is over the next version of a model, in the project of the job."""
    async with services.database.writing() as session:
        job = await jobs.get(session, new.job_id)
        if job is None or not principal.sees(job.project):
            raise NotFoundError(f"there is no job {new.job_id!r}", job_id=new.job_id)
        audit_notes.about(project=job.project, name=name, artifact=new.artifact)
        if not is_over(job.state):
            raise ConflictError(
                f"job {job.id} is {job.state} and may still replace its files; wait until it is over", job_id=job.id
            )
        artifact = await artifacts.get(session, job.id, new.artifact)
        if artifact is None:
            known = ", ".join(each.name for each in await artifacts.of_job(session, job.id)) or "none yet"
            raise NotFoundError(f"job {job.id} has no artifact {new.artifact!r}; it has: {known}", job_id=job.id)
        made_by, now = principal.name, services.clock()
        row = await models.add_version(session, job, artifact, name, created_by=made_by, now=now)
        view = models.version_view(row, [])
    response.headers["Location"] = f"/v1/models/{name}?project={job.project}"
    return view


@router.put("/{name}/aliases/{alias}", operation_id="set_model_alias")
async def set_alias(
    *,
    services: ServicesDep,
    principal: Submitter,
    name: Name,
    alias: AliasName,
    new: spec.NewAlias,
    project: Project = None,
) -> spec.ModelView:
    """Let an alias name a version; before, it may have named another one."""
    own = _project(principal, project)
    audit_notes.about(project=own, name=name, alias=alias, version=new.version)
    async with services.database.writing() as session:
        await _existing(session, own, name, new.version)
        await models.set_alias(session, own, name, alias, new.version)
        return (await models.views(session, project=own, name=name))[0]


@router.delete("/{name}/aliases/{alias}", operation_id="remove_model_alias")
async def remove_alias(
    services: ServicesDep, principal: Submitter, name: Name, alias: AliasName, project: Project = None
) -> spec.ModelView:
    """Remove an alias; the version that it names stays. No error if the model has no such alias."""
    own = _project(principal, project)
    audit_notes.about(project=own, name=name, alias=alias)
    async with services.database.writing() as session:
        await models.remove_alias(session, own, name, alias)
        return _only(await models.views(session, project=own, name=name), own, name)


@router.get("/{name}/versions/{version}/lineage", operation_id="get_model_lineage")
async def lineage(
    services: ServicesDep, principal: Reader, name: Name, version: Version, project: Project = None
) -> spec.Lineage:
    """Return the jobs and data sets that a version comes from, and the jobs that used it."""
    own = _project(principal, project)
    async with services.database.reading() as session:
        row = await _existing(session, own, name, version)
        made_by = [job for job in await models.ancestors(session, row.job_id) if principal.sees(job.project)]
        used_by = [job for job in await models.descendants(session, row.job_id) if principal.sees(job.project)]
        needs = await models.needs(session, [job.id for job in (*made_by, *used_by)])
    return spec.Lineage(
        project=own,
        name=name,
        version=version,
        made_by=[_of_lineage(job, needs[job.id]) for job in made_by],
        used_by=[_of_lineage(job, needs[job.id]) for job in used_by],
    )


def _project(principal: Principal, named: str | None) -> str:
    return principal.project_for(named) or "default"


def _only(found: Sequence[spec.ModelView], project: str, name: str) -> spec.ModelView:
    if not found:
        raise NotFoundError(f"there is no model {name!r} in the project {project!r}; `fgd models` lists all models")
    return found[0]


async def _existing(session: AsyncSession, project: str, name: str, version: int) -> ModelVersion:
    row = await models.get_version(session, project, name, version)
    if row is None:
        raise NotFoundError(
            f"the model {name!r} of the project {project!r} has no version {version}; `fgd models` lists all versions"
        )
    return row


def _of_lineage(job: Job, needs: list[str]) -> spec.LineageJob:
    base = job.spec.get("base", job.spec)
    data = base.get("data", {}) if isinstance(base, dict) else {}
    named = name_of(data) if isinstance(data, dict) else ""
    return spec.LineageJob(job_id=job.id, name=job.name, kind=job.kind, state=job.state, needs=needs, data=named)
