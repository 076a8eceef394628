"""How standings look: bars on a terminal, one plain line for each notable event elsewhere."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fgd_core.spec.events import StoredEvent
from service.client.fitting import Column, Row, fitted
from service.client.standing import Standing

STATE_STYLES: Mapping[str, str] = {
    "blocked": "yellow",
    "queued": "yellow",
    "starting": "cyan",
    "running": "bold cyan",
    "pausing": "blue",
    "paused": "blue",
    "cancelling": "magenta",
    "lost": "bold yellow",
    "succeeded": "bold green",
    "failed": "bold red",
    "cancelled": "magenta",
}

_COLUMNS = (
    Column(heading="job", most=24, narrow=16),
    Column(heading="state", least=10),
    Column(heading="", least=24, narrow=6),
    Column(heading="epoch", is_number=True, least=5),
    Column(heading="loss", is_number=True, least=5),
    Column(heading="images/s", is_number=True, rank=1),
    Column(heading="AP", is_number=True, least=5),
    Column(heading="best", is_number=True, least=5, rank=2),
    Column(heading="left", is_number=True, least=5),
)
_LEVEL = re.compile(r"^[PC]\d+$")

# Notable enough for a line of its own where no bar can be drawn.
_SPOKEN = (
    *("submitted", "state_changed", "attempt_started", "run_started", "device_ready"),
    *("progress", "epoch_finished", "evaluated"),
    *("teacher_checked", "distillation_planned", "warned", "resumed", "trial_reported", "trial_ended"),
)


def bars(standings: Iterable[Standing], spinner: Spinner, *, width: int, notice: str = "") -> RenderableType:
    """All jobs at once: state, bar, epoch, loss, images/s, AP, time left, and below them the terms of the loss.

    Args:
        width: of the terminal in columns; in a narrow one the bars shrink, then the best AP and images/s are left out.
    """
    rows = []
    below: list[RenderableType] = []
    for job in standings:
        cells = (
            Text(job.name, style="bold"),
            Text(job.state, style=STATE_STYLES.get(job.state, "")),
            ProgressBar(total=1.0, completed=job.fraction, pulse=_is_preparing(job)),
            f"{job.epoch}/{job.epochs}" if job.epoch is not None else "",
            number(job.values.get("loss"), ".3g"),
            number(job.images_per_s, ".0f"),
            number(job.ap, ".3f"),
            number(job.best_ap, ".3f"),
            duration(job.eta_s) if not job.is_over else "",
        )
        rows.append(Row(cells=cells))
        below.extend(_lines_below(job, spinner))
    if notice:
        below.append(Text(notice, style="yellow"))
    return Group(fitted(_COLUMNS, rows, width=width), *below)


def line(job: Standing, event: StoredEvent) -> str | None:
    """A notable event as one line for a log; None for the rest. `job` has taken the event in."""
    if event.kind not in _SPOKEN:
        return None
    said = f"{event.at.astimezone():%H:%M:%S}  {job.name:<18}  "
    data = event.data
    match event.kind:
        case "state_changed":
            words = [str(data.get("to_state")), str(data.get("message") or ""), job.error or "" if job.is_over else ""]
            return said + "  ".join(word for word in dict.fromkeys(words) if word)
        case "attempt_started":
            return f"{said}attempt {data.get('number')}  {data.get('dashboard_url') or ''}".rstrip()
        case "run_started":
            return f"{said}loading PyTorch"
        case "device_ready":
            return f"{said}on {data.get('device', 'its device')}: reading the data"
        case "progress":
            return said + _progress(job) if job.is_line_due(event.at) else None
        case "epoch_finished":
            rate, left = number(job.images_per_s, ".0f"), duration(job.eta_s)
            loss = number(job.values.get("loss"))
            return f"{said}epoch {job.epoch}/{job.epochs}  loss {loss}  {rate} images/s  {left} left"
        case "evaluated":
            of_masks = f"  masks {number(job.mask_ap, '.3f')}" if job.mask_ap is not None else ""
            return f"{said}AP {number(job.ap, '.3f')}  best {number(job.best_ap, '.3f')}{of_masks}"
        case "teacher_checked":
            recorded = number(data.get("recorded_ap"), ".3f")
            return f"{said}teacher checked: AP {number(data.get('ap'), '.3f')}, its checkpoint records {recorded}"
        case "distillation_planned":
            return said + job.plan if job.plan else None
        case "warned":
            return f"{said}warning: {data.get('message')}"
        case "trial_reported" | "trial_ended":
            return said + _of_trial(data)
    return f"{said}{event.kind.replace('_', ' ')} {data.get('checkpoint', '')}".rstrip()


def number(value: float | None, form: str = ".4g") -> str:
    return "–" if value is None else format(value, form)


def duration(seconds: float | None) -> str:
    """`75` as `1:15`, `3675` as `1:01:15`."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _progress(job: Standing) -> str:
    rate, left = number(job.images_per_s, ".0f"), duration(job.eta_s)
    return f"epoch {job.epoch}/{job.epochs}, step {job.step}/{job.steps}  {rate} images/s  {left} left"


def _is_preparing(job: Standing) -> bool:
    return job.state in ("starting", "running") and job.step is None


def _of_trial(data: Mapping[str, Any]) -> str:
    reached = next(iter(data.get("objectives") or []), None)
    end = data.get("cause") or (data.get("verdict") if data.get("verdict") != "continue" else None)
    error = (data.get("error") or {}).get("message")
    score = number(reached, ".3f") if reached is not None else None
    words = [f"trial {data.get('trial')}", f"epoch {data.get('epoch')}", score, end, error]
    return "  ".join(str(word) for word in words if word)


def _lines_below(job: Standing, spinner: Spinner) -> Iterable[RenderableType]:
    if job.state == "running" and job.values:
        yield Text(f"  {job.name}: {_terms(job.values)}", style="dim", no_wrap=True, overflow="ellipsis")
    if job.doing and not job.is_over:
        row = Table.grid(padding=(0, 1))
        row.add_row(" ", spinner if job.state != "blocked" else "", Text(f"{job.name}: {job.doing}", style="dim"))
        yield row
    if job.plan and not job.is_over:
        yield Text(f"  {job.name} {job.plan}", style="dim")
    for warning in job.warnings[-3:]:
        yield Text(f"  {job.name}: {warning}", style="yellow")
    if job.error and job.state in ("failed", "lost", "cancelled"):
        yield Text(f"  {job.name}: {job.error}", style="red")


def _terms(values: Mapping[str, float]) -> str:
    """`task: box 0.37 · distill 0.42 (unweighted: foreground 18.9, …)`, without the levels of the pyramid.

    The terms of a method come before their weights, and add up to no part of the loss; their weighted sum does.
    """
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        group, _, term = name.partition("/")
        if term and term != "total" and not _LEVEL.match(term):
            groups.setdefault(group, []).append(f"{term} {number(value, '.3g')}")
    method = groups.pop("distill", None)
    said = [f"{group}: {', '.join(terms)}" for group, terms in sorted(groups.items())]
    if method is not None:
        said.insert(0, f"distill {number(values.get('distill/total'), '.3g')} (unweighted: {', '.join(method)})")
    return " · ".join(said)
