"""Cases out of the field: a table of what is answered to each, and why that is right.

Each script of `../shared/cases` has a table of its own beside this file; a case without a row fails a test.
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
class Answer:
    """What `check_data` says of a data set."""

    is_read: bool
    """Whether a training on it would begin."""
    findings: Mapping[str, str]
    """Of both splits: problem -> action. That an image is in both splits is left out: most cases list theirs twice."""
    boxes: Mapping[str, int] | None
    """Class -> how many in the training split, None where nothing was counted."""
    crowd: int
    error: str

    def __str__(self) -> str:
        what = "read" if self.is_read else "refused"
        boxes = ", ".join(f"{count} {name}" for name, count in (self.boxes or {}).items())
        found = ", ".join(f"{problem} {action}" for problem, action in self.findings.items())
        crowd = f", {self.crowd} crowd" if self.crowd else ""
        return "; ".join(filter(None, [what, boxes + crowd, found or (self.error[:100] if not self.is_read else "")]))


@dataclass(frozen=True, kw_only=True)
class Row:
    """What has to be answered."""

    is_read: bool
    why: str
    boxes: Mapping[str, int] | None = None
    """None: does not matter, for nothing is learned from it."""
    crowd: int = 0
    findings: Mapping[str, str]
    says: str = ""
    """Stands in the refusal."""

    def __str__(self) -> str:
        return str(Answer(is_read=self.is_read, findings=self.findings, boxes=self.boxes, crowd=self.crowd, error=""))

    def fits(self, answer: Answer) -> bool:
        return (
            answer.is_read == self.is_read
            and dict(answer.findings) == dict(self.findings)
            and (self.boxes is None or (answer.boxes, answer.crowd) == (self.boxes, self.crowd))
            and self.says in answer.error
        )


Table = Mapping[str, Row]


def read(why: str, boxes: Mapping[str, int], *, crowd: int = 0, **findings: str) -> Row:
    """It is read so, with these findings: problem=action."""
    return Row(is_read=True, why=why, boxes=boxes, crowd=crowd, findings=findings)


def refused(why: str, *, says: str = "", **findings: str) -> Row:
    """Nobody can train on it, for these findings: problem=action."""
    return Row(is_read=False, why=why, findings=findings, says=says)


def make(script: Path, folder: Path) -> None:
    """Have `script` write its cases."""
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=250)


def cases_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/spec.yaml"))


def answer(case: Path, job_dir: Path) -> Answer:
    """Run the case's check, as `python -m fgd_core run` does."""
    context = RecordingContext(job_dir)
    end = execute(JOB_SPEC.validate_python(yaml.safe_load((case / "spec.yaml").read_text())), context)
    checked = [event for event in context.events if isinstance(event, DataChecked)]
    found = [finding for each in checked for finding in each.findings]
    return Answer(
        is_read=end.outcome == "succeeded",
        findings={each.problem: each.action for each in found if each.problem != "in_both_splits"},
        boxes=checked[0].boxes_per_category if checked else None,
        crowd=checked[0].num_crowd if checked else 0,
        error=end.error.message if end.error is not None else "",
    )


def lines(answers: Mapping[str, Answer], table: Table) -> Iterator[str]:
    """The table as a person reads it: case, answer, right or not, and why."""
    for name, given in answers.items():
        row = table.get(name)
        verdict = "no row" if row is None else "right" if row.fits(given) else "WRONG"
        yield f"{verdict:7}{name:45}{given}"
        if row is not None:
            yield f"{'':52}({row.why})" + ("" if row.fits(given) else f" – expected: {row}")
