"""Groups of workers under Ray Train on a real Ray: their process group, verdicts, a death, an error and growth."""

from pathlib import Path

import pytest
from runs import end_of, submission

from service.dispatcher.cluster import RayCluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1000)]

ROOT = Path(__file__).parents[2]


async def test_a_group_passes_verdicts_tells_a_death_from_an_error_and_grows(
    cluster: RayCluster, tmp_path: Path
) -> None:
    code = f"from tests.cluster import group_runs; group_runs.run('{tmp_path}')"
    run = submission(code, cpus=0, PYTHONPATH=str(ROOT))
    await cluster.submit(run)
    ended = await end_of(cluster, run.submission_id, timeout_s=900.0)
    logs = str(await cluster.logs(run.submission_id))
    assert ended.status == "SUCCEEDED", logs
    _, trial, dies, fails, grows = logs.split("## ")
    assert "workers [0, 1] 2" in trial
    assert "ap 0.03" in trial, "the workers are in one process group"
    assert "trial [1, 2, 3] stopped" in trial
    assert "lost worker 1: ActorDiedError" in dies and "left 0" in dies
    assert "finished failed data {'image': '7.jpg', 'worker': 1}" in fails and "left 0" in fails
    assert "grown [1, 2] resumed True" in grows and "finished stopped None" in grows
