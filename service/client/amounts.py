"""Progress bars for work that counts rows or bytes."""

from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from service.client.console import errors_to, size


class Amounts:
    """Draws a progress bar on standard error for each kind of work, if standard error is a terminal."""

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

    def __exit__(self, *_: object) -> None:
        # Stopping bars that never started would print an empty line.
        if self._progress.live.is_started:
            self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Update the bar of a kind of work; `rows` are counted, all other kinds are in bytes."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, shown="")
        shown = f"{done:,} of {total:,}" if what == "rows" else f"{size(done)} of {size(total)}"
        self._progress.update(self._tasks[what], completed=done, total=max(total, 1), shown=shown)
