"""The part of `FgdClient` that fetches reports, comparisons and artifacts."""

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

import httpx

from fgd_core.errors import NotFoundError, StorageError
from fgd_core.spec.comparison import Comparison
from fgd_core.spec.report import Report
from service.client.job_requests import JobRequests
from service.client.problems import accepted, unreachable
from service.client.transport import LONG_TIMEOUT_S, Query, job_path, read_model

ReportForm: TypeAlias = Literal["json", "html", "csv"]


class JobFiles(JobRequests):
    """Fetches reports, comparisons and artifacts."""

    def report(self, job_id: str, *, beside: Sequence[str] = ()) -> Report:
        """Return the report on a job, together with other jobs."""
        return read_model(Report, self._report("json", job_id, beside))

    def report_as(self, form: ReportForm, job_id: str, *, beside: Sequence[str] = ()) -> bytes:
        """Return the report on a job as the content of a file."""
        return self._report(form, job_id, beside).content

    def compare(
        self, first: Sequence[str], second: Sequence[str], *, resamples: int = 1000, random_seed: int = 0
    ) -> Comparison:
        """Compare the runs of the first group with those of the second.

        It takes seconds; on large data sets it takes a minute.
        """
        return read_model(Comparison, self._comparison("json", first, second, resamples, random_seed))

    def comparison_page(
        self, first: Sequence[str], second: Sequence[str], *, resamples: int = 1000, random_seed: int = 0
    ) -> bytes:
        """Return the same comparison as one HTML file."""
        return self._comparison("html", first, second, resamples, random_seed).content

    def download_artifact(self, job_id: str, name: str, to: Path) -> Path:
        """Download a file of a job; `to` appears only when the file is complete and its SHA-256 matches.

        Raises:
            NotFoundError: the job has no such artifact; the message names the artifacts that it has.
            StorageError: `to` cannot be written, or the file arrived damaged.
        """
        artifacts = {artifact.name: artifact for artifact in self.job(job_id).artifacts}
        if name not in artifacts:
            known = ", ".join(sorted(artifacts)) or "none yet"
            raise NotFoundError(f"job {job_id} has no artifact {name!r}; it has: {known}", name=name)
        part = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
        try:
            digest = self._download(f"{job_path(job_id)}/artifacts/{quote(name)}", part)
            if digest != artifacts[name].sha256:
                raise StorageError(f"{name} of job {job_id} arrived damaged; download it again", sha256=digest)
            part.replace(to)
        except OSError as cause:
            raise StorageError(f"cannot write {to}: {cause.strerror}; choose another path", path=str(to)) from cause
        finally:
            part.unlink(missing_ok=True)
        return to

    def _report(self, form: str, job_id: str, beside: Sequence[str]) -> httpx.Response:
        return self._send("GET", f"{job_path(job_id)}/report", params={"with": list(beside), "format": form})

    def _comparison(
        self, form: str, first: Sequence[str], second: Sequence[str], resamples: int, random_seed: int
    ) -> httpx.Response:
        query: Query = {
            "a": list(first),
            "b": list(second),
            "resamples": resamples,
            "seed": random_seed,
            "format": form,
        }
        return self._send("GET", "/v1/compare", params=query, timeout_s=LONG_TIMEOUT_S)

    def _download(self, path: str, to: Path) -> str:
        """Write the body of an answer to a file, and return its SHA-256."""
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
