"""Two systems for all tests of this folder, because each start takes long: with and without a shared folder.

`make test` starts the latter only; in `tests/chaos`, runs share a folder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chain_runs import CALLER, TRACE_ID, chain
from chain_runs import run as run_chain
from whole import Whole, running, succeeded, train

from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from tests import otlp_collector
from tests.otlp_collector import Collector


@pytest.fixture(scope="session")
def whole() -> Iterator[Whole]:
    """Control plane and runs share a folder."""
    with running() as whole:
        yield whole


@pytest.fixture(scope="session")
def apart(collector: Collector) -> Iterator[Whole]:
    """Runs send their files through the control plane; both send spans to the collector."""
    with running(
        FGD_RUN_FILES="through_server",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20k3y",
        OTEL_BSP_SCHEDULE_DELAY="200",
    ) as whole:
        yield whole


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with otlp_collector.running() as collector:
        yield collector


@pytest.fixture
def client(whole: Whole) -> Iterator[FgdClient]:
    with whole.client() as client:
        yield client


@pytest.fixture(scope="session")
def teacher(whole: Whole) -> str:
    """Reference to a trained checkpoint."""
    with whole.client() as client:
        return f"job:{succeeded(client, client.submit(train()).job_id).job_id}/best"


@pytest.fixture(scope="session")
def submitted_teacher(apart: Whole) -> JobView:
    """A teacher of the system without a shared folder that was just submitted: the first test waits for it."""
    with apart.client() as client:
        return client.submit(train())


@pytest.fixture(scope="session")
def apart_teacher(apart: Whole, submitted_teacher: JobView) -> str:
    """Reference to a trained checkpoint of the system without a shared folder."""
    with apart.client() as client:
        return f"job:{succeeded(client, submitted_teacher.job_id).job_id}/best"


@pytest.fixture(scope="session")
def lost_chain(apart: Whole, apart_teacher: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A chain that lost its node in the second stage and succeeded, requested within a trace; its id and its files."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as environment, apart.client() as client:
        environment.setenv("TRACEPARENT", f"00-{TRACE_ID}-{CALLER}-01")
        spec = chain(apart_teacher, epochs=3)
        return run_chain(client, spec, folder, kill_in="2", node=apart.home / "scratch"), folder
