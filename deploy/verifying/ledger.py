"""What was checked, as it is checked, and once more at the end."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    part: str
    claim: str
    is_so: bool
    figure: str


@dataclass
class Ledger:
    part: str = ""
    lines: list[Line] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)

    def begin(self, part: str) -> None:
        self.part = part
        print(f"\n== {part} ({time.monotonic() - self.began_s:.0f} s)", flush=True)

    def say(self, what: str) -> None:
        print(f"   {what}", flush=True)

    def check(self, claim: str, is_so: bool, figure: object = "") -> bool:
        """Note whether `claim` holds; nothing stops where it does not, so that the rest is seen as well."""
        self.lines.append(Line(self.part, claim, bool(is_so), str(figure)))
        print(f"   {'ok  ' if is_so else 'FAIL'} {claim}{f': {figure}' if figure != '' else ''}", flush=True)
        return bool(is_so)

    @property
    def failures(self) -> list[Line]:
        return [line for line in self.lines if not line.is_so]

    def markdown(self) -> str:
        rows = [
            f"| {line.part} | {line.claim} | {'yes' if line.is_so else '**no**'} | {line.figure} |"
            for line in self.lines
        ]
        return "\n".join(["| part | claim | holds | measured |", "|---|---|---|---|", *rows, ""])
