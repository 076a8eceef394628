"""Stores names, versions and aliases of models, and finds the jobs that a version comes from."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec import models as spec
from service.errors import BusyError
from service.store.statements import upsert
from service.store.tables import Artifact, Job, JobDependency, ModelAlias, ModelName, ModelVersion
from service.store.write_session import WriteSession

_MAX_JOBS = 200
"""Jobs of a lineage in each direction; more tell nobody anything."""
_MAX_TRIES = 20


async def add_version(
    session: AsyncSession, job: Job, artifact: Artifact, name: str, *, created_by: str, now: datetime
) -> ModelVersion:
    """Insert the next version of a model.

    Raises:
        BusyError: others add versions of this model all the time.
    """
    for _ in range(_MAX_TRIES):
        try:
            async with session.begin_nested():
                return await _insert_next(session, job, artifact, name, created_by=created_by, now=now)
        except IntegrityError:
            # On PostgreSQL another transaction may name the model first, and a server of the version before this one
            # takes a number without counting it. Their rows are visible now.
            continue
    raise BusyError(f"others add versions of the model {name!r} at the same time; try again")


async def _insert_next(
    session: AsyncSession, job: Job, artifact: Artifact, name: str, *, created_by: str, now: datetime
) -> ModelVersion:
    version = await _next_version(session, job.project, name)
    statement = insert(ModelVersion).values(
        project=job.project,
        name=name,
        version=version,
        job_id=job.id,
        artifact=artifact.name,
        sha256=artifact.sha256,
        created_at=now,
        created_by=created_by,
    )
    row: ModelVersion | None = await session.scalar(statement.returning(ModelVersion))
    assert row is not None, "the row was just inserted"
    return row


async def _next_version(session: AsyncSession, project: str, name: str) -> int:
    """Count up the versions of a model; its row stays locked against others until the transaction ends."""
    model = await session.get(ModelName, (project, name), with_for_update=True, populate_existing=True)
    if model is None:
        model = ModelName(project=project, name=name, last_version=0)
        session.add(model)
    of_model = (ModelVersion.project == project, ModelVersion.name == name)
    newest = await session.scalar(select(func.max(ModelVersion.version)).where(*of_model))
    model.last_version = max(model.last_version, newest or 0) + 1
    await session.flush()
    return model.last_version


async def get_version(session: AsyncSession, project: str, name: str, version: int) -> ModelVersion | None:
    """Return a version; None if it does not exist."""
    return await session.get(ModelVersion, (project, name, version))


async def set_alias(session: WriteSession, project: str, name: str, alias: str, version: int) -> None:
    """Let an alias name a version; it may have named another one."""
    await upsert(session, ModelAlias, [{"project": project, "name": name, "alias": alias, "version": version}])


async def remove_alias(session: WriteSession, project: str, name: str, alias: str) -> None:
    """Remove an alias. No error if it does not exist."""
    await session.execute(
        delete(ModelAlias).where(ModelAlias.project == project, ModelAlias.name == name, ModelAlias.alias == alias)
    )


async def aliases_of(session: AsyncSession, job_id: str) -> list[str]:
    """Return the aliases that name files of a job, such as `street-signs@production`."""
    of_version = (
        ModelAlias.project == ModelVersion.project,
        ModelAlias.name == ModelVersion.name,
        ModelAlias.version == ModelVersion.version,
    )
    query = select(ModelAlias).join(ModelVersion, and_(*of_version)).where(ModelVersion.job_id == job_id)
    found = await session.scalars(query.order_by(ModelAlias.name, ModelAlias.alias))
    return [f"{each.name}@{each.alias}" for each in found]


async def views(session: AsyncSession, *, project: str | None = None, name: str | None = None) -> list[spec.ModelView]:
    """Return models by project and name, with their versions, newest first.

    Args:
        project, name: only models of this project, of this name; None: all.
    """
    rows, aliases = select(ModelVersion), select(ModelAlias)
    if project is not None:
        rows, aliases = rows.where(ModelVersion.project == project), aliases.where(ModelAlias.project == project)
    if name is not None:
        rows, aliases = rows.where(ModelVersion.name == name), aliases.where(ModelAlias.name == name)
    named: dict[tuple[str, str, int], list[str]] = {}
    for each in await session.scalars(aliases.order_by(ModelAlias.alias)):
        named.setdefault((each.project, each.name, each.version), []).append(each.alias)
    models: dict[tuple[str, str], list[spec.ModelVersion]] = {}
    order = (ModelVersion.project, ModelVersion.name, ModelVersion.version.desc())
    for row in await session.scalars(rows.order_by(*order)):
        versions = models.setdefault((row.project, row.name), [])
        versions.append(version_view(row, named.get((row.project, row.name, row.version), [])))
    return [spec.ModelView(project=key[0], name=key[1], versions=versions) for key, versions in models.items()]


def version_view(row: ModelVersion, aliases: Sequence[str]) -> spec.ModelVersion:
    """Return a version as the API shows it."""
    return spec.ModelVersion(
        version=row.version,
        job_id=row.job_id,
        artifact=row.artifact,
        sha256=row.sha256,
        created_at=row.created_at,
        created_by=row.created_by,
        aliases=[*aliases],
    )


async def ancestors(session: AsyncSession, job_id: str) -> list[Job]:
    """Return a job, the jobs whose files it started from, and those that they started from."""
    return await _connected(session, job_id, upwards=True)


async def descendants(session: AsyncSession, job_id: str) -> list[Job]:
    """Return the jobs that started from a file of a job, and those that started from theirs."""
    return (await _connected(session, job_id, upwards=False))[1:]


async def needs(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return for each job the ids of the jobs whose files it started from."""
    query = select(JobDependency.job_id, JobDependency.needs_job_id).where(JobDependency.job_id.in_(job_ids))
    found: dict[str, list[str]] = {job_id: [] for job_id in job_ids}
    for job_id, needed in await session.execute(query.order_by(JobDependency.needs_job_id).distinct()):
        found[job_id].append(needed)
    return found


async def _connected(session: AsyncSession, job_id: str, *, upwards: bool) -> list[Job]:
    own, other = JobDependency.job_id, JobDependency.needs_job_id
    this, next_ = (own, other) if upwards else (other, own)
    found, newest = [job_id], [job_id]
    while newest and len(found) < _MAX_JOBS:
        query = select(next_).where(this.in_(newest)).order_by(next_).distinct()
        newest = [each for each in await session.scalars(query) if each not in found]
        found += newest
    jobs = {job.id: job for job in await session.scalars(select(Job).where(Job.id.in_(found)))}
    return [jobs[each] for each in found if each in jobs]
