"""The control plane's HTTP interface for runs: one request at the start, then batches of events and, for some, files.

It uses urllib rather than httpx: a run's first event waits for this module's imports, and httpx takes five times as
long to import.
"""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from fgd_core.errors import ConflictError, FgdError, NetworkError, SpecError, StaleAttemptError, StorageError
from fgd_core.retrying import RetryPolicy, retry
from fgd_core.spec.attempts import Assignment, BatchReply
from fgd_core.spec.trials import StudyLog
from workers.run_log import write_line

TIMEOUT_S = 15.0
RETRY_TIMEOUT_S = 600.0
"""How long a run that cannot work without an answer retries."""
BACKGROUND_RETRIES = RetryPolicy(timeout_s=30 * 86_400.0)
"""For events and files, which wait while training continues: longer than any outage, so that none of them is lost."""

Answer = TypeVar("Answer")
Read = TypeVar("Read", bound=BaseModel)


class ControlPlane:
    """Sends the requests of one attempt. It can be pickled, and its pickle contains the token.

    Args:
        url: the control plane's base address.
        token: the attempt's token; for `claim`, the claim code.
    Raises:
        StaleAttemptError: from any method: another attempt has taken over, or the job is over.
        ConflictError: from any method: the control plane does not know this attempt or its token.
        SpecError: from any method: the run or the control plane cannot read what the other one wrote.
        StorageError: from any method: the control plane's storage is full.
        NetworkError: from any method: the control plane cannot be reached, or has failed; a retry may help.
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
        """Exchange the claim code for the attempt's token. A retry after a lost answer must send the same secret.

        Returns:
            A control plane that uses the token, and the assignment in JSON. The caller parses the assignment, because
            a run that cannot read it can still report that with the token.
        Raises:
            ConflictError: another process has used the claim code, or the attempt is over.
        """
        url, attempt_id, _ = self._arguments
        try:
            answer = self.request("POST", "/claim", body=json.dumps({"secret": secret}).encode())
        except ConflictError as error:
            raise ConflictError(
                "the control plane refused to give this run its token: another process has used the claim code from "
                "this run's environment, or the attempt is over; the control plane's log says which. Everybody who can "
                "read Ray's dashboard can read the code",
                **error.details,
            ) from error
        try:
            content = json.loads(answer)
            return ControlPlane(url, attempt_id, str(content["token"])), json.dumps(content["assignment"]).encode()
        except (ValueError, KeyError, TypeError) as error:
            raise self.unexpected_answer(answer) from error

    def assignment(self) -> bytes:
        """Fetch the assignment, in JSON."""
        return self.request("GET", "")

    def study(self, after: int) -> StudyLog:
        """Fetch the sweep's stored events whose sequence is greater than `after`."""
        return _read(StudyLog, self.request("GET", f"/study?after={after}"), "its sweep's history")

    def report(self, stream: str, events: Sequence[str]) -> BatchReply:
        """Send a batch of `ReportedEvent`s in JSON; an empty batch is a heartbeat."""
        body = f'{{"stream":{json.dumps(stream)},"events":[{",".join(events)}]}}'
        answer = self.request("POST", "/events", body=body.encode())
        try:
            return BatchReply.model_validate_json(answer)
        except ValidationError as error:
            raise self.unexpected_answer(answer) from error

    def open(
        self,
        method: str,
        path: str,
        *,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> http.client.HTTPResponse:
        """Send a request below this attempt's address and return the open answer; the caller closes it.

        Args:
            body: a file is sent from its current position, with the `Content-Length` in `headers`.
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
            raise self._unreachable(error) from error

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> bytes:
        """Send a request as `open` does, and return the body of the answer."""
        with self.open(method, path, body=body, headers=headers, timeout_s=timeout_s) as answer:
            try:
                return answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error

    def unexpected_answer(self, answer: bytes) -> NetworkError:
        """Return the error for an answer that this run cannot parse."""
        return NetworkError(
            "the answer does not come from the control plane; check FGD_URL",
            url=self._url,
            answer=answer[:200].decode("latin1"),
        )

    def _unreachable(self, error: Exception) -> NetworkError:
        return NetworkError(
            "the control plane cannot be reached; the run continues and retries", url=self._url, cause=str(error)
        )

    def _refusal(self, error: urllib.error.HTTPError) -> FgdError:
        try:
            cause = error.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            cause = ""
        kind, message = _REFUSALS.get(error.code, _FAILURE)
        return kind(message, url=self._url, status=error.code, cause=cause)


_REFUSALS: Mapping[int, tuple[type[FgdError], str]] = {
    409: (StaleAttemptError, "another attempt has taken over, or the job is over"),
    507: (StorageError, "the control plane's storage is full"),
    **dict.fromkeys(
        (401, 403, 404),
        (ConflictError, "the control plane does not know this attempt or its token; was its database replaced?"),
    ),
    **dict.fromkeys((400, 413, 422), (SpecError, "the control plane cannot read what this run sent")),
}
"""The error for each HTTP status."""
_FAILURE = NetworkError, "the control plane failed to answer the request"


def retry_until_reachable(
    call: Callable[[], Answer], *, timeout_s: float = RETRY_TIMEOUT_S, is_over: Callable[[], bool] = lambda: False
) -> Answer:
    """Call the control plane until it answers; the run's log says once that the run waits.

    Args:
        is_over: True when nobody needs the answer any more.
    Raises:
        NetworkError: the last one, after `timeout_s` or when `is_over`.
        Stopped: the run was asked to stop.
    """
    return retry(
        call,
        on=NetworkError,
        policy=RetryPolicy(timeout_s=timeout_s),
        on_first_failure=lambda error: write_line(f"waiting for the control plane: {error}"),
        is_over=is_over,
    )


def read_assignment(content: bytes) -> Assignment:
    """Parse an assignment.

    Raises:
        SpecError: another version of the control plane wrote it.
    """
    return _read(Assignment, content, "its job's specification")


def _read(model: type[Read], content: bytes, what: str) -> Read:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise SpecError(
            f"this run cannot read {what}; install the same version on the cluster and the server",
            problems=[f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10]],
        ) from error


class _HttpConnection(http.client.HTTPConnection):
    """Reads an early refusal: an answer that arrives while the body is sent says more than the broken pipe."""

    def request(self, *arguments: object, **options: object) -> None:
        # Large blocks of a file: each block takes the interpreter away from the training.
        self.blocksize = 1 << 20
        with suppress(BrokenPipeError, ConnectionResetError):
            super().request(*arguments, **options)  # type: ignore[arg-type]


class _HttpsConnection(_HttpConnection, http.client.HTTPSConnection):
    """The same over TLS."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpsConnection, request)
