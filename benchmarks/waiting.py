"""Measures the wait from the submission of a job to its first training step, part by part, on the laptop's default.

    python -m benchmarks.waiting [--repetitions 3] [--val-images 1000] [--out benchmarks/results]

`fgd up` starts a server and its Ray in an empty home. The demo's teacher trains for a few epochs; then a training and a
distillation alternate, and each is cancelled at its first step. The parts come from the times of the jobs' events. The
floor is a job of Ray's own that imports PyTorch: what nothing that runs on Ray can avoid. All figures
are wall clock, so run it alone; about 4 minutes on 2 cores.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console

from fgd_core.spec.events import OVER, StoredEvent
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from service.client.child import control_plane
from service.client.client import FgdClient
from service.dispatcher.cluster import RayCluster, Submission
from service.dispatcher.local import LocalRay

SPECS = Path(__file__).resolve().parent.parent / "examples/demo"
TEACHER_EPOCHS = 4
ENDS: Mapping[str, str] = {
    "provenance_recorded": "record of code and machine",
    "device_ready": "PyTorch and our library",
    "data_checked": "data",
    "weights_loaded": "networks and weights",
    "teacher_checked": "gate: the teacher's AP",
    "distillation_planned": "plan",
    "progress": "first step",
}
"""Kind of event -> the part of the wait that the last such event ends."""
_FLOOR = "import torch, torchvision, time; print(time.time())"


class Wait(NamedTuple):
    """The parts of one job's wait, in seconds, in order."""

    parts: Mapping[str, float]

    @property
    def total_s(self) -> float:
        """From the submission to the first step."""
        return sum(self.parts.values())


class Found(NamedTuple):
    """All waits of one run of the benchmark."""

    ray_s: float
    """A Ray head alone, from nothing to ready."""
    up_s: float
    """`fgd up`, from nothing to its answer: the server and its Ray."""
    floors_s: Sequence[float]
    """Jobs of Ray's own that import PyTorch, from submission to the end of the import."""
    waits: Mapping[str, Sequence[Wait]]
    """By kind of job; the first of each kind is the coldest."""


def wait_of(posted_s: float, events: Iterable[StoredEvent]) -> Wait:
    """Split the time from `posted_s`, in seconds since the epoch, to the first step by a job's events."""
    marks = sorted(_marks(events).items(), key=lambda mark: mark[1])
    begins = [posted_s, *(at for _, at in marks)]
    return Wait({name: at - began for (name, at), began in zip(marks, begins, strict=False)})


def _marks(events: Iterable[StoredEvent]) -> dict[str, float]:
    """Return when each part ended, in seconds since the epoch."""
    marks = dict[str, float]()
    for event in events:
        at, seconds = event.at.timestamp(), event.data.get("seconds", {})
        if event.kind == "state_changed" and event.data["to_state"] == "starting":
            marks["API, queue and dispatcher"] = at
        elif event.kind == "run_started":
            spec_s = seconds["assignment"]
            marks["Ray: supervisor and process"] = at - spec_s - seconds["process_start"]
            marks["interpreter and imports of the reporter"] = at - spec_s
            marks["spec"] = at
        elif event.kind in ENDS:
            marks[ENDS[event.kind]] = at
        if event.kind == "progress":
            break
    return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--val-images", type=int, default=1000, help="images of the split that the gate evaluates")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fgd-waiting-") as folder:
        # A warm cache of the user would hide the first measurement of a teacher.
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        found = measure(Path(folder), options.repetitions, options.val_images)
    text = table(found, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "waiting.md").write_text(text)
    (options.out / "waiting.json").write_text(json.dumps(_document(found), indent=1) + "\n")
    Console().print(text, markup=False)


def measure(folder: Path, repetitions: int, num_val: int) -> Found:
    """Measure every wait in homes below `folder`."""
    ray_s = asyncio.run(_seconds_of_a_head(folder / "ray"))
    home = folder / "home"
    home.mkdir(mode=0o700)
    began_s = time.monotonic()
    with control_plane(home) as url, FgdClient(url) as client:
        up_s = time.monotonic() - began_s
        floors_s = [asyncio.run(_floor(home, number)) for number in range(repetitions)]
        teacher = client.submit(spec_of("teacher", num_val, epochs=TEACHER_EPOCHS, evaluate_every=TEACHER_EPOCHS))
        _until_over(client, teacher.job_id)
        specs = {
            "training": spec_of("plain", num_val),
            "distillation": spec_of("distilled", num_val, teacher=f"job:{teacher.job_id}/best"),
        }
        waits: dict[str, list[Wait]] = {name: [] for name in specs}
        for _ in range(repetitions):
            for name, spec in specs.items():
                waits[name].append(_waited(client, spec))
    return Found(ray_s, up_s, floors_s, waits)


def spec_of(name: str, num_val: int, *, teacher: str | None = None, **training: int) -> JobSpec:
    """Return a job of the demo with another validation split, teacher and training."""
    spec: dict[str, Any] = yaml.safe_load((SPECS / f"{name}.yaml").read_text())
    spec["data"]["num_val"] = num_val
    spec["training"] |= training
    if teacher is not None:
        spec["teacher"]["checkpoint"] = teacher
    return JOB_SPEC.validate_python(spec)


def _waited(client: FgdClient, spec: JobSpec) -> Wait:
    """Submit a job, and cancel it at its first step."""
    posted_s = time.time()
    job = client.submit(spec)
    events = [*_until_first_step(client, job.job_id)]
    client.cancel(job.job_id)
    _until_over(client, job.job_id)
    return wait_of(posted_s, events)


def _until_first_step(client: FgdClient, job_id: str) -> Iterator[StoredEvent]:
    for event in client.events(job_id):
        yield event
        if event.kind == "progress":
            return
    raise SystemExit(f"{job_id} ended before its first step: {client.job(job_id).error}")


def _until_over(client: FgdClient, job_id: str) -> None:
    while client.job(job_id).state not in OVER:
        time.sleep(0.2)
    if client.job(job_id).state == "failed":
        raise SystemExit(f"{job_id} failed: {client.job(job_id).error}")


async def _seconds_of_a_head(home: Path) -> float:
    ray = LocalRay(home)
    began_s = time.monotonic()
    await ray.start()
    took_s = time.monotonic() - began_s
    await ray.stop()
    return took_s


async def _floor(home: Path, number: int) -> float:
    """Run a job of Ray's own that imports PyTorch; return its seconds from submission to the end of the import."""
    head, submission_id = json.loads((home / "ray.json").read_text()), f"floor-{number}"
    entrypoint = f'{sys.executable} -c "{_FLOOR}"'
    async with RayCluster(head["url"], LocalRay(home).token) as cluster:
        posted_s = time.time()
        await cluster.submit(
            Submission(submission_id=submission_id, entrypoint=entrypoint, environment={}, cpus=1, gpus=0)
        )
        while (job := await cluster.job(submission_id)) is None or not job.is_over:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        return float(str(await cluster.logs(submission_id)).split()[-1]) - posted_s


def table(found: Found, options: argparse.Namespace) -> str:
    """Return the result as a Markdown page."""
    floor_s = statistics.median(found.floors_s)
    lines = [
        "# From the submission to the first step",
        "",
        f"`python -m benchmarks.waiting --repetitions {options.repetitions} --val-images {options.val_images}` on "
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}. Seconds; medians, without the first job of each kind. A Ray head alone starts "
        f"in {found.ray_s:.1f} s, `fgd up` with its Ray in {found.up_s:.1f} s. A job of Ray's own that imports PyTorch "
        f"takes {floor_s:.1f} s from its submission to the end of the import.",
        "",
        "| part | " + " | ".join(f"{name}, first | {name}" for name in found.waits) + " |",
        "|---|" + "---|" * (2 * len(found.waits)),
    ]
    names = max((waits[0].parts for waits in found.waits.values()), key=len)
    lines += [_row(name, [wait.parts.get(name) for wait in _columns(found)]) for name in names]
    totals = [wait.total_s for wait in _columns(found)]
    lines.append(_row("**all**", totals))
    lines.append(_row("times the floor", [total / floor_s for total in totals]))
    return "\n".join(lines) + "\n"


def _columns(found: Found) -> Iterator[Wait]:
    """Yield the first wait of each kind, and the medians of the others."""
    for first, *others in found.waits.values():
        yield first
        warm = others or [first]
        yield Wait({name: statistics.median(each.parts.get(name, 0.0) for each in warm) for name in first.parts})


def _row(name: str, values: Iterable[float | None]) -> str:
    return f"| {name} | " + " | ".join("" if value is None else f"{value:.2f}" for value in values) + " |"


def _document(found: Found) -> dict[str, Any]:
    waits = {name: [dict(wait.parts) for wait in own] for name, own in found.waits.items()}
    return {"ray_s": found.ray_s, "up_s": found.up_s, "floors_s": [*found.floors_s], "waits": waits}


if __name__ == "__main__":
    main()
