"""Bars for work that tells how much of it is done."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from service.client.console import errors_to
from service.client.sizes import size


class Amounts:
    """A bar for each kind of work, on standard error; call it with what is done, how much of it, and of how much.

    Rows are counted, all else is bytes. Nothing is drawn where standard error is no terminal.
    """

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=errors_to(), transient=True)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Where it never began, the end of it would print an empty line.
        if self._progress.live.is_started:
            self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, shown="")
        shown = f"{done:,} of {total:,}" if what == "rows" else f"{size(done)} of {size(total)}"
        self._progress.update(self._tasks[what], completed=done, total=max(total, 1), shown=shown)
