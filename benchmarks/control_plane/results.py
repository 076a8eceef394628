"""Writes the results of several repetitions as JSON and Markdown."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Row:
    """Holds one figure of both systems, or only of fgd, for all repetitions."""

    engine: str
    what: str
    unit: str
    ours: list[float] = field(default_factory=list)
    mlflow: list[float] = field(default_factory=list)
    is_better_when_low: bool = False
    target: str = ""
    is_met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better fgd is; below 1, it is worse."""
        if not self.mlflow or not self.ours:
            return None
        ours, mlflow = statistics.median(self.ours), statistics.median(self.mlflow)
        return mlflow / ours if self.is_better_when_low else ours / mlflow


def write(out: Path, rows: Sequence[Row], *, command: str, versions: dict[str, str]) -> str:
    """Write `control_plane.md` and `control_plane.json` into `out`, and return the Markdown."""
    machine = (
        f"{os.cpu_count()} cores ({_processor()}), {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
    lines = [
        "# The server compared with MLflow's tracking server",
        "",
        f"`{command}` on {datetime.now(UTC):%Y-%m-%d}: {machine}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "",
        "Median (lowest – highest) of the repetitions, in which the systems alternate. Each system is one server",
        "process on the same machine with the same kind of database. The same client calls both over persistent",
        "connections; clients and servers share the cores. *Times* is how many times better fgd is.",
    ]
    for engine in dict.fromkeys(row.engine for row in rows):
        lines += [
            "",
            f"## {engine}",
            "",
            "| what | unit | fgd | MLflow | times | target |",
            "|---|---|---|---|---|---|",
        ]
        for row in (row for row in rows if row.engine == engine):
            times = f"**{row.ratio:.1f}**" if row.ratio is not None else ""
            met = {True: " ✓", False: " **missed**", None: ""}[row.is_met]
            cells = (row.what, row.unit, _spread(row.ours), _spread(row.mlflow), times, f"{row.target}{met}")
            lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "control_plane.md").write_text(text)
    document = {"command": command, "machine": machine, "versions": versions, "rows": [vars(row) for row in rows]}
    (out / "control_plane.json").write_text(json.dumps(document, indent=1) + "\n")
    return text


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    middle = _number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))} – {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
