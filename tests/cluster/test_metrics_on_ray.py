"""Metrics of runs and of Ray that the boards query, on a real Ray."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from runs import end_of, eventually, log_with, submission

from service.dispatcher.cluster import RayCluster
from service.dispatcher.local import LocalRay
from tests.deploy.board_queries import OF_RAY

pytestmark = pytest.mark.ray

RUN = Path(__file__).with_name("relaying_run.py")
MEASURED = {
    "ray_fgd_run_loss",
    "ray_fgd_run_learning_rate",
    "ray_fgd_run_images_per_second",
    "ray_fgd_run_eta_seconds",
    "ray_fgd_run_data_wait_ratio",
}
STAYING = {
    "ray_fgd_run_ap",
    "ray_fgd_run_epoch",
    "ray_fgd_run_progress_ratio",
    "ray_fgd_run_outbox_events",
}


async def scraped(head: LocalRay) -> dict[str, list[dict[str, Any]]]:
    """Returns the labels of each series that the node's agent serves, by name."""
    bearer = {"Authorization": f"Bearer {head.token}"}
    found: dict[str, list[dict[str, Any]]] = {}
    async with httpx.AsyncClient(trust_env=False) as http:
        (group,) = (await http.get(f"{await head.start()}/api/prometheus/sd", headers=bearer)).json()
        for target in group["targets"]:
            for family in text_string_to_metric_families((await http.get(f"http://{target}/metrics")).text):
                for sample in family.samples:
                    found.setdefault(sample.name, []).append(sample.labels)
    return found


async def test_ray_serves_the_metrics_that_the_boards_query(head: LocalRay, cluster: RayCluster) -> None:
    found = await eventually(lambda: scraped(head), lambda found: set(OF_RAY) <= set(found), timeout_s=240)
    for name, labels in OF_RAY.items():
        # Prometheus itself adds the instance.
        assert any(labels - {"instance"} <= set(each) for each in found[name]), name


async def test_a_run_has_metrics_while_it_runs_and_still_stops_by_itself(head: LocalRay, cluster: RayCluster) -> None:
    asked = replace(submission(""), entrypoint=f"{sys.executable} {RUN} 20 120")
    await cluster.submit(asked)
    found = await eventually(lambda: scraped(head), lambda found: set(found) >= MEASURED | STAYING, timeout_s=240)
    (labels,) = found["ray_fgd_run_progress_ratio"]
    assert (labels["job_name"], labels["job_id"], labels["kind"], labels["trial"]) == ("relayed", "j", "train", "")
    # During an evaluation it has no speed; its progress and its scores are kept.
    found = await eventually(lambda: scraped(head), lambda found: not MEASURED & set(found), timeout_s=240)
    assert set(found) >= STAYING
    await cluster.stop(asked.submission_id)
    assert (await end_of(cluster, asked.submission_id)).status == "STOPPED"
    log = await log_with(cluster, asked.submission_id, "stopped by itself")
    # Ray's own signal handling and its warnings must not appear.
    assert "***" not in log


async def test_an_ended_run_has_no_metrics(head: LocalRay, cluster: RayCluster) -> None:
    def is_gone(found: dict[str, list[dict[str, Any]]]) -> bool:
        return "ray_fgd_run_progress_ratio" not in found

    await eventually(lambda: scraped(head), is_gone, timeout_s=240)
