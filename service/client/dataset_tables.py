"""Data sets as tables."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fgd_core.spec.datasets import DatasetSummary, DatasetView
from fgd_core.spec.events import DataChecked, DataSetChecked

_STATES: Mapping[str, str] = {
    "checked": "green",
    "checking": "cyan",
    "unchecked": "yellow",
    "refused": "bold red",
    "failed": "bold red",
}


def state(dataset: DatasetSummary) -> Text:
    """Return the state in its colour."""
    return Text(dataset.state, style=_STATES[dataset.state])


def dataset_table(found: Sequence[DatasetSummary]) -> Table:
    """Return a table with a row per data set; images and boxes are shown as training + validation."""
    table = _table("name", "project", "format", "state", "images", "boxes", "classes", "checked")
    for dataset in found:
        table.add_row(
            Text(dataset.name, style="bold"),
            dataset.project,
            dataset.format,
            state(dataset),
            _train_and_val(dataset.num_images),
            _train_and_val(dataset.num_boxes),
            str(dataset.num_categories) if dataset.num_categories is not None else "",
            f"{dataset.checked_at.astimezone():%Y-%m-%d %H:%M}" if dataset.checked_at is not None else "",
        )
    return table


def facts(dataset: DatasetView) -> Table:
    """Return a table of one data set's name, state, origin and paths."""
    table = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str | Text]] = [
        ("data set", f"{dataset.name} ({dataset.format}) {dataset.dataset_id}"),
        ("state", state(dataset)),
        *([("why", Text(dataset.error.message, style="red"))] if dataset.error is not None else []),
        ("project", dataset.project),
        ("added", f"{dataset.created_at.astimezone():%Y-%m-%d %H:%M} by {dataset.created_by}"),
    ]
    rows += [(f"{path}", str(value)) for path, value in _fields(dataset.data.model_dump(mode="json"))]
    if dataset.fingerprints is not None:
        rows += [("fingerprints", f"train {dataset.fingerprints.train}"), ("", f"val   {dataset.fingerprints.val}")]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value if isinstance(value, Text) else Text(value, overflow="fold"))
    return table


def outcome(found: DataSetChecked) -> Iterator[RenderableType]:
    """Yield the result of a check: its findings first, because they explain the rest; then counts and classes."""
    findings = [(each.split, finding) for each in found.splits for finding in each.findings]
    if findings:
        table = _table("split", "problem", "count", "action", "examples")
        for split, finding in findings:
            style = "red" if finding.action == "refused" else ""
            more = " …" if finding.count > len(finding.examples) else ""
            table.add_row(
                split,
                Text(finding.problem.replace("_", " ")),
                str(finding.count),
                Text(finding.action, style=style),
                Text(", ".join(finding.examples) + more, overflow="fold"),
            )
        yield table
        meanings = {finding.problem: finding.meaning for _, finding in findings if finding.meaning}
        for problem, meaning in meanings.items():
            yield Text(f"{problem.replace('_', ' ')}: {meaning}", style="dim")
        yield Text()
    yield _counts(found)
    yield Text()
    yield _classes(found.splits)


def _counts(found: DataSetChecked) -> Table:
    table = _table("split", "images", "without boxes", "boxes", "crowd", "small", "medium", "large", "image sizes")
    for each, profile in zip(found.splits, found.profiles, strict=False):
        table.add_row(
            each.split,
            *map(str, (each.num_images, each.num_images_without_boxes, each.num_boxes, each.num_crowd)),
            *map(str, (profile.num_small, profile.num_medium, profile.num_large, profile.num_sizes)),
        )
    return table


def _classes(splits: Sequence[DataChecked]) -> Table:
    table = _table("class", *(f"boxes in {each.split}" for each in splits))
    for name in dict.fromkeys(name for each in splits for name in each.boxes_per_category):
        counts = [each.boxes_per_category.get(name, 0) for each in splits]
        table.add_row(Text(name), *(Text(str(count), style="" if count else "red") for count in counts))
    return table


def _table(*headings: str) -> Table:
    texts = (
        *("name", "project", "format", "state", "split", "problem"),
        *("action", "examples", "class", "checked"),
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading in texts else "right", no_wrap=heading not in ("examples", "class")
        )
    return table


def _train_and_val(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count:,}" for count in counts.values())


def _fields(data: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{name}.")
        elif value is not None and name != "type":
            yield f"{prefix}{name}", value
