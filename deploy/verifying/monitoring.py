"""Checks that Prometheus finds all targets, and that the boards have data."""

import subprocess
import sys
from typing import Any

from deploy.verifying.api import Api
from deploy.verifying.engine import ROOT, address
from deploy.verifying.system import REPLICAS, WORKERS, System, wait_for


def check(system: System, job: str, sweep: str) -> None:
    """Run the checks.

    Args:
        job, sweep: names of a job and a sweep that ran while Prometheus was up.
    """
    results = system.results
    results.begin("monitoring")
    prometheus = prometheus_of(system)
    wanted = REPLICAS + WORKERS + 1
    took_s = wait_for("all targets to be up", lambda: len(up(prometheus)) >= wanted, timeout_s=120)
    targets = up(prometheus)
    by_job = {job: sum(target["labels"]["job"] == job for target in targets) for job in _jobs(targets)}
    results.check(
        "both replicas and every Ray node are up in Prometheus", len(targets) >= wanted, f"{by_job}, {took_s:.0f} s"
    )

    (container,) = system.compose.containers("ray-worker")[-1:]
    gone = len(targets) - 1
    subprocess.run(["docker", "stop", "--time", "5", container], check=True, capture_output=True)
    took_s = wait_for("a stopped node to leave", lambda: len(_active(prometheus)) == gone, timeout_s=120)
    results.check("a stopped node leaves the list of targets", True, f"after {took_s:.0f} s")
    subprocess.run(["docker", "start", container], check=True, capture_output=True)
    took_s = wait_for("the node to be back", lambda: len(up(prometheus)) >= wanted, timeout_s=180)
    results.check("a restarted node is found again", True, f"after {took_s:.0f} s")

    rules = prometheus.ask("GET", "/api/v1/rules").json["data"]["groups"]
    states = [rule["health"] for group in rules for rule in group["rules"]]
    results.check("every alert rule is evaluated", bool(states) and set(states) == {"ok"}, f"{len(states)} rules")
    command = [sys.executable, str(ROOT / "deploy" / "check_boards.py"), "--prometheus", prometheus.url]
    done = subprocess.run([*command, "--job", job, "--sweep", sweep], capture_output=True, text=True)
    for line in (done.stdout + done.stderr).splitlines():
        results.note(line)
    lines = done.stdout.strip().splitlines()
    results.check(
        "every query of every board has data", done.returncode == 0, lines[-1] if lines else done.stderr[-200:]
    )


def prometheus_of(system: System) -> Api:
    """Return Prometheus' API: it is not published, but this machine is on the networks of all containers."""
    (container,) = system.compose.containers("prometheus")
    return Api(f"http://{address(container, system.compose.network('monitoring'))}:9090", "")


def up(prometheus: Api) -> list[dict[str, Any]]:
    return [target for target in _active(prometheus) if target["health"] == "up"]


def _active(prometheus: Api) -> list[dict[str, Any]]:
    answer = prometheus.ask("GET", "/api/v1/targets?state=active")
    targets = answer.json["data"]["activeTargets"] if answer.status == 200 else []
    # Without Prometheus itself.
    return [target for target in targets if target["labels"]["job"] != "prometheus"]


def _jobs(targets: list[dict[str, Any]]) -> list[str]:
    return sorted({target["labels"]["job"] for target in targets})
