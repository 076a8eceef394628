"""Hostile bodies: no request blocks the server's event loop for long, so others get answers meanwhile.

The delay of an answer is its wall time or the server's processor time during it, whichever is less: on a busy machine,
the server is not responsible for the time that it had to wait for a processor.

`pytest -s` prints the longest delay of `/livez` for each body.
"""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.server.app import token_mint
from service.settings import Settings
from tests.service.control_plane import train_spec
from tests.service.served_apart import Apart, served_apart
from tests.tiers import slow

LIMIT_S = 0.5
TRIES = 3
"""A body that blocks the loop does so each time; a busy machine does not."""


@dataclass(frozen=True)
class Hostile:
    body: bytes
    path: str = "/v1/jobs"
    method: str = "POST"
    kind: str = "application/json"


def spec(**changes: Any) -> Hostile:
    return Hostile(json.dumps(train_spec(**changes)).encode())


def sweep(space: Any, **changes: Any) -> Hostile:
    base = {name: value for name, value in train_spec().items() if name != "name"}
    body = {"kind": "sweep", "name": "s", "base": base, "space": space, "budget": {"trials": 4}}
    return Hostile(json.dumps(body | changes).encode())


def yaml(text: bytes) -> Hostile:
    return Hostile(text, kind="application/yaml")


def sent(content: Any, path: str, method: str = "POST") -> Hostile:
    return Hostile(json.dumps(content).encode(), path, method)


def keys(count: int, length: int = 8) -> dict[str, int]:
    return {f"key{index:0{length}}": index for index in range(count)}


def integers(count: int, high: int, searcher: str = "grid") -> Hostile:
    each = {"type": "integers", "low": 0, "high": high}
    return sweep({f"training.field{index}": each for index in range(count)}, searcher={"type": searcher})


def choices(values: list[Any], **changes: Any) -> Hostile:
    return sweep({"training.optimizer.learning_rate": {"type": "choice", "values": values}}, **changes)


def rates(count: int) -> list[float]:
    return [number / 100_000 for number in range(1, count + 1)]


def events(count: int, **data: Any) -> Hostile:
    return batch(*({"sequence": n, "at": "2026-01-01T00:00:00Z", "event": data} for n in range(1, count + 1)))


def batch(*reported: Any, **more: Any) -> Hostile:
    return sent({"stream": "hostile", "events": list(reported), **more}, EVENTS)


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


def conditions(count: int) -> dict[str, Any]:
    """Return a space in which each dimension depends on the next one."""
    one = {"type": "uniform", "low": 0, "high": 1}
    names = [f"training.f{number}" for number in range(count)]
    return {name: one | {"when": {"field": other, "is_in": [*range(10)]}} for name, other in itertools.pairwise(names)}


PARTS = ("detector", "data", "training", "resources", "retry")
EVENTS = "/v1/attempts/{attempt}/events"
PROGRESS = {"kind": "progress", "epoch": 1, "epochs": 2, "step": 1, "steps": 9, "images_per_s": 8.0, "eta_s": 3.0}
OF_VALUES = PROGRESS | {"learning_rate": 0.1}
COCO = {"type": "coco", "train": {}, "val": {}}

# Built when the test runs, because they are large.
BODIES: dict[str, Callable[[], Hostile]] = {
    "unknown keys, 100,000": lambda: spec(**keys(100_000)),
    "unknown keys, 1,000,000": lambda: spec(**keys(1_000_000)),
    "unknown keys, as many as are allowed": lambda: spec(**keys(9_900)),
    "unknown keys of 2 kB": lambda: spec(**keys(400, 2_000)),
    "one unknown key of 1 MB": lambda: spec(**{"x" * 999_000: 1}),
    "unknown keys in each part": lambda: spec(**{part: keys(900) for part in PARTS}),
    "a kind of 1 MB": lambda: spec(kind="x" * 999_000),
    "a kind of 40 kB": lambda: spec(kind="retina" * 7_000),
    "a name of 15 MB": lambda: spec(name="x" * 15_000_000),
    "a name of lone surrogates": lambda: spec(name="\ud800" * 100_000),
    "a name of signs that combine": lambda: spec(name="e\u0301\u202e" * 40_000),
    "15 MB of spaces": lambda: Hostile(b" " * 15_000_000),
    "lists in each other, 100,000": lambda: Hostile(b"[" * 100_000 + b"]" * 100_000),
    "lists in each other, 9,900": lambda: Hostile(b"[" * 9_900 + b"]" * 9_900),
    "objects in each other, 2,500,000": lambda: Hostile(b'{"a":' * 2_500_000),
    "objects in each other below a field": lambda: spec(data=nested(400)),
    "a list of 5,000,000": lambda: Hostile(b"[" + b"1," * 5_000_000 + b"1]"),
    "5,000,000 lists": lambda: Hostile(b"[" + b"[]," * 5_000_000 + b"1]"),
    "a number of 1,000,000 digits": lambda: Hostile(b'{"kind": "train", "seed": ' + b"9" * 999_000 + b"}"),
    "3,000 numbers of 4,300 digits": lambda: Hostile(b"[" + b",".join([b"9" * 4_300] * 3_000) + b"]"),
    "numbers of 4,000 digits": lambda: spec(seed=10**4_000, priority=10**4_000),
    "a fraction of 1 MB": lambda: Hostile(b'{"kind": "train", "seed": 0.' + b"9" * 999_000 + b"}"),
    "10 MB of escapes": lambda: Hostile(b'{"name": "' + b"\\u00e9" * 1_700_000 + b'"}'),
    "1 MB of escapes": lambda: Hostile(b'{"name": "' + b"\\u00e9" * 160_000 + b'"}'),
    "one key 1,000,000 times": lambda: Hostile(b"{" + b'"a":1,' * 1_000_000 + b'"a":1}'),
    "faults in a list": lambda: spec(data=COCO | {"train_shorter_px": ["x"] * 9_900}),
    "faults in unions": lambda: sweep(
        {f"training.f{n}": {"type": n, "when": {"field": n, "is_in": []}} for n in range(3_000)}
    ),
    "a space of 3,000 fields": lambda: integers(3_000, 10),
    "a space as wide as is allowed": lambda: integers(200, 10, "tpe"),
    "a grid beyond all numbers": lambda: integers(200, 10**300),
    "a grid of the largest sides": lambda: integers(200, 2**53),
    "bounds of 4,000 digits": lambda: integers(5, 10**4_000),
    "2,000 choices": lambda: choices(rates(2_000)),
    "10,000 choices": lambda: choices(rates(10_000)),
    "2,000 choices, all wrong": lambda: choices([f"wrong{n}" for n in range(2_000)]),
    "one choice 2,000 times": lambda: choices([0.1] * 2_000),
    "choices that are lists": lambda: choices([[n] * 20 for n in range(400)]),
    "conditions on each other": lambda: sweep(conditions(600)),
    "conditions on each other, as many as are allowed": lambda: sweep(conditions(200)),
    "3,000 objectives": lambda: choices([0.1, 0.2], objectives=[{"metric": f"apx{n}"} for n in range(3_000)]),
    "9,000 warm starts": lambda: choices([0.1, 0.2], warm_start=[f"job{n}" for n in range(9_000)]),
    "a path of 800 kB": lambda: spec(data={"type": "yolo", "data_yaml": "/" + "a/" * 400_000}),
    "a reference of 900 kB": lambda: spec(detector={"type": "retinanet", "weights": f"job:{'a' * 900_000}/"}),
    "weights of 900 kB": lambda: spec(detector={"type": "retinanet", "weights": "A" * 900_000 + "_Weights."}),
    "YAML of 100 kB": lambda: yaml(b"".join(b"k%05d: {a: [1, 2]}\n" % n for n in range(4_900))),
    "YAML of 99 kB in one line": lambda: yaml(b"[" + b"a," * 49_000 + b"b]"),
    "YAML, lists in each other": lambda: yaml(b"[" * 49_000),
    "YAML, a number in sixties": lambda: yaml(b"seed: 1" + b":01" * 33_000),
    "YAML, a number in twos": lambda: yaml(b"seed: 0b" + b"1" * 90_000),
    "YAML of 15 MB": lambda: yaml(b"a: 1\n" * 3_000_000),
    "a data set of many keys": lambda: sent({"name": "d", "data": {"type": "coco", **keys(50_000)}}, "/v1/datasets"),
    "a data set of as many keys as allowed": lambda: sent({"name": "d", "data": COCO | keys(4_900)}, "/v1/datasets"),
    "a token of many keys": lambda: sent(keys(500_000), "/v1/tokens"),
    "a token of as many keys as are allowed": lambda: sent(keys(4_900), "/v1/tokens"),
    "a webhook of a long URL": lambda: sent({"url": f"https://{'a.' * 5_000_000}"}, "/v1/webhooks"),
    "a webhook of 90 kB": lambda: sent({"url": f"https://{'a.' * 45_000}"}, "/v1/webhooks"),
    "a webhook of many keys": lambda: sent(keys(900_000), "/v1/webhooks"),
    "a project of many keys": lambda: sent(keys(500_000), "/v1/projects/lab", "PUT"),
    "a change of many keys": lambda: sent(keys(500_000), "/v1/jobs/{sweep}", "PATCH"),
    "a trial of 300,000 values": lambda: sent({"values": keys(300_000)}, "/v1/jobs/{sweep}/trials"),
    "a trial of 3,000 values": lambda: sent({"values": keys(3_000)}, "/v1/jobs/{sweep}/trials"),
    "a trial of 200 values": lambda: sent({"values": keys(200)}, "/v1/jobs/{sweep}/trials"),
    "a budget of 4,000 digits": lambda: sent({"trials": 10**4_000}, "/v1/jobs/{sweep}/budget"),
    "1,000 events of 15 kB": lambda: events(1_000, kind="note", text="x" * 15_000),
    "1,000 events of 500 values": lambda: events(1_000, **OF_VALUES, values={f"v{v}": 0.1 for v in range(500)}),
    "1,000 events of 80 values": lambda: events(1_000, **OF_VALUES, values={f"v{v}": 0.1 for v in range(80)}),
    "1,000 events of 80 faults": lambda: events(1_000, **OF_VALUES, values={f"v{v}": "x" for v in range(80)}),
    "an event of 600,000 keys": lambda: events(1, kind="odd", **keys(600_000)),
    "an event of 99,000 keys": lambda: events(1, kind="odd", **keys(99_000)),
    "an event of 5,000,000 values": lambda: events(1, kind="odd", values=[1] * 5_000_000),
    "100,000 events": lambda: events(100_000, kind="odd"),
    "50,000 invalid events": lambda: batch(*({"x": n} for n in range(50_000))),
    "an event of depth 900": lambda: events(1, kind="odd", value=nested(900)),
    "a batch of many keys": lambda: batch(**keys(500_000)),
    "a batch of as many keys as are allowed": lambda: batch(**keys(90_000)),
    "events of many keys": lambda: batch(*(keys(80) for _ in range(1_000))),
    "numbers of 4,000 digits in events": lambda: events(1_000, kind="odd", value=10**4_000),
    "a time of 10 MB": lambda: batch({"sequence": 1, "at": "2" * 10_000_000, "event": {}}),
}


class Target:
    """A control plane in another process, and connections to it."""

    def __init__(self, apart: Apart, home: Path) -> None:
        self._apart, self.port = apart, apart.port
        self.sweep_id = self.attempt_id = self._token = ""
        self._mint = token_mint(Settings(home=home))
        created = self.send(choices([0.001, 0.002]))
        assert created[0] == 202, created
        self.sweep_id = json.loads(created[1])["job_id"]
        self.job_id = json.loads(self.send(spec())[1])["job_id"]
        self.runs_as(self.job_id)

    def runs_as(self, job_id: str) -> None:
        """Send later events as the first attempt of this job."""
        self.attempt_id = f"{job_id}-1"
        self._token = self._mint.token(self.attempt_id)

    def send(self, hostile: Hostile) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        headers = {"Content-Type": hostile.kind, "Authorization": f"Bearer {self._token}"}
        path = hostile.path.format(sweep=self.sweep_id, attempt=self.attempt_id)
        try:
            connection.request(hostile.method, path, hostile.body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (BrokenPipeError, ConnectionResetError):
            # The server refused the body while we were still sending.
            return 413, b""
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def delay_during(self, act: Callable[[], tuple[int, bytes]]) -> tuple[int, float]:
        """Return (status of `act`, the longest delay of `/livez` in seconds while `act` ran)."""
        statuses: list[int] = []
        alive = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        acting = threading.Thread(target=lambda: statuses.append(act()[0]))
        longest_s = 0.0
        acting.start()
        while True:
            is_last = not acting.is_alive()
            began_at, began_cpu_s = time.monotonic(), self._apart.cpu_s()
            alive.request("GET", "/livez")
            assert alive.getresponse().read()
            longest_s = max(longest_s, min(time.monotonic() - began_at, self._apart.cpu_s() - began_cpu_s))
            if is_last:
                alive.close()
                return statuses[0], longest_s
            # Much less than the limit; a question each few milliseconds would cost more than the bodies.
            acting.join(0.05)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    home = tmp_path_factory.mktemp("hostile")
    with served_apart(home) as apart:
        yield Target(apart, home)


REPEATED = frozenset(
    {
        *("unknown keys, 100,000", "unknown keys, 1,000,000", "one unknown key of 1 MB", "a kind of 1 MB"),
        *("15 MB of spaces", "lists in each other, 100,000", "objects in each other, 2,500,000"),
        *("a list of 5,000,000", "10 MB of escapes", "one key 1,000,000 times", "a fraction of 1 MB"),
        *("a space of 3,000 fields", "a grid beyond all numbers", "10,000 choices", "2,000 choices, all wrong"),
        *("conditions on each other", "a path of 800 kB", "weights of 900 kB", "YAML of 15 MB"),
        *("YAML, a number in twos", "a data set of many keys", "a token of many keys", "a webhook of many keys"),
        *("a project of many keys", "a change of many keys", "a trial of 300,000 values", "a trial of 200 values"),
        *("an event of 600,000 keys", "an event of 5,000,000 values", "a batch of many keys", "a time of 10 MB"),
        *("1,000 events of 80 values", "100,000 events", "a webhook of a long URL"),
    }
)
"""Bodies that the same guard refuses as another one, mostly by their size, or that cost less than another one."""
SHOWN = slow("tests/service/test_hostile_bodies.py::test_no_body_delays_other_requests[unknown keys, as many")


@pytest.mark.parametrize("name", [pytest.param(each, marks=SHOWN if each in REPEATED else ()) for each in BODIES])
def test_no_body_delays_other_requests(target: Target, name: str) -> None:
    hostile = BODIES[name]()
    assert check_delay(target, name, lambda: target.send(hostile)) < 500


def check_delay(target: Target, name: str, act: Callable[[], tuple[int, bytes]]) -> int:
    """Return the status of `act`; fails if it delays `/livez` too long each time."""
    for _ in range(TRIES):
        status, delay_s = target.delay_during(act)
        print(f"\n{name}: {status}; /livez was delayed by at most {delay_s * 1000:.0f} ms", end="")
        if delay_s < LIMIT_S:
            return status
    pytest.fail(f"/livez was delayed by {delay_s:.2f} s, and by more than {LIMIT_S} s each of {TRIES} times")


NO_SCORES = dict.fromkeys(
    (
        "ap",
        "ap50",
        "ap75",
        "ap_small",
        "ap_medium",
        "ap_large",
        "ar1",
        "ar10",
        "ar100",
        "ar_small",
        "ar_medium",
        "ar_large",
    )
)


def events_of_trial(trial: int, epochs: int) -> Iterator[dict[str, Any]]:
    values = {"training.optimizer.learning_rate": 0.001}
    yield {"kind": "trial_started", "trial": trial, "origin": "searcher", "values": values, "seed": 0, "epochs": epochs}
    for epoch in range(1, epochs + 1):
        reported = {"trial": trial, "epoch": epoch, "objectives": [0.1], "scores": NO_SCORES, "train_s": 1.0}
        yield {"kind": "trial_reported"} | reported
    yield {"kind": "trial_ended", "trial": trial, "cause": "completed", "epoch": epochs, "objectives": [0.1]}


@pytest.fixture(scope="module")
def large_sweep(target: Target) -> str:
    """Report a sweep of 1,000 trials with 8 evaluations each, and return its id."""
    while not json.loads(target.get(f"/v1/jobs/{target.sweep_id}")[1])["attempts"]:
        time.sleep(0.05)
    target.runs_as(target.sweep_id)
    reported = itertools.chain.from_iterable(events_of_trial(trial, 8) for trial in range(1_000))
    numbered = ({"sequence": n, "at": "2026-01-01T00:00:00Z", "event": event} for n, event in enumerate(reported, 1))
    while part := [*itertools.islice(numbered, 1_000)]:
        status, answer = target.send(batch(*part))
        assert status == 200, answer
    target.runs_as(target.job_id)
    return target.sweep_id


@pytest.mark.parametrize("path", ["trials", "trials/7", "report", "report?format=csv", "report?format=html"])
def test_no_answer_about_a_large_sweep_delays_other_requests(target: Target, large_sweep: str, path: str) -> None:
    assert check_delay(target, path, lambda: target.get(f"/v1/jobs/{large_sweep}/{path}")) == 200
