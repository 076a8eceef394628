"""The control plane, from Python.

with FgdClient() as client:
    job = client.submit(spec)
    for event in client.events(job.job_id):
        print(event.sequence, event.kind)
    print(client.report(job.job_id).jobs[0].result)
"""

import copy
import hashlib
import itertools
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from fgd_core.errors import FgdError, NotFoundError, StorageError
from fgd_core.spec import tracing
from fgd_core.spec.catalogue import Catalogue
from fgd_core.spec.comparison import Comparison
from fgd_core.spec.events import JobState, StoredEvent
from fgd_core.spec.housekeeping import HousekeepingView
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.plans import DistillationPlanned, read_plan
from fgd_core.spec.report import Report
from fgd_core.spec.views import (
    AllEventsPage,
    EventPage,
    JobPage,
    JobPatch,
    JobSummary,
    JobView,
    LogNote,
    LogPiece,
    QueueView,
    Ready,
)
from service.client import credentials, streaming
from service.client.address import server_url
from service.client.administration import Administration
from service.client.connecting import connect
from service.client.datasets import Datasets
from service.client.errors import FailedJobError
from service.client.job_list import JobList
from service.client.problems import accepted, not_ours, other_version, unreachable
from service.client.spec_file import changed
from service.client.sweeps import Sweeps
from service.jobs.lifecycle import ON_CLUSTER, OVER

_REQUESTS = ("cancel_requested", "pause_requested", "resume_requested", "retry_requested", "priority_changed")
# Files may have to be deleted, many and large ones.
_LONG_TIMEOUT_S = 600.0

M = TypeVar("M", bound=BaseModel)


class FgdClient:
    """One control plane. Every method raises UnreachableError, or the server's refusal as the class of its code.

    Args:
        base_url: where the control plane listens; that of the environment (FGD_SERVER), unless given, else
            http://127.0.0.1:8321.
        token: an API token; that of the environment (FGD_TOKEN, FGD_TOKEN_FILE), unless given.
        timeout_s: for each answer but the event stream's.
    Raises:
        UsageError: the URL, the token, or the environment's certificates or proxy cannot be used.
    """

    def __init__(self, base_url: str | None = None, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        self.base_url = server_url(base_url)
        headers = credentials.header(token if token is not None else credentials.token_of_environment())
        self._http = connect(self.base_url, headers=headers, timeout_s=timeout_s)

    def __repr__(self) -> str:
        # Without the token.
        return f"FgdClient({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def administration(self) -> Administration:
        """Tokens, projects, webhooks, the audit trail."""
        return Administration(self._read)

    @property
    def sweeps(self) -> Sweeps:
        """The trials of sweeps."""
        return Sweeps(self._read)

    @property
    def datasets(self) -> Datasets:
        """Data sets by name."""
        return Datasets(self._read, lambda path, query: self._send("GET", path, params=query).content)

    def catalogue(self) -> Catalogue:
        """What can be asked for there; `service.catalogue` is what this installation knows."""
        return _read(Catalogue, self._send("GET", "/v1/catalogue"))

    def ready(self) -> Ready:
        return _read(Ready, self._send("GET", "/readyz"))

    def submit(self, spec: JobSpec | Mapping[str, Any], *, idempotency_key: str | None = None) -> JobView:
        """Hand in a job. An answer lost on the way is asked for again under the same key, so it is never run twice.

        Args:
            spec: also as a dict with the fields of a YAML file; its relative paths are seen from the current folder.
        Raises:
            SpecFileError: the dict is no job; `reasons` holds every fault with its path.
        """
        if isinstance(spec, Mapping):
            spec = changed(copy.deepcopy(dict(spec)), "the spec", overrides=(), name=None)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex, **tracing.header(os.environ)}
        body = spec.model_dump(mode="json")
        for attempt in range(3):
            try:
                answer = self._http.post("/v1/jobs", json=body, headers=headers)
                break
            except (httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout) as cause:
                if attempt == 2:
                    raise unreachable(self.base_url, cause) from cause
            except (httpx.TransportError, httpx.InvalidURL) as cause:
                raise unreachable(self.base_url, cause) from cause
        return _read(JobView, accepted(answer))

    def job(self, job_id: str) -> JobView:
        return _read(JobView, self._send("GET", f"{_path(job_id)}"))

    def jobs(
        self,
        *,
        state: JobState | Sequence[JobState] | None = None,
        kind: str | None = None,
        project: str | None = None,
        text: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int = 100,
    ) -> Iterator[JobSummary]:
        """All jobs that pass, newest first, a page at a time.

        Args:
            text: somewhere in the name, or at the beginning of the id.
        """
        wanted: dict[str, Any] = {"state": state, "kind": kind, "project": project, "q": text, "limit": page_size}
        for name, at in (("created_after", created_after), ("created_before", created_before)):
            wanted[name] = at.isoformat() if at is not None else None
        query = {name: value for name, value in wanted.items() if value is not None}
        while True:
            page = _read(JobPage, self._send("GET", "/v1/jobs", params=query))
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def latest_jobs(self, limit: int = 20, **wanted: Any) -> JobList:
        """The newest jobs that pass, as a list that a notebook shows as a table.

        Args:
            wanted: as for `jobs`.
        """
        return JobList(itertools.islice(self.jobs(page_size=min(limit, 100), **wanted), limit))

    def find(self, prefix: str) -> JobView:
        """The one job whose id is, or begins with, `prefix`.

        Raises:
            NotFoundError: none does, or several do; the message names them.
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
            raise NotFoundError(f"{len(found)} job ids begin with {prefix!r}: {shown}; write more of it", prefix=prefix)
        raise NotFoundError(f"no job has the id {prefix!r} or one that begins so; `fgd jobs` lists them", prefix=prefix)

    def cancel(self, job_id: str) -> JobView:
        """Ask for an end. A run saves and stops within its grace; `standstill` tells when."""
        return self._ask(job_id, "cancel")

    def pause(self, job_id: str) -> JobView:
        """Ask it to save and stand still, holding nothing; `standstill` tells when it does."""
        return self._ask(job_id, "pause")

    def resume(self, job_id: str) -> JobView:
        """Queue a paused job again, to go on where it stood."""
        return self._ask(job_id, "resume")

    def retry(self, job_id: str) -> JobView:
        """Queue a failed or cancelled job again, to go on from its newest checkpoint."""
        return self._ask(job_id, "retry")

    def change(
        self, job_id: str, *, priority: int | None = None, preemptible: bool | None = None, version: int | None = None
    ) -> JobView:
        """Change its place in the queue.

        Args:
            version: refuse, with the code `changed_meanwhile`, where the job has moved on from this one.
        """
        body = JobPatch(priority=priority, preemptible=preemptible).model_dump(exclude_none=True)
        headers = {"If-Match": f'"{version}"'} if version is not None else {}
        return _read(JobView, self._send("PATCH", _path(job_id), json=body, headers=headers))

    def delete(self, job_id: str) -> None:
        """Delete a job that is over, with all that it left behind."""
        self._send("DELETE", _path(job_id), timeout=_LONG_TIMEOUT_S)

    def standstill(self, job_id: str, *, poll_s: float = 0.3) -> JobView:
        """The job, once nothing of it runs any more: paused, waiting or over."""
        while True:
            job = self.job(job_id)
            if job.state not in ON_CLUSTER:
                return job
            time.sleep(poll_s)

    def queue(self) -> QueueView:
        """The jobs that wait, in the order in which they are looked at, and why each does."""
        return _read(QueueView, self._send("GET", "/v1/queue"))

    def housekeeping(self, *, dry_run: bool = False) -> HousekeepingView:
        """Remove what the server's retention rules say, or only say what that is; ask again until `is_complete`."""
        query = {"dry_run": "true"} if dry_run else {}
        return _read(HousekeepingView, self._send("POST", "/v1/housekeeping", params=query, timeout=_LONG_TIMEOUT_S))

    def events(self, job_id: str, *, after: int = 0, on_drop: streaming.OnDrop | None = None) -> Iterator[StoredEvent]:
        """Every event of a job beyond sequence `after`, each once and in order, as they come, until the job is over.

        Once a first connection stood, a dropped one or a restarting server is waited for, without end.

        Args:
            on_drop: told how many seconds it will pause before it connects again.
        """

        def is_over(_: str | None) -> bool:
            # The server ends a stream when the job is over, but also when the stream has lived long enough.
            job = self.job(job_id)
            return job.state in OVER and job.last_sequence <= after

        path = f"{_path(job_id)}/events"
        for sent in streaming.follow(self._http, path, after=str(after), is_over=is_over, on_drop=on_drop):
            event = _parse(StoredEvent, sent.data)
            if event.sequence > after:
                after = event.sequence
                yield event

    def all_events(
        self,
        *,
        after: str,
        job_ids: Sequence[str] = (),
        project: str | None = None,
        kinds: Sequence[str] = (),
        on_drop: streaming.OnDrop | None = None,
    ) -> Iterator[StoredEvent]:
        """Events of all jobs behind a cursor, each once, those of each job in order, without end.

        Args:
            after: from `events_cursor`.
            on_drop: told how many seconds it will pause before it connects again.
        """
        query: dict[str, Any] = {"job_id": list(job_ids), "kind": list(kinds)} | (
            {"project": project} if project else {}
        )
        messages = streaming.follow(
            self._http, "/v1/events", params=query, after=after, is_over=lambda _: False, on_drop=on_drop
        )
        for sent in messages:
            yield _parse(StoredEvent, sent.data)

    def events_cursor(self) -> str:
        """This moment, for `all_events` to begin with."""
        answer = self._send("GET", "/v1/events", params={"limit": 1}, headers={"Accept": "application/json"})
        return _read(AllEventsPage, answer).next_cursor

    def log(self, job_id: str, attempt: int | None = None) -> str:
        """What an attempt, by default the newest, has printed so far."""
        return self._send("GET", f"{_path(job_id)}/logs", params={"attempt": attempt} if attempt else {}).text

    def follow_log(
        self, job_id: str, attempt: int | None = None, *, on_drop: streaming.OnDrop | None = None
    ) -> Iterator[LogPiece | LogNote]:
        """What a job prints, as it does, every line once: of one attempt, or of the newest and all after it.

        Args:
            on_drop: told how many seconds it will pause before it connects again.
        """
        query: dict[str, Any] = {"follow": True} | ({"attempt": attempt} if attempt else {})
        path = f"{_path(job_id)}/logs"
        for sent in streaming.follow(self._http, path, params=query, is_over=lambda _: False, on_drop=on_drop):
            match sent.event:
                case "log":
                    yield _parse(LogPiece, sent.data)
                case "note":
                    yield _parse(LogNote, sent.data)
                case "end":
                    return

    def stored_events(self, job_id: str) -> list[StoredEvent]:
        """Every event of a job so far."""
        events: list[StoredEvent] = []
        while True:
            query = {"after": events[-1].sequence if events else 0, "limit": 1000}
            answer = self._send("GET", f"{_path(job_id)}/events", params=query, headers={"Accept": "application/json"})
            page = _read(EventPage, answer)
            events += page.items
            if not page.items or page.items[-1].sequence >= page.last_sequence:
                return events

    def requests(self, job_id: str) -> list[StoredEvent]:
        """What users asked of a job since it was submitted: to pause, resume, cancel, retry, to change its priority."""
        query = {"job_id": job_id, "kind": list(_REQUESTS), "after": "0", "limit": 1000}
        answer = self._send("GET", "/v1/events", params=query, headers={"Accept": "application/json"})
        return _read(AllEventsPage, answer).items

    def plan(self, job_id: str) -> DistillationPlanned | None:
        """What a distillation takes from its teacher and what it leaves out; None until its run has said it."""
        query = {"job_id": job_id, "kind": ["distillation_planned"], "after": "0", "limit": 1000}
        answer = self._send("GET", "/v1/events", params=query, headers={"Accept": "application/json"})
        told = _read(AllEventsPage, answer).items
        return read_plan(told[-1].data) if told else None

    def wait(self, job_id: str) -> JobView:
        """The job, once it is over.

        Raises:
            FailedJobError: it failed or was cancelled.
        """
        newest = self.job(job_id).last_sequence
        for _ in self.events(job_id, after=newest):
            pass
        job = self.job(job_id)
        if job.state != "succeeded":
            why = job.error.message if job.error else (job.reason or "no reason given")
            raise FailedJobError(f"job {job.name} ({job_id}) {job.state}: {why}", job_id=job_id, state=job.state)
        return job

    def report(self, job_id: str, *, beside: Sequence[str] = ()) -> Report:
        """The report on a job, with others beside it."""
        return _read(Report, self._report("json", job_id, beside))

    def report_as(self, form: Literal["json", "html", "csv"], job_id: str, *, beside: Sequence[str] = ()) -> bytes:
        return self._report(form, job_id, beside).content

    def compare(
        self, first: Sequence[str], second: Sequence[str], *, resamples: int = 1000, random_seed: int = 0
    ) -> Comparison:
        """The runs of the first group against those of the second; takes seconds, on large data sets a minute."""
        return _read(Comparison, self._comparison("json", first, second, resamples, random_seed))

    def comparison_page(
        self, first: Sequence[str], second: Sequence[str], *, resamples: int = 1000, random_seed: int = 0
    ) -> bytes:
        return self._comparison("html", first, second, resamples, random_seed).content

    def download_artifact(self, job_id: str, name: str, to: Path) -> Path:
        """Fetch a file that a job left behind; `to` appears only when it is whole and its SHA-256 is right.

        Raises:
            NotFoundError: the job has no such artifact; the message names those it has.
            StorageError: it cannot be written to `to`, or arrived damaged.
        """
        artifacts = {artifact.name: artifact for artifact in self.job(job_id).artifacts}
        if name not in artifacts:
            known = ", ".join(sorted(artifacts)) or "none yet"
            raise NotFoundError(f"job {job_id} has no artifact {name!r}; it has: {known}", name=name)
        part = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
        try:
            digest = self._copy(f"{_path(job_id)}/artifacts/{quote(name)}", part)
            if digest != artifacts[name].sha256:
                raise StorageError(f"{name} of job {job_id} arrived damaged; fetch it again", sha256=digest)
            part.replace(to)
        except OSError as cause:
            raise StorageError(f"cannot write {to}: {cause.strerror}; choose another place", path=str(to)) from cause
        finally:
            part.unlink(missing_ok=True)
        return to

    def text_artifact(self, job_id: str, name: str) -> str:
        return self._send("GET", f"{_path(job_id)}/artifacts/{quote(name)}").text

    def _ask(self, job_id: str, what: str) -> JobView:
        return _read(JobView, self._send("POST", f"{_path(job_id)}/{what}"))

    def _report(self, form: str, job_id: str, beside: Sequence[str]) -> httpx.Response:
        query: dict[str, Any] = {"with": list(beside), "format": form}
        return self._send("GET", f"{_path(job_id)}/report", params=query)

    def _comparison(
        self, form: str, first: Sequence[str], second: Sequence[str], resamples: int, random_seed: int
    ) -> httpx.Response:
        query = {"a": list(first), "b": list(second), "resamples": resamples, "seed": random_seed, "format": form}
        return self._send("GET", "/v1/compare", params=query, timeout=_LONG_TIMEOUT_S)

    def _copy(self, path: str, to: Path) -> str:
        digest = hashlib.sha256()
        try:
            with self._http.stream("GET", path) as answer, to.open("wb") as file:
                if not answer.is_success:
                    answer.read()
                for block in accepted(answer).iter_bytes():
                    digest.update(block)
                    file.write(block)
        except httpx.TransportError as cause:
            raise unreachable(self.base_url, cause) from cause
        return digest.hexdigest()

    def _read(self, model: type[M], method: str, path: str, **options: Any) -> M:
        return _read(model, self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return accepted(self._http.request(method, path, **options))
        except (httpx.TransportError, httpx.InvalidURL) as cause:
            raise unreachable(self.base_url, cause) from cause


def _path(job_id: str) -> str:
    """Raises NotFoundError for an empty id, whose path would be that of all jobs."""
    if not job_id:
        raise NotFoundError("an empty id names no job; `fgd jobs` lists them")
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _read(model: type[M], response: httpx.Response) -> M:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as cause:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        fields = ", ".join(dict.fromkeys(".".join(map(str, fault["loc"])) for fault in cause.errors()[:3]))
        if is_json and fields:
            raise other_version(response, f"answered without a {fields} that can be read") from cause
        raise not_ours(response) from cause


def _parse(model: type[M], message: str) -> M:
    try:
        return model.model_validate_json(message)
    except ValidationError as cause:
        raise FgdError("the control plane sends what this client does not understand; use its version") from cause
