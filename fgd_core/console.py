"""A run on this machine with a person watching: progress bars on the terminal, checkpoints in a folder."""

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from fgd_core.errors import WeightsError
from fgd_core.spec import events
from fgd_core.spec.events import RunEvent
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.results import RunResult, Scores


class ConsoleContext:
    """A `RunContext` that shows each event; Ctrl-C asks the run to save and stop."""

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
        return self._job_dir

    def should_stop(self) -> bool:
        return self.stop_requested

    def resolve_checkpoint(self, source: str) -> Path:
        if source.startswith("job:"):
            raise WeightsError(
                "a job's checkpoint can only be named where there is a service; give the path of the file",
                checkpoint=source,
            )
        return Path(source)

    def emit(self, event: RunEvent) -> None:
        match event:
            case events.Progress():
                loss = event.values.get("loss", 0.0)
                self._show_steps(event.step, event.steps, f"loss {loss:.3f}  {_rate(event.images_per_s, event.eta_s)}")
            case events.EvaluationProgress():
                self._show_evaluation(event)
            case events.EpochFinished():
                self._show_steps(event.step, event.steps, _rate(event.images_per_s, event.eta_s))
                self._say(f"epoch {event.epoch}/{event.epochs}  loss {event.values.get('loss', 0.0):.4f}")
            case events.Evaluated(scores=scores):
                self._say(_scores(scores))
            case events.RunFinished():
                self._bars.stop()
                self._show_end(event)
            case _:
                line = describe(event)
                if line:
                    self._say(line)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def _show_steps(self, done: int, total: int, note: str) -> None:
        if self._steps is None:
            self._steps = self._bars.add_task("steps", total=total, note=note)
        self._bars.update(self._steps, completed=done, note=note)

    def _show_evaluation(self, event: events.EvaluationProgress) -> None:
        if self._evaluation is None:
            self._evaluation = self._bars.add_task("", total=event.total, note="")
        self._bars.update(self._evaluation, description=event.what, completed=event.done, total=event.total)

    def _show_end(self, event: events.RunFinished) -> None:
        if event.error is not None:
            self._console.print(f"[red]{event.error.code}[/]: ", end="")
            self._say(event.error.message)
            for key, value in event.error.details.items():
                # The message names each finding already.
                if key != "findings":
                    self._say(f"  {key}: {value}")
        if event.result is not None:
            self._console.print(_table(event.result))
        if event.outcome == "stopped":
            self._say("stopped; the same command goes on from here")
        self._say(f"everything lies in {self._job_dir}")


def _found(finding: events.Finding) -> str:
    more = ", …" if finding.count > len(finding.examples) else ""
    examples = f" ({', '.join(finding.examples)}{more})" if finding.examples else ""
    meaning = f": {finding.meaning}" if finding.meaning else ""
    return f"{finding.count} {finding.problem} {finding.action}{examples}{meaning}"


def describe(event: RunEvent) -> str | None:
    """One line for a log, or None where there is nothing to say."""
    match event:
        case events.DeviceReady():
            return f"on {event.device}, {event.precision}"
        case events.Resumed():
            return f"going on from {event.checkpoint}: epoch {event.epoch}, step {event.step}"
        case events.DataChecked():
            lines = [*map(_found, event.findings), f"{event.num_images} images, {event.num_boxes} boxes"]
            return "\n".join(f"{event.split}: {line}" for line in lines)
        case events.DataSetChecked():
            return "; ".join(f"{each.split} fingerprint {each.fingerprint[:12]}" for each in event.splits)
        case events.WeightsLoaded():
            return f"{event.role}: {event.account()}"
        case events.TeacherChecked():
            over = f" over {', '.join(event.classes_judged)}" if event.classes_judged else ""
            return f"teacher: AP {_percent(event.ap)}{over}, its record says {_percent(event.recorded_ap)}"
        case DistillationPlanned():
            return event.sentence()
        case events.EpochFinished():
            return f"epoch {event.epoch}/{event.epochs}  loss {event.values.get('loss', 0.0):.4f}"
        case events.Evaluated(scores=scores):
            return _scores(scores)
        case events.Warned():
            return f"warning: {event.message}"
        case events.RunFinished():
            return event.outcome + (f": {event.error.message}" if event.error else "")
        case _:
            return None


def _rate(images_per_s: float, eta_s: float | None) -> str:
    eta = f"  {int(eta_s) // 60}:{int(eta_s) % 60:02d} to go" if eta_s is not None else ""
    return f"{images_per_s:.0f} images/s{eta}"


def _scores(scores: Scores) -> str:
    masks = f"  of masks {_percent(scores.masks.ap)}" if scores.masks is not None else ""
    return f"AP {_percent(scores.ap)}  AP50 {_percent(scores.ap50)}{masks}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _table(result: RunResult) -> Table:
    table = Table("", *list(result.scores.per_class), "all", title=f"validation, {result.num_images} images")
    of_class = list(result.scores.per_class.values())
    table.add_row("AP", *(_percent(c.ap) for c in of_class), _percent(result.scores.ap))
    table.add_row("AP50", *(_percent(c.ap50) for c in of_class), _percent(result.scores.ap50))
    if result.scores.masks is not None:
        of_masks = [result.scores.masks.per_class.get(name) for name in result.scores.per_class]
        table.add_row(
            "mask AP", *(_percent(c.ap if c is not None else None) for c in of_masks), _percent(result.scores.masks.ap)
        )
    table.caption = f"{result.num_parameters:,} parameters, {result.images_per_s:.0f} images/s on {result.device}"
    return table
