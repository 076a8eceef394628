"""Fuzzing: valid and invalid requests from the OpenAPI description get no 5xx, and only described answers.

The seed is printed. FGD_FUZZ_SEED sets another one; FGD_FUZZ_EXAMPLES sets the requests per operation and kind.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import requests
import schemathesis
import uvicorn
from control_plane import ControlPlane, train_spec
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from memory_cluster import MemoryCluster
from pydantic import SecretStr
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.clock import utc_now
from service.server.app import create_app
from service.server.serving import Server
from service.settings import Settings
from service.settings.groups import StreamSettings
from service.store import api_tokens
from service.store.session import Database
from service.store.tokens import digest
from tests.tiers import slow

SEED = int(os.environ.get("FGD_FUZZ_SEED", "20260101"))
EXAMPLES = int(os.environ.get("FGD_FUZZ_EXAMPLES", "2"))
ROOT = "an-admin-token-for-tests-of-enough-length"
SHORT_LIVED = {"sse": StreamSettings(lifetime_s=0.05, keep_alive_s=0.05, poll_s=0.02), "log_poll_s": 0.02}
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
]
NO_SCHEMA = ("text/event-stream", "text/html", "text/csv", "text/plain")


@dataclass
class Target:
    """A server, and existing ids for the parameters in paths."""

    url: str
    operations: list[Any]
    ids: dict[str, list[str]] = field(default_factory=dict)
    attempt_headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Serve without the lifespan, so that no background task changes anything during the test."""
    config = uvicorn.Config(create_app(settings, MemoryCluster()), lifespan="off", log_config=None, access_log=False)
    server = Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


async def prepare(plane: ControlPlane) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Create jobs in several states, one with artifacts; a token, a webhook and a project."""
    database: Database = plane.services.database
    async with database.writing() as session:
        await api_tokens.register_bootstrap(session, digest(ROOT), utc_now())
    plane.http.headers["Authorization"] = f"Bearer {ROOT}"
    done, run = await plane.started_job()
    await run.saves_checkpoint(run.writes("attempts/1/checkpoints/best.pt", b"x" * 64))
    await run.succeeds()
    await plane.tick()
    running, run = await plane.started_job()
    run.writes("attempts/1/checkpoints/last.pt", b"x" * 64)
    waiting = await plane.submit(train_spec())
    token = (await plane.http.post("/v1/tokens", json={"name": "one", "role": "read"})).json()
    webhook = (await plane.http.post("/v1/webhooks", json={"url": "https://example.org/hook"})).json()
    await plane.http.put("/v1/projects/lab", json={"weight": 2})
    dataset = {"name": "blood", "data": {"type": "shapes"}}
    dataset_id = (await plane.http.post("/v1/datasets", json=dataset)).json()["dataset_id"]
    await plane.http.post("/v1/datasets", json=dataset | {"name": "checked"})
    await plane.http.post("/v1/datasets/checked/check")
    ids = {
        "dataset": [dataset_id, "checked", "blood"],
        "job_id": [done, running, waiting],
        "name": ["best.pt", "lab"],
        "path": ["attempts/1/checkpoints/last.pt"],
        "attempt_id": [run.attempt_id],
        "token_id": [token.get("token_id", token.get("id", "none"))],
        "webhook_id": [webhook.get("webhook_id", webhook.get("id", "none"))],
    }
    return ids, run.headers


POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


def _fuzz(
    target: Target, headers: Mapping[str, str], *, examples: int = EXAMPLES, modes: Sequence[Any] = (POSITIVE, NEGATIVE)
) -> list[str]:
    """Send requests and return the failures, at most one for each operation and kind of request."""
    failures = []
    for operation in target.operations:
        for mode in modes:
            try:
                _send(target, operation, mode, headers, examples)
            except Unsatisfiable:
                # An operation without parameters has no invalid requests.
                assert mode == NEGATIVE and "{" not in operation.path, operation.label
            except (AssertionError, BaseExceptionGroup, requests.RequestException) as failure:
                failures.append(f"{operation.label}, {mode.value}: {_described(failure)}")
    return failures


def _described(failure: BaseException) -> str:
    inner = failure.exceptions if isinstance(failure, BaseExceptionGroup) else [failure]
    # The notes hold the request as a curl command.
    return "\n".join(["", *map(str, inner), *getattr(failure, "__notes__", ())])


def _send(target: Target, operation: Any, mode: Any, headers: Mapping[str, str], examples: int) -> None:
    @seed(SEED)
    @hypothesis_settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), st.data())
    def send(case: Any, data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            # Mostly an existing id: a 404 tests nothing else.
            if name in target.ids and data.draw(st.integers(0, 3)):
                case.path_parameters[name] = data.draw(st.sampled_from(target.ids[name]))
        own = target.attempt_headers if headers and "/attempts/" in case.path else headers
        response = case.call(base_url=target.url, headers=dict(own), timeout=20)
        kind = (response.headers.get("content-type") or [""])[0].partition(";")[0]
        checks = CHECKS if kind in NO_SCHEMA else [*CHECKS, response_schema_conformance]
        case.validate_response(response, checks=checks)

    send()


@contextmanager
def target_of(settings: Settings, prepared: tuple[dict[str, list[str]], dict[str, str]]) -> Iterator[Target]:
    with served(settings) as url:
        schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/openapi.json", timeout=60).json())
        operations = [result.ok() for result in schema.get_all_operations()]
        print(f"{len(operations)} operations, seed {SEED}")
        yield Target(url, operations, *prepared)


@slow("tests/service/test_openapi_fuzz.py::test_with_a_token")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_tokens_every_answer_is_described(settings: Settings, plane: ControlPlane) -> None:
    prepared = await prepare(plane)
    with target_of(settings.model_copy(update=SHORT_LIVED), prepared) as target:
        failures = await asyncio.to_thread(_fuzz, target, {}, examples=2 * EXAMPLES)
    assert failures == [], "\n\n".join(failures)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_with_a_token_every_answer_is_described(settings: Settings, plane: ControlPlane) -> None:
    prepared = await prepare(plane)
    guarded = settings.model_copy(update=SHORT_LIVED | {"auth": "tokens", "admin_token": SecretStr(ROOT)})
    with target_of(guarded, prepared) as target:
        failures = await asyncio.to_thread(_fuzz, target, {"Authorization": f"Bearer {ROOT}"})
        # Without a token, the server reads no request, so it answers valid and invalid ones alike.
        failures += await asyncio.to_thread(_fuzz, target, {}, examples=1, modes=[POSITIVE])
    assert failures == [], "\n\n".join(failures)
