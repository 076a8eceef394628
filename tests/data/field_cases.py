"""Data sets with mistakes that people reported in public, and the expected result of checking each of them.

Each script of `../shared/cases` writes such data sets, and has a table of expected results beside this file. A case
without a row in its table fails a test.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from fgd_core.runs import execute
from fgd_core.spec.events import DataChecked
from fgd_core.spec.jobs import JOB_SPEC
from tests.library import RecordingContext


@dataclass(frozen=True, kw_only=True)
class Result:
    """Holds the result of a `check_data` job."""

    is_accepted: bool
    """Whether a training would start."""
    findings: Mapping[str, str]
    """Problem -> action, of both splits; without `in_both_splits`, because most cases use one list for both."""
    boxes: Mapping[str, int] | None
    """Class -> number of boxes in the training split; None if nothing was counted."""
    crowd: int
    error: str

    def __str__(self) -> str:
        outcome = "accepted" if self.is_accepted else "refused"
        boxes = ", ".join(f"{count} {name}" for name, count in (self.boxes or {}).items())
        found = ", ".join(f"{problem} {action}" for problem, action in self.findings.items())
        crowd = f", {self.crowd} crowd" if self.crowd else ""
        reason = found or ("" if self.is_accepted else self.error[:100])
        return "; ".join(filter(None, [outcome, boxes + crowd, reason]))


@dataclass(frozen=True, kw_only=True)
class Row:
    """Holds the expected result of a case."""

    is_accepted: bool
    why: str
    boxes: Mapping[str, int] | None = None
    """None: not compared, because the data set is refused."""
    crowd: int = 0
    findings: Mapping[str, str]
    error: str = ""
    """Part of the error message."""

    def __str__(self) -> str:
        return str(
            Result(is_accepted=self.is_accepted, findings=self.findings, boxes=self.boxes, crowd=self.crowd, error="")
        )

    def fits(self, result: Result) -> bool:
        return (
            result.is_accepted == self.is_accepted
            and dict(result.findings) == dict(self.findings)
            and (self.boxes is None or (result.boxes, result.crowd) == (self.boxes, self.crowd))
            and self.error in result.error
        )


Table = Mapping[str, Row]


def accepted(why: str, boxes: Mapping[str, int], *, crowd: int = 0, **findings: str) -> Row:
    """Return a row of a data set that is accepted with these findings: problem=action."""
    return Row(is_accepted=True, why=why, boxes=boxes, crowd=crowd, findings=findings)


def refused(why: str, *, error: str = "", **findings: str) -> Row:
    """Return a row of a data set that is refused with these findings: problem=action."""
    return Row(is_accepted=False, why=why, findings=findings, error=error)


def make(script: Path, folder: Path) -> None:
    """Run a script, which writes its cases to `folder`."""
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=250)


def cases_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/spec.yaml"))


def check(case: Path, job_dir: Path) -> Result:
    """Run the `check_data` job of a case, like `python -m fgd_core run`."""
    context = RecordingContext(job_dir)
    end = execute(JOB_SPEC.validate_python(yaml.safe_load((case / "spec.yaml").read_text())), context)
    checked = [event for event in context.events if isinstance(event, DataChecked)]
    found = [finding for each in checked for finding in each.findings]
    return Result(
        is_accepted=end.outcome == "succeeded",
        findings={each.problem: each.action for each in found if each.problem != "in_both_splits"},
        boxes=checked[0].boxes_per_category if checked else None,
        crowd=checked[0].num_crowd if checked else 0,
        error=end.error.message if end.error is not None else "",
    )


def lines(results: Mapping[str, Result], table: Table) -> Iterator[str]:
    """Yield a readable table: case, result, whether it is as expected, and why."""
    for name, result in results.items():
        row = table.get(name)
        verdict = "no row" if row is None else "right" if row.fits(result) else "WRONG"
        yield f"{verdict:7}{name:45}{result}"
        if row is not None:
            yield f"{'':52}({row.why})" + ("" if row.fits(result) else f" – expected: {row}")
