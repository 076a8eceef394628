"""The control plane as a run sees it: one question at the start, then batches of events and, for some, files.

On urllib rather than httpx: a run's first event waits for this module's imports, and httpx costs five times as much.
"""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from pydantic import ValidationError

from fgd_core.errors import ConflictError, NetworkError, SpecError, StaleAttemptError, StorageError
from fgd_core.spec.attempts import Assignment, BatchReply
from fgd_core.spec.trials import StudyLog

TIMEOUT_S = 15.0


class ControlPlane:
    """Can be pickled; its token then goes along.

    Args:
        url: the control plane's base address.
        token: of this attempt; for `claim` the claim code.
    Raises:
        StaleAttemptError: from any method: another attempt has taken over, or the job is over.
        ConflictError: from any method: it does not know this attempt or its token.
        SpecError: from any method: it, or this run, cannot read what the other wrote.
        StorageError: from any method: its storage is full.
        NetworkError: from any method: it cannot be reached, or is in trouble itself; asking again may help.
    """

    def __init__(self, url: str, attempt_id: str, token: str) -> None:
        self._arguments = (url, attempt_id, token)
        self._url = f"{url.rstrip('/')}/v1/attempts/{urllib.parse.quote(attempt_id, safe='')}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        # A proxy set for the outer world cannot reach this machine's own loopback.
        is_loopback = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        proxies = [urllib.request.ProxyHandler({})] if is_loopback else []
        self._opener = urllib.request.build_opener(_Http, _Https, *proxies)

    def __reduce__(self) -> tuple[Callable[..., "ControlPlane"], tuple[str, str, str]]:
        return ControlPlane, self._arguments

    def claim(self, secret: str) -> tuple["ControlPlane", bytes]:
        """Buy the attempt's token, as often as an answer is lost with the same secret.

        Returns:
            The control plane as the token opens it, and the assignment in JSON: who cannot read that can still say so.
        Raises:
            ConflictError: somebody else was first, or the attempt is over.
        """
        url, attempt_id, _ = self._arguments
        try:
            answer = self._ask("/claim", json.dumps({"secret": secret}).encode())
        except ConflictError as error:
            raise ConflictError(
                "the token of this attempt was refused: somebody else has claimed it with the code from this run's "
                "environment, or the attempt is over; the control plane's log says which, and who can read Ray's "
                "dashboard can read the code",
                **error.details,
            ) from error
        try:
            content = json.loads(answer)
            return ControlPlane(url, attempt_id, str(content["token"])), json.dumps(content["assignment"]).encode()
        except (ValueError, KeyError, TypeError) as error:
            raise self._is_somebody_else(answer) from error

    def assignment(self) -> bytes:
        """In JSON."""
        return self._ask("", None)

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
            raise self._is_somebody_else(answer) from error

    def open(
        self,
        method: str,
        path: str,
        *,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> http.client.HTTPResponse:
        """The answer to a request below this attempt's address, to be closed by whoever asked.

        Args:
            body: a file is sent from where it stands, with the `Content-Length` that `headers` give.
        """
        request = urllib.request.Request(
            self._url + path, data=body, headers={**self._headers, **(headers or {})}, method=method
        )
        try:
            answer: http.client.HTTPResponse = self._opener.open(request, timeout=timeout_s)
            return answer
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._is_away(error) from error

    def _ask(self, path: str, body: bytes | None) -> bytes:
        with self.open("GET" if body is None else "POST", path, body=body) as answer:
            try:
                return answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._is_away(error) from error

    def _is_away(self, error: Exception) -> NetworkError:
        return NetworkError(
            "the control plane cannot be reached; the run goes on and tries again", url=self._url, cause=str(error)
        )

    def _is_somebody_else(self, answer: bytes) -> NetworkError:
        return NetworkError(
            "what answers is not the control plane; check FGD_URL",
            url=self._url,
            answer=answer[:200].decode("latin1"),
        )

    def _refusal(self, error: urllib.error.HTTPError) -> ConflictError | SpecError | StorageError | NetworkError:
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
                    "the control plane cannot read what this run sent", url=self._url, status=error.code, cause=cause
                )
            case 507:
                return StorageError("the control plane's storage is full", url=self._url, cause=cause)
            case _:
                return NetworkError("the control plane is in trouble", url=self._url, status=error.code, cause=cause)


def read_assignment(content: bytes) -> Assignment:
    """
    Raises:
        SpecError: it was written by another version of the control plane.
    """
    try:
        return Assignment.model_validate_json(content)
    except ValidationError as error:
        raise SpecError(
            "this run cannot read its job's specification; install the same version on the cluster and the server",
            problems=[f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()],
        ) from error


class _Patient:
    """Hears a refusal that came while the body was still under way: it says more than the broken pipe does."""

    def request(self, *arguments: Any, **options: Any) -> None:
        # Of a file at once: each piece takes the interpreter away from the training.
        self.blocksize = 1 << 20
        with suppress(BrokenPipeError, ConnectionResetError):
            super().request(*arguments, **options)  # type: ignore[misc]


class _HttpConnection(_Patient, http.client.HTTPConnection):
    pass


class _HttpsConnection(_Patient, http.client.HTTPSConnection):
    pass


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpsConnection, request)
