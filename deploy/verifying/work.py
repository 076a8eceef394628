"""Runs the demo's jobs and a small sweep, through the one published port."""

import json
import time

from deploy.verifying.api import example
from deploy.verifying.system import System

QUICK = {"epochs": 3, "num_train": 64, "num_val": 32, "warmup_steps": 5, "evaluate_every": 1}
SWEEP = QUICK | {"trials": 3, "startup_trials": 2, "epochs": 2}


def run_jobs(system: System) -> tuple[str, str]:
    """Run the jobs and their checks; returns the names of a job and of a sweep."""
    results, api = system.results, system.api
    results.begin("work")
    began = time.monotonic()
    teacher, taken_by = api.submit(example("teacher", name="verified teacher", **QUICK))
    plain, _ = api.submit(example("plain", name="verified plain student", **QUICK))
    distilled, _ = api.submit(with_teacher(example("distilled", name="verified distilled student", **QUICK), teacher))
    sweep, _ = api.submit(with_teacher(example("sweep", name="verified sweep", **SWEEP), teacher))

    streamed_by, messages = api.stream(f"/v1/jobs/{teacher}/events", but_not=taken_by)
    numbers = [int(id_) for id_, data in messages if json.loads(data).get("sequence")]
    api.wait_over(teacher)
    stored = [event["sequence"] for event in api.events(teacher)]
    claim = "a stream from the replica that did not accept the job has every event, in order"
    figure = f"{len(numbers)} events; POST to {taken_by}, stream from {streamed_by}"
    results.check(claim, numbers == stored == list(range(1, len(stored) + 1)) and streamed_by != taken_by, figure)

    nodes = set()
    for name, job_id in (
        ("teacher", teacher),
        ("plain student", plain),
        ("distilled student", distilled),
        ("sweep", sweep),
    ):
        job = api.wait_over(job_id, timeout_s=1200)
        if job["kind"] != "sweep":  # Its driver trains nothing, and needs no worker.
            nodes |= {event["data"]["host"] for event in api.events(job_id) if event["kind"] == "run_started"}
        figure = f"{job['state']}, {len(job['attempts'])} attempt, {len(job['artifacts'])} artifacts"
        results.check(f"the demo's {name} succeeds", job["state"] == "succeeded", figure)
    results.check("both workers ran jobs", len(nodes) == 2, f"{len(nodes)} nodes")
    results.note(f"four jobs took {time.monotonic() - began:.0f} s")

    report = api.get(f"/v1/jobs/{distilled}/report?with={teacher}&with={plain}")
    scores = {job["name"]: (job["result"] or {}).get("scores", {}).get("ap") for job in report["jobs"]}
    results.check("the report has the scores of all three", len(scores) == 3 and None not in scores.values(), scores)
    page = api.ask("GET", f"/v1/jobs/{distilled}/report", accept="text/html")
    results.check("the report is also a page", page.status == 200 and b"<svg" in page.body, f"{len(page.body)} bytes")
    report = api.ask("GET", f"/v1/jobs/{sweep}/report", accept="text/html")
    results.check("the sweep's report is a page", report.status == 200, f"{len(report.body)} bytes")
    best = api.ask("GET", f"/v1/jobs/{teacher}/artifacts/best.pt")
    (known,) = [artifact for artifact in api.job(teacher)["artifacts"] if artifact["name"] == "best.pt"]
    claim = "a checkpoint can be downloaded completely"
    results.check(claim, len(best.body) == known["size_bytes"] > 0, f"{len(best.body) / 1e6:.1f} MB")

    dashboard = api.ask("GET", "/ray/api/jobs/")
    listed = {row.get("metadata", {}).get("name") for row in dashboard.json} if dashboard.status == 200 else set()
    results.check(
        "Ray's dashboard is reachable through the API", api.ask("GET", "/ray/").status == 200, f"{len(listed)} jobs"
    )
    return "verified distilled student", "verified sweep"


def with_teacher(spec: str, teacher: str) -> str:
    """Return the spec with that job's checkpoint as the teacher; after three epochs its AP is too low for the gate."""
    line = next(line for line in spec.splitlines() if "job:TEACHER/best" in line)
    indent = line[: len(line) - len(line.lstrip())]
    return spec.replace(line, f"{indent}checkpoint: job:{teacher}/best\n{indent}gate: keys")
