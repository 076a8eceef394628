"""Groups of workers under Ray Train on a real Ray: their process group, verdicts, an error and growth.

`tests/end_to_end/test_several_workers.py` kills a worker.
"""

from pathlib import Path

import pytest
from runs import end_of, submission

from service.dispatcher.cluster import RayCluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1000)]

ROOT = Path(__file__).parents[2]


async def test_a_group_passes_verdicts_and_errors_and_grows(cluster: RayCluster, tmp_path: Path) -> None:
    code = f"from tests.cluster import group_runs; group_runs.run('{tmp_path}')"
    run = submission(code, cpus=0, PYTHONPATH=str(ROOT))
    await cluster.submit(run)
    ended = await end_of(cluster, run.submission_id, timeout_s=900.0)
    logs = str(await cluster.logs(run.submission_id))
    assert ended.status == "SUCCEEDED", logs
    _, trial, fails, grows = logs.split("## ")
    assert "workers [0, 1] 2" in trial
    assert "ap 0.03" in trial, "the workers are in one process group"
    assert "trial [1, 2, 3] stopped" in trial
    assert "finished failed data {'worker': 1, 'image': '7.jpg'}" in fails and "left 0" in fails
    assert "grown [1, 2] resumed True" in grows and "finished stopped None" in grows
