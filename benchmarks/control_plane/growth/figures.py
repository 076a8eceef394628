"""Figures of the benchmark, and how they are measured and written."""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

LARGEST_RATIO = 1.5
_NUM_REPETITIONS = 9


class Took(NamedTuple):
    """The time of one operation."""

    wall_s: float
    cpu_s: float
    """Of this process: with PostgreSQL without that of its server."""


class Figure(NamedTuple):
    """The median time of one operation with a number of stored jobs."""

    engine: str
    num_jobs: int
    what: str
    took: Took
    instructions: int | None = None
    """That SQLite's machine executes, in hundreds. Load does not change them."""


class Single(NamedTuple):
    """An operation that is measured with one amount of data."""

    what: str
    measured: float
    largest: float
    """The target."""
    unit: str


async def median(work: Callable[[], Awaitable[object]], *, repetitions: int = _NUM_REPETITIONS) -> Took:
    """Return the median of several calls; the first one, which fills caches, is not counted unless it is the only."""
    taken = [await once(work) for _ in range(repetitions if repetitions == 1 else repetitions + 1)]
    counted = taken[-repetitions:]
    return Took(statistics.median(each.wall_s for each in counted), statistics.median(each.cpu_s for each in counted))


async def once(work: Callable[[], Awaitable[object]]) -> Took:
    """Measure one call."""
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    await work()
    return Took(time.perf_counter() - began_s, time.process_time() - cpu_began_s)


def growth_table(figures: Sequence[Figure], numbers: Sequence[int]) -> str:
    """Return a Markdown table: one row for each operation, one column for each number of jobs, and their ratio."""
    heads = [f"{number:,} jobs" for number in numbers]
    lines = [
        f"| engine | what | {' | '.join(heads)} | times | CPU time, times | SQLite's instructions, times |",
        "|---|---|" + "---|" * (len(numbers) + 3),
    ]
    found = {(each.engine, each.what, each.num_jobs): each for each in figures}
    for engine, what in dict.fromkeys((each.engine, each.what) for each in figures):
        of_numbers = [found[engine, what, number] for number in numbers]
        took = [each.took for each in of_numbers]
        ratio, cpu_ratio = took[-1].wall_s / took[0].wall_s, took[-1].cpu_s / max(took[0].cpu_s, 1e-9)
        missed = " **missed**" if ratio > LARGEST_RATIO else ""
        cells = [f"{1000 * each.wall_s:,.1f} ms" for each in took]
        work = _work_ratio(of_numbers[0], of_numbers[-1])
        lines.append(f"| {engine} | {what} | {' | '.join(cells)} | {ratio:.1f}{missed} | {cpu_ratio:.1f} | {work} |")
    return "\n".join(lines)


def _work_ratio(few: Figure, many: Figure) -> str:
    if few.instructions is None or many.instructions is None:
        return ""
    # Both may be below a hundred.
    return f"{(many.instructions + 1) / (few.instructions + 1):.1f}"


def singles_table(figures: Sequence[Single]) -> str:
    """Return a Markdown table with one row for each figure."""
    lines = ["| what | measured | target |", "|---|---|---|"]
    for each in figures:
        verdict = "✓" if each.measured <= each.largest else "**missed**"
        lines.append(f"| {each.what} | {each.measured:,.2f} {each.unit} | {each.largest:g} {each.unit} {verdict} |")
    return "\n".join(lines)
