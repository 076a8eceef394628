"""A client of the API from outside: through the one published port, with a token."""

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from deploy.verifying.engine import ROOT

OVER = ("succeeded", "failed", "cancelled")


class VerificationError(Exception):
    """A precondition of the following checks does not hold."""


@dataclass(frozen=True)
class Answer:
    """Holds a response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def replica(self) -> str:
        return self.headers.get("x-served-by", "")


@dataclass
class Api:
    """Sends requests to one server."""

    url: str
    token: str

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        accept: str = "*/*",
        content_type: str = "application/json",
        timeout_s: float = 30,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Return the response, whatever its status; status 0 means no response."""
        request = self._request(method, path, body, {"Accept": accept, "Content-Type": content_type} | (headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as refusal:
            return Answer(refusal.code, {k.lower(): v for k, v in refusal.headers.items()}, refusal.read())
        except OSError as cause:
            return Answer(0, {}, str(cause).encode())

    def get(self, path: str) -> Any:
        """Return parsed JSON; retries server errors and missing answers for two minutes."""
        return self._until_answered(lambda: self.ask("GET", path, accept="application/json"))

    def submit(self, spec: str) -> tuple[str, str]:
        """Submit a job; returns its id, and the replica that accepted it."""
        # The key lets the gateway retry the request at the other replica if the first one dies, as for `fgd`.
        key = {"Idempotency-Key": uuid.uuid4().hex}
        answer = self.ask("POST", "/v1/jobs", spec.encode(), content_type="application/yaml", headers=key)
        if answer.status != 202:
            raise VerificationError(f"the job was refused: {answer.status} {answer.body.decode()[:2000]}")
        return str(answer.json["job_id"]), answer.replica

    def job(self, job_id: str) -> Any:
        return self.get(f"/v1/jobs/{job_id}")

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return all events so far."""
        found: list[dict[str, Any]] = []
        while page := self.get(f"/v1/jobs/{job_id}/events?after={found[-1]['sequence'] if found else 0}")["items"]:
            found += page
        return found

    def stream(self, path: str, *, but_not: str = "") -> tuple[str, Iterator[tuple[str, str]]]:
        """Open a stream from a replica other than `but_not`; returns that replica, and (id, data) of each message."""
        for _ in range(20):
            answer = urllib.request.urlopen(
                self._request("GET", path, None, {"Accept": "text/event-stream"}), timeout=60
            )
            replica = answer.headers.get("X-Served-By", "")
            if replica != but_not:
                return replica, _messages(answer)
            answer.close()
        raise VerificationError(f"every stream came from {but_not}")

    def wait(self, job_id: str, until: Callable[[Any], bool], *, timeout_s: float = 900) -> Any:
        """Wait until `until(job)` is true; returns the job.

        Raises:
            VerificationError: the job ended before, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            job = self.job(job_id)
            if until(job):
                return job
            if job["state"] in OVER or time.monotonic() > deadline:
                raise VerificationError(
                    f"{job['name']} is {job['state']} ({job.get('message')}), after {timeout_s} s at most"
                )
            time.sleep(0.5)

    def wait_over(self, job_id: str, *, timeout_s: float = 900) -> Any:
        return self.wait(job_id, lambda job: job["state"] in OVER, timeout_s=timeout_s)

    def _until_answered(self, ask: Callable[[], Answer]) -> Any:
        deadline = time.monotonic() + 120
        while (answer := ask()).status != 200:
            if time.monotonic() > deadline or answer.status in (400, 401, 403, 404, 422):
                raise VerificationError(f"{answer.status}: {answer.body.decode()[:500]}")
            time.sleep(0.3)
        return answer.json

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> urllib.request.Request:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return urllib.request.Request(self.url + path, data=body, method=method, headers={**own, **headers})


@dataclass
class Prober:
    """Repeats one request in a loop, and records failures."""

    api: Api
    path: str
    failures: list[str] = field(default_factory=list)
    asked: int = 0
    longest_s: float = 0.0
    stops: bool = False

    def __call__(self) -> None:
        while not self.stops:
            began = time.monotonic()
            answer = self.api.ask("GET", self.path, timeout_s=10)
            self.asked += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.body[:200]!r}")
            time.sleep(0.1)


def example(file: str, /, **changes: object) -> str:
    """Return a spec of examples/demo as YAML, with changed numbers or names."""
    text = (ROOT / "examples" / "demo" / f"{file}.yaml").read_text()
    for field_name, value in changes.items():
        text, count = re.subn(rf"(?m)\b({field_name}: *)[^\s,}}#]+(?: [^\s,}}#]+)*", rf"\g<1>{value}", text, count=1)
        if not count:
            raise VerificationError(f"examples/demo/{file}.yaml has no field {field_name}")
    return text


def _messages(answer: Any) -> Iterator[tuple[str, str]]:
    id_, data = "", ""
    for line in answer:
        field_name, _, value = line.decode().rstrip("\n").partition(":")
        if field_name == "id":
            id_ = value.strip()
        elif field_name == "data":
            data += value.strip()
        elif not line.strip():
            if data:
                yield id_, data
            data = ""
