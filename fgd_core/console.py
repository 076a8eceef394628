"""Shows a run on this machine in the terminal: progress bars, a line for each event, a table of the result."""

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from fgd_core.errors import WeightsError
from fgd_core.spec import events
from fgd_core.spec.event_text import FREQUENT, describe, duration, number
from fgd_core.spec.events import RunEvent
from fgd_core.spec.results import PART_NAMES, RunResult

_SHOWN_ELSEWHERE = (events.RunStarted, events.CheckpointSaved, events.ArtifactSaved, events.RunFinished)


class ConsoleContext:
    """Implements `RunContext` for a run in the foreground: shows each event; Ctrl-C asks the run to save and stop."""

    def __init__(self, job_dir: Path, console: Console | None = None) -> None:
        self._job_dir = job_dir
        self.stop_requested = False
        self._console = console or Console()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
        )
        self._steps: TaskID | None = None
        self._evaluation: TaskID | None = None

    def __enter__(self) -> "ConsoleContext":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @property
    def job_dir(self) -> Path:
        """The folder of the run."""
        return self._job_dir

    def should_stop(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self.stop_requested

    def resolve_checkpoint(self, source: str) -> Path:
        """Return the path; raises WeightsError for a reference to a job, which needs a server."""
        if source.startswith("job:"):
            raise WeightsError(
                "job:<id>/<name> needs a server; give the path of the checkpoint file",
                checkpoint=source,
            )
        return Path(source)

    def emit(self, event: RunEvent) -> None:
        """Update the bars, or print a line."""
        match event:
            case events.Progress() | events.EpochFinished():
                self._show_steps(event)
            case events.EvaluationProgress():
                self._show_evaluation(event)
            case events.RunFinished():
                self._bars.stop()
                self._show_end(event)
        # The final event has its own table.
        line = describe(event) if not isinstance(event, (*FREQUENT, *_SHOWN_ELSEWHERE)) else None
        if line:
            self._say(line)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def _show_steps(self, event: events.Progress | events.EpochFinished) -> None:
        note = f"loss {number(event.values.get('loss'))}  {event.images_per_s:.0f} images/s"
        note += f"  {duration(event.eta_s)} left"
        if self._steps is None:
            self._steps = self._bars.add_task("steps", total=event.steps, note=note)
        self._bars.update(self._steps, completed=event.step, total=event.steps, note=note)

    def _show_evaluation(self, event: events.EvaluationProgress) -> None:
        if self._evaluation is None:
            self._evaluation = self._bars.add_task("", total=event.total, note="")
        self._bars.update(self._evaluation, description=event.what, completed=event.done, total=event.total)

    def _show_end(self, event: events.RunFinished) -> None:
        if event.error is not None:
            self._console.print(f"[red]{event.error.code}[/]: ", end="")
            self._say(event.error.message)
            for key, value in event.error.details.items():
                # The message already contains each finding.
                if key != "findings":
                    self._say(f"  {key}: {value}")
        if event.result is not None:
            self._console.print(_table(event.result))
        if event.outcome == "stopped":
            self._say("stopped; the same command resumes the run")
        self._say(f"all files are in {self._job_dir}")


def _score(value: float | None) -> str:
    return number(value, ".3f")


def _table(result: RunResult) -> Table:
    table = Table("", *list(result.scores.per_class), "all", title=f"validation, {result.num_images} images")
    of_class = list(result.scores.per_class.values())
    table.add_row("AP", *(_score(c.ap) for c in of_class), _score(result.scores.ap))
    table.add_row("AP50", *(_score(c.ap50) for c in of_class), _score(result.scores.ap50))
    for part, scores in result.scores.parts().items():
        of_part = [scores.per_class.get(name) for name in result.scores.per_class]
        shown = (_score(c.ap if c is not None else None) for c in of_part)
        table.add_row(f"{PART_NAMES[part]} AP", *shown, _score(scores.ap))
    table.caption = f"{result.num_parameters:,} parameters, {result.images_per_s:.0f} images/s on {result.device}"
    if result.scores.keypoints is not None:
        table.caption += f"; sigmas of OKS: {result.scores.keypoints.sigmas}"
    return table
