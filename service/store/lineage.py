"""Reads from which jobs a job's spec was made, and which specs were made from it."""

from sqlalchemy import select

from fgd_core.spec.lineage import JobLineage, Relative, changed_fields
from service.store.tables import Job
from service.store.write_session import WriteSession

MAX_LINE, MAX_CHILDREN = 20, 50


async def of_job(session: WriteSession, job: Job, *, only_project: str | None) -> JobLineage:
    """Return the lineage of a job.

    Args:
        only_project: the only project that the reader may see; None for all.
    """
    line = [job]
    while line[0].parent_id is not None and len(line) < MAX_LINE:
        parent = await session.get(Job, line[0].parent_id)
        if parent is None or only_project not in (None, parent.project):
            break
        line.insert(0, parent)
    newest = select(Job).where(Job.parent_id == job.id).order_by(Job.created_at.desc(), Job.id.desc())
    if only_project is not None:
        newest = newest.where(Job.project == only_project)
    children = await session.scalars(newest.limit(MAX_CHILDREN))
    return JobLineage(
        line=[_relative(each, made_from) for made_from, each in zip([None, *line], line, strict=False)],
        unknown_parent=line[0].parent_id is not None,
        children=[_relative(child, job) for child in children],
    )


def _relative(job: Job, made_from: Job | None) -> Relative:
    return Relative(
        job_id=job.id,
        name=job.name,
        kind=job.kind,
        state=job.state,
        created_at=job.created_at,
        best_ap=job.best_ap,
        changes=changed_fields(made_from.spec, job.spec) if made_from is not None else [],
    )
