"""Collects and prints the results of all checks."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """Holds the result of one check."""

    part: str
    claim: str
    holds: bool
    figure: str


@dataclass
class Results:
    """Holds the results of all checks so far."""

    part: str = ""
    lines: list[Line] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)

    def begin(self, part: str) -> None:
        self.part = part
        print(f"\n== {part} ({time.monotonic() - self.began_s:.0f} s)", flush=True)

    def note(self, what: str) -> None:
        print(f"   {what}", flush=True)

    def check(self, claim: str, holds: bool, figure: object = "") -> bool:
        """Record whether `claim` holds. A failure does not stop the verification, so that later checks run as well."""
        self.lines.append(Line(self.part, claim, bool(holds), str(figure)))
        print(f"   {'ok  ' if holds else 'FAIL'} {claim}{f': {figure}' if figure != '' else ''}", flush=True)
        return bool(holds)

    @property
    def failures(self) -> list[Line]:
        return [line for line in self.lines if not line.holds]

    def markdown(self) -> str:
        rows = [
            f"| {line.part} | {line.claim} | {'yes' if line.holds else '**no**'} | {line.figure} |"
            for line in self.lines
        ]
        return "\n".join(["| part | claim | holds | measured |", "|---|---|---|---|", *rows, ""])
