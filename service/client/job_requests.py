"""The part of `FgdClient` that submits, lists, controls and deletes jobs."""

import copy
import itertools
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
from pydantic import JsonValue

from fgd_core.errors import AdmissionError, NotFoundError
from fgd_core.retrying import RetryPolicy, retry
from fgd_core.spec import notebook, tracing
from fgd_core.spec.drafts import DraftView
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.views import JobPage, JobPatch, JobSort, JobSummary, JobView, QueueView
from service.client.problems import accepted, unreachable
from service.client.spec_file import changed
from service.client.transport import LONG_TIMEOUT_S, Query, Transport, job_path, pages, read_model

_SUBMIT = RetryPolicy(first_pause_s=0.2, max_tries=3)
# The server may have received the request.
_LOST_ANSWER = (httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout)


class JobList(list[JobSummary]):
    """Holds jobs; a notebook shows the list as a table."""

    def _repr_html_(self) -> str:
        headings = ("id", "name", "kind", "project", "state", "epoch", "AP", "why")
        return notebook.table(headings, (_cells(job) for job in self))


class JobRequests(Transport):
    """Submits, lists, controls and deletes jobs."""

    def submit(self, spec: JobSpec | Mapping[str, Any], *, idempotency_key: str | None = None) -> JobView:
        """Submit a job. A request whose answer got lost is sent again with the same key, so the job runs once.

        Args:
            spec: also as a dict with the fields of a YAML file; its relative paths start from the current folder.
            idempotency_key: a second request with the same key returns the first job; default: a new key.
        Raises:
            SpecFileError: the dict is not a valid job; `reasons` holds every fault with its path.
        """
        if isinstance(spec, Mapping):
            spec = changed(copy.deepcopy(dict(spec)), "the spec", overrides=(), name=None)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex, **tracing.header(os.environ)}
        body = spec.model_dump(mode="json")
        try:
            answer = retry(
                lambda: self._http.post("/v1/jobs", json=body, headers=headers), on=_LOST_ANSWER, policy=_SUBMIT
            )
        except (httpx.TransportError, httpx.InvalidURL) as cause:
            raise unreachable(self.base_url, cause) from cause
        return read_model(JobView, accepted(answer))

    def check(self, spec: JobSpec) -> DraftView:
        """Return what a job would reach and cost, and when it could start; nothing is submitted.

        Raises:
            AdmissionError: the server would refuse the job; `reasons` holds every reason.
        """
        found = self._read(DraftView, "POST", "/v1/drafts", json={"text": spec.model_dump_json()})
        if found.reasons:
            reasons: list[JsonValue] = [reason.model_dump() for reason in found.reasons]
            raise AdmissionError("the server would refuse this job", reasons=reasons)
        return found

    def job(self, job_id: str) -> JobView:
        """Return one job with its spec, attempts, scores and files."""
        return self._read(JobView, "GET", job_path(job_id))

    def jobs(
        self,
        *,
        state: JobState | Sequence[JobState] | None = None,
        kind: str | None = None,
        project: str | None = None,
        seed_group: str | Sequence[str] | None = None,
        parent: str | None = None,
        text: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        sort: JobSort = "-created",
        page_size: int = 100,
    ) -> Iterator[JobSummary]:
        """Yield the jobs that match, newest first unless `sort` says otherwise; the server sends them page by page.

        Args:
            seed_group: of runs that differ only in the seed; see `JobSummary.seed_group`.
            parent: id of a job: the runs of that study, and the jobs that were made from its spec.
            text: a part of the name, or the beginning of the id.
        """
        query: Query = {
            "state": state,
            "kind": kind,
            "project": project,
            "seed_group": seed_group,
            "parent": parent,
            "q": text,
            "sort": sort,
            "limit": page_size,
            "created_after": created_after.isoformat() if created_after is not None else None,
            "created_before": created_before.isoformat() if created_before is not None else None,
        }
        for page in pages(self._read, JobPage, "/v1/jobs", query):
            yield from page.items

    def latest_jobs(self, limit: int = 20, **filters: Any) -> JobList:
        """Return the newest jobs that match; a notebook shows the list as a table.

        Args:
            filters: as for `jobs`.
        """
        return JobList(itertools.islice(self.jobs(page_size=min(limit, 100), **filters), limit))

    def find(self, prefix: str) -> JobView:
        """Return the job whose id is `prefix` or begins with it.

        Raises:
            NotFoundError: no id or several ids begin so; the message names them.
        """
        try:
            return self.job(prefix)
        except NotFoundError:
            if not prefix:
                raise
            found = [job.job_id for job in self.jobs(text=prefix[:100]) if job.job_id.startswith(prefix)]
        if len(found) == 1:
            return self.job(found[0])
        if found:
            shown = ", ".join(found[:5])
            raise NotFoundError(
                f"{len(found)} job ids begin with {prefix!r}: {shown}; give more of the id", prefix=prefix
            )
        raise NotFoundError(f"no job id is {prefix!r} or begins with it; `fgd jobs` lists the jobs", prefix=prefix)

    def cancel(self, job_id: str) -> JobView:
        """Ask a job to save and stop. The run has a grace period for this; `standstill` waits for its end."""
        return self._control(job_id, "cancel")

    def pause(self, job_id: str) -> JobView:
        """Ask a job to save, stop and release its resources until `resume`; `standstill` waits for this."""
        return self._control(job_id, "pause")

    def resume(self, job_id: str) -> JobView:
        """Queue a paused job again; it continues where it was paused."""
        return self._control(job_id, "resume")

    def retry(self, job_id: str) -> JobView:
        """Queue a failed or cancelled job again; it continues from its newest checkpoint."""
        return self._control(job_id, "retry")

    def change(
        self, job_id: str, *, priority: int | None = None, preemptible: bool | None = None, version: int | None = None
    ) -> JobView:
        """Change a job's priority, or whether an urgent job may pause it; None leaves a setting unchanged.

        Args:
            version: the server refuses the change, with the code `changed_meanwhile`, if the job has another version.
        """
        body = JobPatch(priority=priority, preemptible=preemptible).model_dump(exclude_none=True)
        headers = {"If-Match": f'"{version}"'} if version is not None else {}
        return self._read(JobView, "PATCH", job_path(job_id), json=body, headers=headers)

    def delete(self, job_id: str, *, force: bool = False) -> None:
        """Delete a job that is over, with all of its data and files.

        Args:
            force: also delete files that an alias of a model names.
        """
        params = {"force": "true"} if force else {}
        self._send("DELETE", job_path(job_id), params=params, timeout_s=LONG_TIMEOUT_S)

    def queue(self) -> QueueView:
        """Return the waiting jobs in the order of the queue, each with the reason why it waits."""
        return self._read(QueueView, "GET", "/v1/queue")

    def _control(self, job_id: str, action: str) -> JobView:
        return self._read(JobView, "POST", f"{job_path(job_id)}/{action}")


def _cells(job: JobSummary) -> tuple[object, ...]:
    progress = job.progress
    epoch = f"{progress.epoch}/{progress.epochs}" if progress.epoch is not None else ""
    ap = notebook.number(progress.best_ap)
    return job.job_id, job.name, job.kind, job.project, job.state, epoch, ap, job.reason or ""
