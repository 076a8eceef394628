"""Runs jobs with two workers on two nodes: one training over both, a node killed in it, and a sweep of such trials."""

from deploy.verifying.api import example
from deploy.verifying.faults import LONG, check_job
from deploy.verifying.system import System, crash
from deploy.verifying.work import SWEEP, with_teacher


def check(system: System) -> None:
    """Run the jobs and their checks."""
    results, api = system.results, system.api
    results.begin("two workers")
    job_id, _ = api.submit(_plain("two workers"))
    job = api.wait_over(job_id, timeout_s=1800)
    hosts = _hosts(system, job_id)
    ap = float(((job["result"] or {}).get("scores") or {}).get("ap") or "nan")
    figure = f"{job['state']}, AP {ap:.6f}, workers on {len(set(hosts))} nodes"
    results.check("one job trains on both nodes", job["state"] == "succeeded" and len(set(hosts)) == 2, figure)

    disturbed, _ = api.submit(_plain("a node is killed under two workers"))
    api.wait(disturbed, lambda job: (job["progress"]["epoch"] or 0) >= 2, timeout_s=900)
    crash(system.container_at(_hosts(system, disturbed)[1]))
    # The driver, on another node, lives and reports that the job has lost a worker.
    check_job(system, disturbed, ap, causes=["failed", "succeeded"])

    teacher, _ = api.submit(example("teacher", name="verified teacher of trials", epochs=1, num_train=64, num_val=32))
    sweep, _ = api.submit(with_teacher(_sweep(), teacher))
    job = api.wait_over(sweep, timeout_s=1800)
    trials = api.get(f"/v1/jobs/{sweep}/trials")["items"]
    states = ", ".join(f"{trial['state']}" for trial in trials)
    is_right = job["state"] == "succeeded" and len(trials) >= SWEEP["trials"]
    results.check("a sweep whose trials have two workers each succeeds", is_right, f"{job['state']}; {states}")


def _plain(name: str) -> str:
    return _with_two_workers(example("plain", name=f"verified - {name}", **LONG))


def _sweep() -> str:
    spec = example("sweep", name="verified sweep of two workers", **SWEEP)
    return spec.replace("resources: {cpus: 1}", "resources: {cpus: 1, workers: 2}").replace(
        "concurrent_trials: 2", "concurrent_trials: 1"
    )


def _with_two_workers(spec: str) -> str:
    return spec.replace("resources:\n", "resources:\n  workers: 2\n")


def _hosts(system: System, job_id: str) -> list[str]:
    """Return the host of each worker of the newest attempt, by rank."""
    started = [event for event in system.api.events(job_id) if event["kind"] == "workers_started"]
    return [worker["host"] for worker in started[-1]["data"]["workers"]] if started else []
