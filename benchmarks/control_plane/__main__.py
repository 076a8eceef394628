"""Compares the speed of the server with MLflow's tracking server: ingest, submission, charts, readers, queue.

    make bench-control-plane
    python -m benchmarks.control_plane --mlflow build/mlflow/bin/mlflow [--repetitions 3] [--only batches readers]

Each server runs one worker process. The systems alternate within each repetition. The table also shows where fgd is
slower.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks.control_plane import loading, queue, readers
from benchmarks.control_plane.engines import Databases, Engine, databases
from benchmarks.control_plane.results import Row, write
from benchmarks.control_plane.systems import MLflow, Ours, System
from benchmarks.control_plane.workloads import Ingest, Timed, chart, submission

# Parts that write millions of points come last: the server aggregates these points for a while after the part.
PARTS = ("single", "submission", "readers", "batches", "chart", "queue")
ENGINES: tuple[Engine, ...] = ("sqlite", "postgresql")
WRITERS = (1, 8)
NUM_READERS = 200
_BUDGET_S = 6.0

console = Console()


class Bench:
    """Repeats each part on one database engine, with both servers running."""

    def __init__(self, engine: Engine, repetitions: int, ours: Ours, mlflow: MLflow | None) -> None:
        self._engine = engine
        self._repetitions = repetitions
        self._ours = ours
        self._systems: list[System] = [ours] if mlflow is None else [ours, mlflow]
        self._mlflow = mlflow
        self.rows: list[Row] = []

    def batches(self) -> None:
        self._ingest("batches of 1,000 points", "points/s", 1000, lambda ingest: ingest.batches, at_least=5)

    def single(self) -> None:
        self._ingest("points one by one", "points/s", 1, lambda ingest: ingest.one_by_one, at_least=3)

    def submission(self) -> None:
        found = self._alternate(lambda system: submission(system, num_jobs=1000, num_clients=8))
        what = "1,000 submissions by 8 clients"
        self._add(f"{what}", "jobs/s", found, lambda timed: timed.per_s)
        for percent in (50, 99):
            self._add(f"{what}: p{percent}", "ms", found, _percentile(percent), low=True, at_least=2)

    def chart(self) -> None:
        loading.ours(self._databases, self._ours.job_ids[0])
        if self._mlflow is not None:
            loading.mlflow(self._databases, self._mlflow.run_ids[0])
        found = self._alternate(lambda system: chart(system, num_reads=10, run=0, curve=loading.CURVE))
        self._add("a chart of 1,000,000 points", "ms", found, _percentile(50), low=True, below=250)

    def readers(self) -> None:
        without: list[readers.Read] = []
        beside: list[readers.Read] = []
        for _ in range(self._repetitions):
            for num_readers, figures in ((0, without), (NUM_READERS, beside)):
                self._print(f"{num_readers} readers")
                figures.append(readers.measure(self._ours, 0, num_readers=num_readers, num_batches=50))
        delays = [Timed(1.0, read.late_s) for read in beside]
        self._alone(f"{NUM_READERS} readers: from ingest to reader, p50", [each.percentile_ms(50) for each in delays])
        self._alone(
            f"{NUM_READERS} readers: from ingest to reader, p99", [each.percentile_ms(99) for each in delays], below=250
        )
        for how, take in (("each 0.2 s", _paced), ("without a pause", _burst)):
            base = [take(read) for read in without]
            slowed = [take(read) for read in beside]
            self._alone(f"a batch {how}, without readers, p50", base)
            self._alone(f"a batch {how}, {NUM_READERS} readers, p50", slowed, below=1.1 * statistics.median(base))

    def queue(self, databases: Databases, folder: Path) -> None:
        ticks = [queue.ticks(databases.ours, folder)]
        self._alone(f"a tick with {queue.NUM_JOBS:,} jobs waiting, p50", [each.percentile_ms(50) for each in ticks])
        worst = [each.percentile_ms(100) for each in ticks]
        self._alone(f"a tick with {queue.NUM_JOBS:,} jobs waiting, the slowest of 30", worst, below=100)

    def run(self, databases: Databases, parts: list[str]) -> None:
        self._databases = databases
        for part in parts:
            getattr(self, part)()

    def _ingest(
        self, what: str, unit: str, points: int, way: Callable[[Ingest], Callable[[int], Timed]], *, at_least: float
    ) -> None:
        ingests = {system.name: Ingest(system, budget_s=_BUDGET_S) for system in self._systems}
        for num_writers in WRITERS:
            found = self._alternate(lambda system, n=num_writers: way(ingests[system.name])(n))  # type: ignore[misc]
            named = f"{what}, {num_writers} writer{'s' if num_writers > 1 else ''}"
            self._add(named, unit, found, lambda timed: timed.per_s * points, at_least=at_least)

    def _alternate(self, measure: Callable[[System], Timed]) -> dict[str, list[Timed]]:
        found: dict[str, list[Timed]] = defaultdict(list)
        for _ in range(self._repetitions):
            for system in self._systems:
                found[system.name].append(measure(system))
                self._print(f"{system.name}: {found[system.name][-1].per_s:.1f} requests/s")
        return found

    def _add(
        self,
        what: str,
        unit: str,
        found: dict[str, list[Timed]],
        take: Callable[[Timed], float],
        *,
        low: bool = False,
        at_least: float | None = None,
        below: float | None = None,
    ) -> None:
        row = Row(
            engine=self._engine,
            what=what,
            unit=unit,
            ours=[take(timed) for timed in found["fgd"]],
            mlflow=[take(timed) for timed in found.get("mlflow", [])],
            is_better_when_low=low,
        )
        target, is_met = "", None
        if at_least is not None:
            target, is_met = f"at least {at_least:g} times", None if row.ratio is None else row.ratio >= at_least
        if below is not None:
            target, is_met = f"below {below:.3g} {unit}", statistics.median(row.ours) < below
        self._keep(Row(**{**vars(row), "target": target, "is_met": is_met}))

    def _alone(self, what: str, values: list[float], *, below: float | None = None) -> None:
        target = "" if below is None else f"below {below:.3g} ms"
        is_met = None if below is None else statistics.median(values) < below
        self._keep(Row(engine=self._engine, what=what, unit="ms", ours=values, target=target, is_met=is_met))

    def _keep(self, row: Row) -> None:
        self.rows.append(row)
        ratio = "" if row.ratio is None else f"  {row.ratio:.1f} times"
        self._print(f"{row.what}: {statistics.median(row.ours):.4g} {row.unit}{ratio}  {row.target} {row.is_met}")

    def _print(self, text: str) -> None:
        console.print(f"{self._engine}: {text}", markup=False, highlight=False)


def _percentile(percent: float) -> Callable[[Timed], float]:
    return lambda timed: timed.percentile_ms(percent)


def _paced(read: readers.Read) -> float:
    return read.paced.percentile_ms(50)


def _burst(read: readers.Read) -> float:
    return read.burst.percentile_ms(50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", type=Path, help="path of the program `mlflow`; without it, only fgd is measured")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    options = parser.parse_args()
    rows: list[Row] = []
    for engine in options.engines:
        rows += _measure(engine, options.repetitions, options.mlflow, options.only)
    versions = {name: version(name) for name in ("fgd", "uvicorn", "sqlalchemy")}
    if options.mlflow is not None:
        output = subprocess.run([options.mlflow, "--version"], capture_output=True, text=True, check=True).stdout
        versions["MLflow"] = output.strip().rpartition(" ")[2]
    command = "python -m benchmarks.control_plane " + " ".join(sys.argv[1:])
    console.print(write(options.out, rows, command=command.strip(), versions=versions), markup=False)


def _measure(engine: Engine, repetitions: int, program: Path | None, parts: list[str]) -> list[Row]:
    with_servers = [part for part in PARTS if part in parts and part != "queue"]
    rows: list[Row] = []
    if with_servers:
        with tempfile.TemporaryDirectory(prefix="fgd-bench-") as name, databases(engine, Path(name)) as found:
            ours = Ours(found, Path(name))
            mlflow = MLflow(found, Path(name), program) if program is not None else None
            bench = Bench(engine, repetitions, ours, mlflow)
            with ours.running(max(WRITERS)):
                if mlflow is None:
                    bench.run(found, with_servers)
                else:
                    with mlflow.running(max(WRITERS)):
                        bench.run(found, with_servers)
            rows += bench.rows
    if "queue" in parts:
        # A separate database, so that the queue has exactly the stated length.
        with tempfile.TemporaryDirectory(prefix="fgd-bench-") as name, databases(engine, Path(name)) as found:
            bench = Bench(engine, repetitions, Ours(found, Path(name)), None)
            bench.queue(found, Path(name))
            rows += bench.rows
    return rows


if __name__ == "__main__":
    main()
