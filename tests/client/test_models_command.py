"""`fgd models`, and what a deletion does to a model."""

import pytest

from fgd_core.spec.events import CheckpointSaved, RunFinished
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, eventually
from tests.reports.recorded_jobs import STUDENT, train_spec


@pytest.fixture
def job_id(server: LiveServer, client: FgdClient) -> str:
    """A job that has saved a checkpoint and failed, and whose run the cluster has released."""
    job_id = client.submit(train_spec("student", STUDENT)).job_id
    run = server.run_of(job_id)
    run.start()
    run.report(
        CheckpointSaved(name="best", uri="file:///best.pt", sha256="be57" * 16, size_bytes=1, epoch=1, step=1),
        RunFinished(outcome="failed"),
    )
    server.cluster.say(f"fgd-{job_id}-1", "FAILED")
    eventually(lambda: client.job(job_id).state == "failed")
    return job_id


def test_an_alias_protects_its_version_until_it_is_removed_or_the_deletion_is_forced(
    fgd: Fgd, server: LiveServer, client: FgdClient, job_id: str
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        ended = fgd(*arguments, "--server", server.url)
        return ended.exit_code, ended.out + ended.err

    assert run("models", "add", "signs", job_id, "--alias", "production")[0] == 0
    code, text = run("delete", job_id, "--yes")
    assert code == 1 and "signs@production" in text and "--force" in text
    code, text = run("models", "unalias", "signs", "staging")
    assert code == 1 and "no alias 'staging'; it has: production" in text
    assert run("models", "unalias", "signs", "production")[0] == 0
    assert client.models.get("signs").versions[0].aliases == []
    client.models.set_alias("signs", "production", 1)
    assert run("delete", job_id, "--yes", "--force")[0] == 0
    assert client.models.list() == []
