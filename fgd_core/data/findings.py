"""Collects what is wrong with a data set; `problems` lists every possible problem."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from fgd_core.data.problems import PROBLEMS
from fgd_core.errors import DataError
from fgd_core.spec.events import Finding

NUM_EXAMPLES = 5
_MAX_EXAMPLE_LENGTH = 300


class Findings:
    """Counts how often each problem occurs and keeps the first few examples of each."""

    def __init__(self, on_bad: Literal["refuse", "drop"]) -> None:
        self._on_bad = on_bad
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, problem: str, example: str) -> None:
        """Count one occurrence."""
        self.add_many(problem, [example], count=1)

    def add_many(self, problem: str, examples: Sequence[str], *, count: int) -> None:
        """Count `count` occurrences. `examples` needs only the first few: a hundred thousand cost time and memory."""
        assert problem in PROBLEMS, problem
        kept = self._examples.setdefault(problem, [])
        kept.extend(map(_printable, examples[: NUM_EXAMPLES - len(kept)]))
        self._counts[problem] = self._counts.get(problem, 0) + count

    def add_where(self, problem: str, occurs: npt.NDArray[np.bool_], example: Callable[[int], str]) -> None:
        """Count the True values of `occurs`.

        Args:
            occurs: (n,)
            example: index in `occurs` -> text of the example.
        """
        indices = np.flatnonzero(occurs)
        self.add_many(problem, [example(int(index)) for index in indices[:NUM_EXAMPLES]], count=len(indices))

    def __contains__(self, problem: str) -> bool:
        return bool(self._counts.get(problem))

    def report(self) -> list[Finding]:
        """Return the problems that occurred, in the order of `PROBLEMS`."""
        return [
            Finding(
                problem=problem,
                action=self._action(problem),
                count=self._counts[problem],
                examples=self._examples[problem],
                meaning=PROBLEMS[problem].meaning,
            )
            for problem in PROBLEMS
            if self._counts.get(problem)
        ]

    def _action(self, problem: str) -> Literal["refused", "dropped", "clipped", "repaired", "kept"]:
        match PROBLEMS[problem].answer:
            case "always refused":
                return "refused"
            case "refused or dropped":
                return "refused" if self._on_bad == "refuse" else "dropped"
            case answer:
                return answer


def _printable(example: str) -> str:
    """Shorten and escape text from users' files: it may be a page long, or contain what UTF-8 cannot encode."""
    plain = example.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= _MAX_EXAMPLE_LENGTH else f"{plain[:_MAX_EXAMPLE_LENGTH]}…"


def refusal_of(
    findings: Sequence[Finding], source: str, *, missing: str | None = None, on_bad: str = "data.on_bad"
) -> DataError | None:
    """Return an error that names every refused problem, with counts and examples; None if no problem is refused.

    Args:
        source: names the annotations.
        missing: what the split lacks once bad entries are left out; None if it lacks nothing. The findings then explain
            why, so the error names all of them.
        on_bad: the field that decides about bad entries.
    """
    refused = [finding for finding in findings if finding.action == "refused"]
    if missing is not None:
        named = [finding for finding in findings if finding.action not in ("repaired", "clipped")]
        cure = f"Fix these problems: without the bad entries, {missing}"
    else:
        named = refused
        can_drop = all(PROBLEMS[finding.problem].answer == "refused or dropped" for finding in refused)
        cure = "Fix these problems" + (f", or set {on_bad} to drop, to leave out the bad entries" if can_drop else "")
    if not named:
        return None
    shown = "; ".join(
        f"{finding.problem}: {finding.count} ({', '.join(finding.examples)}"
        f"{', …' if finding.count > len(finding.examples) else ''}): {PROBLEMS[finding.problem].meaning}"
        for finding in named
    )
    details: list[JsonValue] = [finding.model_dump(mode="json") for finding in named]
    return DataError(f"{source} cannot be used as it is: {shown}. {cure}", findings=details)
