"""Stores registered data sets and the results of their checks."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, or_, select, update

from fgd_core.errors import ConflictError, DataError, NotFoundError
from fgd_core.spec.data import FileData
from fgd_core.spec.events import DataSetChecked, JobState
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import OVER, is_over
from service.store.tables import Dataset, Job, JobDataset
from service.store.tables.json_values import storable
from service.store.write_session import WriteSession

CHECK_KIND: str = CheckDataSpec.model_fields["kind"].default
_CHECKING = (CHECK_KIND, str(DeriveDataSpec.model_fields["kind"].default))
"""The kinds of jobs that check a data set."""


@dataclass(frozen=True)
class Known:
    """Holds a data set and the state of its newest check."""

    row: Dataset
    check_state: JobState | None
    """None if there is no such job."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Selects data sets; an empty field selects all."""

    projects: Sequence[str] = ()
    text: str = ""
    """A part of the name or the beginning of the id, case-insensitive."""
    only_project: str | None = None
    """The only project that the reader may see, regardless of `projects`; None for all."""


_KNOWN = select(Dataset, Job.state).outerjoin(Job, Job.id == Dataset.check_job_id)


async def insert_dataset(
    session: WriteSession, *, name: str, project: str, data: FileData, created_by: str, now: datetime
) -> Dataset:
    """Insert a data set and return its row.

    Raises:
        ConflictError: the project already has a data set of this name.
    """
    if await named(session, project, name) is not None:
        raise ConflictError(
            f"the project {project!r} already has a data set {name!r}; choose another name, or remove the data set",
            name=name,
            project=project,
        )
    dataset_id = secrets.token_hex(6)
    await session.execute(
        insert(Dataset).values(
            id=dataset_id,
            name=name,
            project=project,
            data=data.model_dump(mode="json"),
            created_at=now,
            created_by=created_by,
        )
    )
    row = await session.get(Dataset, dataset_id)
    assert row is not None, "the row was just inserted"
    return row


async def find(session: WriteSession, key: str, project: str | None) -> Known:
    """Return the data set with this id or, if there is none, with this name.

    Args:
        project: the only project to search; None for all.
    Raises:
        NotFoundError: no data set has this id or name.
        ConflictError: several projects have a data set of this name.
    """
    found = [
        Known(row, state)
        for row, state in await session.execute(_KNOWN.where(or_(Dataset.id == key, Dataset.name == key)))
        if project is None or row.project == project
    ]
    chosen = [known for known in found if known.row.id == key] or found
    if not chosen:
        raise NotFoundError(
            f"no data set {key!r}; `fgd data list` or GET /v1/datasets lists all data sets", dataset=key
        )
    if len(chosen) > 1:
        projects = sorted(known.row.project for known in chosen)
        raise ConflictError(
            f"{len(chosen)} projects have a data set {key!r}: {', '.join(projects)}; give its id, or name the project",
            dataset=key,
            projects=[*projects],
        )
    return chosen[0]


async def page(
    session: WriteSession, wanted: Filter, *, before: tuple[datetime, str] | None, limit: int
) -> list[Known]:
    """Return a page of data sets, newest first.

    Args:
        before: (created_at, id) of the last data set of the previous page.
    """
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
    """Return a project's data set of this name; None if there is none."""
    return await session.scalar(select(Dataset).where(Dataset.project == project, Dataset.name == name))


async def names(session: WriteSession, project: str) -> list[str]:
    """Return at most 1000 names of a project's data sets."""
    return list(await session.scalars(select(Dataset.name).where(Dataset.project == project).limit(1000)))


async def is_there(session: WriteSession, dataset_id: str) -> bool:
    """Return whether the data set exists; if so, it exists until this transaction ends."""
    query = select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(read=True, key_share=True)
    return await session.scalar(query) is not None


async def lock(session: WriteSession, dataset_id: str) -> Known:
    """Lock a data set's row against other writers and return it.

    Raises:
        NotFoundError: the data set was removed.
    """
    row = await session.get(Dataset, dataset_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFoundError(f"the data set {dataset_id!r} was removed meanwhile; register it again", dataset=dataset_id)
    check = await session.get(Job, row.check_job_id) if row.check_job_id is not None else None
    return Known(row, check.state if check is not None else None)


async def note_use(session: WriteSession, job_id: str, dataset_id: str) -> None:
    """Record that a job uses a data set."""
    await session.execute(insert(JobDataset).values(job_id=job_id, dataset_id=dataset_id))


async def jobs_of(session: WriteSession, dataset_id: str, *, limit: int) -> tuple[list[Job], int]:
    """Return the newest jobs that use a data set, and the number of all."""
    of_set = JobDataset.dataset_id == dataset_id
    query = select(Job).join(JobDataset, JobDataset.job_id == Job.id).where(of_set)
    found = await session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit))
    number = await session.scalar(select(func.count()).select_from(JobDataset).where(of_set))
    return list(found), number or 0


async def deriving_job(session: WriteSession, row: Dataset) -> str | None:
    """Return the id of the unfinished job that makes pictures of the data set; None if there is none."""
    job = await session.get(Job, row.check_job_id) if row.check_job_id is not None else None
    return job.id if job is not None and job.kind == "derive_data" and not is_over(job.state) else None


async def begin_check(session: WriteSession, dataset_id: str, job_id: str) -> None:
    """Make a job the newest check of a data set."""
    await session.execute(update(Dataset).where(Dataset.id == dataset_id).values(check_job_id=job_id, check_error=None))


async def record(session: WriteSession, job_id: str, checked: DataSetChecked, now: datetime) -> None:
    """Store the result of a data set's newest check; results of older checks are ignored."""
    of_splits: dict[str, str] = {each.split: each.fingerprint for each in checked.splits}
    pool = {"pool": checked.pool.fingerprint} if checked.pool is not None else {}
    fingerprints = {**of_splits, "pictures": checked.pictures, **pool}
    await session.execute(
        update(Dataset)
        .where(Dataset.check_job_id == job_id)
        .values(
            outcome=storable(checked.model_dump(mode="json")),
            checked_at=now,
            fingerprints=fingerprints if set(of_splits) == {"train", "val"} else None,
        )
    )


async def conclude(session: WriteSession, job: Job, to: JobState, error: ErrorReport | None) -> None:
    """Store how a check ended, in the transaction that ends its job. Does nothing for jobs of other kinds."""
    if job.kind not in _CHECKING or not is_over(to):
        return
    row = await session.scalar(select(Dataset).where(Dataset.check_job_id == job.id))
    if row is None:
        return
    row.check_error = storable(error.model_dump(mode="json")) if error is not None and to == "failed" else None
    if row.check_error is not None and row.check_error["code"] == DataError.code:
        # The data is not usable any more: the results of earlier checks are no longer true.
        row.fingerprints = None
        if row.checked_at is None or row.checked_at < job.created_at:
            row.outcome, row.checked_at = None, None


async def remove(session: WriteSession, dataset_id: str) -> None:
    """Delete a data set. Jobs that are over keep everything they need in their specs.

    Args:
        dataset_id: of a row that is locked in this transaction.
    Raises:
        ConflictError: jobs that are not over use the data set.
    """
    using = select(Job.id).join(JobDataset, JobDataset.job_id == Job.id)
    query = using.where(JobDataset.dataset_id == dataset_id, Job.state.not_in(OVER)).order_by(Job.created_at).limit(20)
    job_ids = list(await session.scalars(query))
    if job_ids:
        raise ConflictError(
            f"jobs that are not over use this data set: {', '.join(job_ids)}; wait for them, or cancel them",
            jobs=[*job_ids],
        )
    await session.execute(delete(JobDataset).where(JobDataset.dataset_id == dataset_id))
    await session.execute(delete(Dataset).where(Dataset.id == dataset_id))
