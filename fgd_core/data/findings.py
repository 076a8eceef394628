"""What was found wrong with a data set, counted and named; see `problems` for what there can be."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from fgd_core.data.problems import PROBLEMS
from fgd_core.errors import DataError
from fgd_core.spec.events import Finding

NUM_EXAMPLES = 5
_LONGEST = 300
"""Characters of an example."""


class Findings:
    """Counts what is wrong, by problem, and remembers the first few names of each."""

    def __init__(self, on_bad: Literal["refuse", "drop"]) -> None:
        self._on_bad = on_bad
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, problem: str, name: str) -> None:
        self.add_many(problem, [name], num_in_all=1)

    def add_many(self, problem: str, first_names: Sequence[str], *, num_in_all: int) -> None:
        """Count `num_in_all`; naming all of a hundred thousand would cost time and memory."""
        assert problem in PROBLEMS, problem
        examples = self._examples.setdefault(problem, [])
        examples.extend(map(_printable, first_names[: NUM_EXAMPLES - len(examples)]))
        self._counts[problem] = self._counts.get(problem, 0) + num_in_all

    def __contains__(self, problem: str) -> bool:
        return bool(self._counts.get(problem))

    def report(self) -> list[Finding]:
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


def _printable(name: str) -> str:
    """Names come out of users' files: one may be a page long, or hold what no text in UTF-8 can."""
    plain = name.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"


def note(findings: Findings, problem: str, found: npt.NDArray[np.bool_], name: Callable[[int], str]) -> None:
    """Count what is true in (n,) `found`, and name the first few by their place."""
    where = np.flatnonzero(found)
    findings.add_many(problem, [name(int(place)) for place in where[:NUM_EXAMPLES]], num_in_all=len(where))


def refusal_of(findings: Sequence[Finding], source: str, *, nothing_left: str | None = None) -> DataError | None:
    """The error that names every problem which is refused, with its count and examples; None where none is.

    Args:
        source: names the annotations.
        nothing_left: says what the split lacks once bad entries are left out, None where it lacks nothing. What was
            found then explains why, so all of it is named.
    """
    refused = [finding for finding in findings if finding.action == "refused"]
    if nothing_left is not None:
        named = [finding for finding in findings if finding.action not in ("repaired", "clipped")]
        cure = f"Fix these, for without them {nothing_left}"
    else:
        named = refused
        is_open = all(PROBLEMS[finding.problem].answer == "refused or dropped" for finding in refused)
        cure = "Fix these, or set data.on_bad to drop to go on without them" if is_open else "Fix these"
    if not named:
        return None
    shown = "; ".join(
        f"{finding.problem}: {finding.count} ({', '.join(finding.examples)}"
        f"{', …' if finding.count > len(finding.examples) else ''}): {PROBLEMS[finding.problem].meaning}"
        for finding in named
    )
    return DataError(f"{source} cannot be used as it is: {shown}. {cure}", findings=as_details(named))


def as_details(findings: Sequence[Finding]) -> list[JsonValue]:
    """For the details of an error."""
    return [finding.model_dump(mode="json") for finding in findings]
