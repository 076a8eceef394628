"""The control plane as a run sees it: one question at the start, then batches of events.

On urllib rather than httpx: a run's first event waits for this module's imports, and httpx costs five times as much.
"""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence

from pydantic import ValidationError

from fgd_core.errors import ConflictError, NetworkError, SpecError, StaleAttemptError
from fgd_core.spec.attempts import Assignment, BatchReply
from fgd_core.spec.trials import StudyLog

TIMEOUT_S = 15.0


class ControlPlane:
    """
    Args:
        url: the control plane's base address.
        token: of this attempt.
    Raises:
        StaleAttemptError: from any method: another attempt has taken over, or the job is over.
        ConflictError: from any method: it does not know this attempt or its token.
        SpecError: from any method: it, or this run, cannot read what the other wrote.
        NetworkError: from any method: it cannot be reached, or is in trouble itself; asking again may help.
    """

    def __init__(self, url: str, attempt_id: str, token: str) -> None:
        self._url = f"{url.rstrip('/')}/v1/attempts/{urllib.parse.quote(attempt_id, safe='')}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        # A proxy set for the outer world cannot reach this machine's own loopback.
        is_loopback = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        self._opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_loopback else []))

    def assignment(self) -> Assignment:
        answer = self._ask("", None)
        try:
            return Assignment.model_validate_json(answer)
        except ValidationError as error:
            raise SpecError(
                "this run cannot read its job's specification; install the same version on the cluster and the server",
                problems=[f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()],
            ) from error

    def study(self, after: int) -> StudyLog:
        """What is stored of a sweep behind an event of this sequence."""
        answer = self._ask(f"/study?after={after}", None)
        try:
            return StudyLog.model_validate_json(answer)
        except ValidationError as error:
            raise SpecError(
                "this run cannot read its sweep's history; install the same version on the cluster and the server",
                problems=[*(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])],
            ) from error

    def report(self, stream: str, events: Sequence[str]) -> BatchReply:
        """Send `ReportedEvent`s in JSON; none of them is a heartbeat."""
        answer = self._ask("/events", f'{{"stream":{json.dumps(stream)},"events":[{",".join(events)}]}}'.encode())
        try:
            return BatchReply.model_validate_json(answer)
        except ValidationError as error:
            raise NetworkError(
                "what answers is not the control plane; check FGD_URL",
                url=self._url,
                answer=answer[:200].decode("latin1"),
            ) from error

    def _ask(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(self._url + path, data=body, headers=self._headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError(
                "the control plane cannot be reached; the run goes on and tries again", url=self._url, cause=str(error)
            ) from error

    def _refusal(self, error: urllib.error.HTTPError) -> ConflictError | SpecError | NetworkError:
        try:
            cause = error.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            cause = ""
        match error.code:
            case 409:
                return StaleAttemptError(
                    "another attempt has taken over, or the job is over", url=self._url, cause=cause
                )
            case 401 | 403 | 404:
                return ConflictError(
                    "the control plane does not know this attempt or its token; was its database replaced?",
                    url=self._url,
                    status=error.code,
                    cause=cause,
                )
            case 400 | 413 | 422:
                return SpecError(
                    "the control plane cannot read this batch", url=self._url, status=error.code, cause=cause
                )
            case _:
                return NetworkError("the control plane is in trouble", url=self._url, status=error.code, cause=cause)
