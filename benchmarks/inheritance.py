"""Separates the gain of distillation from the gain of inherited weights: four students, several seeds.

    python -m benchmarks.inheritance [--seeds 3] [--out benchmarks/results]

The specs are those of the demo. One teacher is trained; then, for every seed, a plain and a distilled student, each
with and without the teacher's neck and head. "Plain, inheriting" is distillation with a scale of 0; a test checks that
this is bit-identical to plain training. Students run at the same time, one thread each. Finished runs are not repeated.
"""

import argparse
import json
import os
import platform
import statistics
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress

from fgd_core.runs import execute
from fgd_core.spec.events import RunEvent, RunFinished
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.results import RunResult

SPECS = Path(__file__).resolve().parent.parent / "examples/demo"
STUDENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "distilled": {"inherit": "nothing"},
    "plain, inheriting": {"scale": 0.0, "inherit": "neck_and_head"},
    "distilled, inheriting": {"inherit": "neck_and_head"},
}


class _Quiet:
    """A `RunContext` that ignores all events."""

    def __init__(self, job_dir: Path) -> None:
        self.job_dir = job_dir

    def emit(self, event: RunEvent) -> None:
        pass

    def should_stop(self) -> bool:
        return False

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


def run(spec: dict[str, Any], folder: Path) -> RunFinished:
    """Run a job, or return its stored result if the spec is the same."""
    done = folder / "finished.json"
    if done.exists():
        before = json.loads(done.read_text())
        if before["spec"] == spec:
            return RunFinished.model_validate(before["finished"])
    finished = execute(JOB_SPEC.validate_python(spec), _Quiet(folder))
    if finished.outcome == "succeeded":
        done.write_text(json.dumps({"spec": spec, "finished": finished.model_dump(mode="json")}))
    return finished


def student_spec(teacher: Path, name: str, seed: int) -> dict[str, Any]:
    """Return the spec of one of the `STUDENTS`."""
    spec: dict[str, Any] = yaml.safe_load((SPECS / "distilled.yaml").read_text())
    student = STUDENTS[name]
    if not student:
        plain: dict[str, Any] = yaml.safe_load((SPECS / "plain.yaml").read_text())
        return plain | {"name": f"{name} {seed}", "seed": seed}
    spec["teacher"]["checkpoint"] = str(teacher)
    spec["method"]["scale"] = student.get("scale", spec["method"]["scale"])
    return spec | {"name": f"{name.replace(', ', ' ')} {seed}", "inherit": student["inherit"], "seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/inheritance"), help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    teacher_spec = yaml.safe_load((SPECS / "teacher.yaml").read_text())
    with Progress() as bars, ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        bar = bars.add_task("runs", total=1 + options.seeds * len(STUDENTS))
        teacher = _result(pool.submit(run, teacher_spec, options.work / "teacher").result())
        bars.advance(bar)
        checkpoint = options.work / "teacher/checkpoints/best.pt"
        futures = {
            (name, seed): pool.submit(run, student_spec(checkpoint, name, seed), options.work / f"{name}-{seed}")
            for seed in range(options.seeds)
            for name in STUDENTS
        }
        for future in futures.values():
            future.add_done_callback(lambda _: bars.advance(bar))
        results = {key: _result(future.result()) for key, future in futures.items()}
    _write(options.out, teacher, results, options.seeds)


def _result(finished: RunFinished) -> RunResult:
    if finished.result is None:
        raise SystemExit(f"a run {finished.outcome}: {finished.error and finished.error.message}")
    return finished.result


def _write(out: Path, teacher: RunResult, results: dict[tuple[str, int], RunResult], seeds: int) -> None:
    rows = {name: [results[name, seed].scores.ap or 0.0 for seed in range(seeds)] for name in STUDENTS}
    lines = [
        "# Gain of distillation and of inherited weights",
        "",
        f"`python -m benchmarks.inheritance --seeds {seeds}` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores,",
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}. AP from 0 to 1 on the",
        f"validation split of `shapes`, {teacher.num_images} images. The teacher reaches {teacher.scores.ap:.3f} "
        f"with {teacher.num_parameters:,} parameters;",
        f"a student has {results['plain', 0].num_parameters:,}.",
        "",
        "| student | " + " | ".join(f"seed {seed}" for seed in range(seeds)) + " | mean | standard deviation |",
        "|---|" + "---|" * (seeds + 2),
    ]
    for name, aps in rows.items():
        deviation = statistics.stdev(aps) if seeds > 1 else float("nan")
        shown = " | ".join(f"{ap:.3f}" for ap in aps)
        lines.append(f"| {name} | {shown} | **{statistics.mean(aps):.3f}** | {deviation:.3f} |")
    text = "\n".join(lines) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "inheritance.md").write_text(text)
    document = {
        "teacher": teacher.model_dump(mode="json"),
        "students": [
            {"student": name, "seed": seed, "result": result.model_dump(mode="json")}
            for (name, seed), result in results.items()
        ],
    }
    (out / "inheritance.json").write_text(json.dumps(document, indent=1) + "\n")
    Console().print(text, markup=False)


if __name__ == "__main__":
    main()
