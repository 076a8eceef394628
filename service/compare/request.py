"""What the comparing process is told on its standard input, and what it answers on its standard output."""

from pathlib import Path
from typing import Any

from fgd_core.spec.base import Command
from fgd_core.spec.comparison import Comparison


class RunFile(Command):
    """A finished run and what it left."""

    job_id: str
    trial: int | None = None
    name: str
    kind: str
    seed: int
    path: Path
    sha256: str

    @property
    def reference(self) -> str:
        """As it is asked for."""
        return self.job_id if self.trial is None else f"{self.job_id}/trial/{self.trial}"


class CompareRequest(Command):
    first: list[RunFile]
    second: list[RunFile]
    resamples: int
    random_seed: int


class Refused(Command):
    """A NotComparableError on its way between processes."""

    message: str
    details: dict[str, Any]


class CompareAnswer(Command):
    """Either."""

    comparison: Comparison | None = None
    refused: Refused | None = None
