"""A list of jobs that a notebook shows as a table."""

from fgd_core.spec import notebook
from fgd_core.spec.views import JobSummary


class JobList(list[JobSummary]):
    def _repr_html_(self) -> str:
        headings = ("id", "name", "kind", "project", "state", "epoch", "AP", "why")
        return notebook.table(headings, (_cells(job) for job in self))


def _cells(job: JobSummary) -> tuple[object, ...]:
    at = job.progress
    epoch = f"{at.epoch}/{at.epochs}" if at.epoch is not None else ""
    return job.job_id, job.name, job.kind, job.project, job.state, epoch, notebook.number(at.best_ap), job.reason or ""
