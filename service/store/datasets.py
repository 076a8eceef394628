"""Data sets by name, and what their checks told."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError, DataError, NotFoundError
from fgd_core.spec.data import FileData
from fgd_core.spec.events import DataSetChecked, JobState
from fgd_core.spec.jobs import CheckDataSpec
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import OVER, is_over
from service.store.json_values import storable
from service.store.tables import Dataset, Job, JobDataset
from service.store.write_session import WriteSession

CHECK_KIND: str = CheckDataSpec.model_fields["kind"].default


@dataclass(frozen=True)
class Known:
    """A data set, and where the job of its newest check stands; None where there is none."""

    row: Dataset
    check_state: JobState | None


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which are listed; what is left empty lets all pass."""

    projects: Sequence[str] = ()
    text: str = ""
    """Somewhere in the name, or at the beginning of the id; letter case does not count."""
    only_project: str | None = None
    """Whatever `projects` says: all that the reader may see."""


_KNOWN = select(Dataset, Job.state).outerjoin(Job, Job.id == Dataset.check_job_id)


async def insert_dataset(
    session: AsyncSession, *, name: str, project: str, data: FileData, created_by: str, now: datetime
) -> Dataset:
    """
    Raises:
        ConflictError: the project has one of this name.
    """
    if await named(session, project, name) is not None:
        raise ConflictError(
            f"the project {project!r} has a data set {name!r} already; choose another name, or remove that one",
            name=name,
            project=project,
        )
    row = Dataset(
        id=secrets.token_hex(6),
        name=name,
        project=project,
        data=data.model_dump(mode="json"),
        created_at=now,
        created_by=created_by,
    )
    session.add(row)
    await session.flush()
    return row


async def find(session: WriteSession, key: str, project: str | None) -> Known:
    """The data set of that id, or else of that name; of one project only where it is given.

    Raises:
        NotFoundError: there is none.
        ConflictError: several projects have one of this name.
    """
    found = [
        Known(row, state)
        for row, state in await session.execute(_KNOWN.where(or_(Dataset.id == key, Dataset.name == key)))
        if project is None or row.project == project
    ]
    chosen = [known for known in found if known.row.id == key] or found
    if not chosen:
        raise NotFoundError(
            f"there is no data set {key!r}; `fgd data list`, or GET /v1/datasets, lists those there are", dataset=key
        )
    if len(chosen) > 1:
        projects = sorted(known.row.project for known in chosen)
        raise ConflictError(
            f"{len(chosen)} projects have a data set {key!r}: {', '.join(projects)}; name it by its id, or say whose",
            dataset=key,
            projects=[*projects],
        )
    return chosen[0]


async def page(
    session: WriteSession, wanted: Filter, *, before: tuple[datetime, str] | None, limit: int
) -> list[Known]:
    """Newest first, those that come after (created_at, id) in that order."""
    query = _KNOWN.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(limit)
    if wanted.projects:
        query = query.where(Dataset.project.in_(wanted.projects))
    if wanted.only_project is not None:
        query = query.where(Dataset.project == wanted.only_project)
    if wanted.text:
        in_name = Dataset.name.icontains(wanted.text, autoescape=True)
        query = query.where(or_(in_name, Dataset.id.istartswith(wanted.text, autoescape=True)))
    if before is not None:
        created_at, dataset_id = before
        same_time = (Dataset.created_at == created_at) & (Dataset.id < dataset_id)
        query = query.where(or_(Dataset.created_at < created_at, same_time))
    return [Known(row, state) for row, state in await session.execute(query)]


async def named(session: WriteSession, project: str, name: str) -> Dataset | None:
    return await session.scalar(select(Dataset).where(Dataset.project == project, Dataset.name == name))


async def names(session: WriteSession, project: str) -> list[str]:
    return list(await session.scalars(select(Dataset.name).where(Dataset.project == project).limit(1000)))


async def is_there(session: WriteSession, dataset_id: str) -> bool:
    """Whether it is, and will be until this transaction ends."""
    query = select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(read=True, key_share=True)
    return await session.scalar(query) is not None


async def lock(session: WriteSession, dataset_id: str) -> Known:
    """Keep other writers out of its row.

    Raises:
        NotFoundError: it is gone.
    """
    row = await session.get(Dataset, dataset_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFoundError(f"the data set {dataset_id!r} was removed meanwhile", dataset=dataset_id)
    check = await session.get(Job, row.check_job_id) if row.check_job_id is not None else None
    return Known(row, check.state if check is not None else None)


async def note_use(session: WriteSession, job_id: str, dataset_id: str) -> None:
    await session.execute(insert(JobDataset).values(job_id=job_id, dataset_id=dataset_id))


async def begin_check(session: WriteSession, dataset_id: str, job_id: str) -> None:
    """From now on it is this job that tells of the data set."""
    await session.execute(update(Dataset).where(Dataset.id == dataset_id).values(check_job_id=job_id, check_error=None))


async def record(session: WriteSession, job_id: str, told: DataSetChecked, now: datetime) -> None:
    """Keep what the newest check found; what an older one finds is passed over."""
    fingerprints = {each.split: each.fingerprint for each in told.splits}
    await session.execute(
        update(Dataset)
        .where(Dataset.check_job_id == job_id)
        .values(
            outcome=storable(told.model_dump(mode="json")),
            checked_at=now,
            fingerprints=fingerprints if set(fingerprints) == {"train", "val"} else None,
        )
    )


async def conclude(session: WriteSession, job: Job, to: JobState, error: ErrorReport | None) -> None:
    """Keep how a check ended, in the transaction that ends its job; of other jobs there is nothing to keep."""
    if job.kind != CHECK_KIND or not is_over(to):
        return
    row = await session.scalar(select(Dataset).where(Dataset.check_job_id == job.id))
    if row is None:
        return
    row.check_error = storable(error.model_dump(mode="json")) if error is not None and to == "failed" else None
    if row.check_error is not None and row.check_error["code"] == DataError.code:
        # What an earlier check found is no more, and nobody can train on what this one found.
        row.fingerprints = None
        if row.checked_at is None or row.checked_at < job.created_at:
            row.outcome, row.checked_at = None, None


async def remove(session: WriteSession, dataset_id: str) -> None:
    """
    Args:
        dataset_id: of a row that is locked in this transaction.
    Raises:
        ConflictError: jobs that are not over refer to it; those that are keep all that they need in their spec.
    """
    using = select(Job.id).join(JobDataset, JobDataset.job_id == Job.id)
    query = using.where(JobDataset.dataset_id == dataset_id, Job.state.not_in(OVER)).order_by(Job.created_at).limit(20)
    job_ids = list(await session.scalars(query))
    if job_ids:
        raise ConflictError(
            f"jobs that are not over refer to it: {', '.join(job_ids)}; wait for them, or cancel them", jobs=[*job_ids]
        )
    await session.execute(delete(JobDataset).where(JobDataset.dataset_id == dataset_id))
    await session.execute(delete(Dataset).where(Dataset.id == dataset_id))
