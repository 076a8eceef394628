"""Shows what each key of a file of weights becomes, as a table or as JSON."""

from pydantic import JsonValue
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fgd_core.detectors.weights.examining import Examination
from fgd_core.detectors.weights.matching import KeyResult, KeyStatus, Shape

_STYLES: dict[KeyStatus, str] = {
    "loaded": "green",
    "by class": "green",
    "missing": "bold red",
    "mismatched": "bold red",
    "unexpected": "bold red",
    "left out": "dim",
}


def print_examined(examined: Examination, console: Console) -> None:
    """Print one row for each key, then a summary."""
    keys = (Column("key in the file", overflow="fold"), Column("becomes", overflow="fold"))
    table = Table(*keys, "shape", "here", "", box=None, pad_edge=False)
    for result in examined.loaded.keys:
        table.add_row(
            Text(result.key or "—"),
            Text(_becomes(result)),
            _shown(result.shape),
            "" if result.own_shape == result.shape else _shown(result.own_shape),
            Text(" · ".join(filter(None, (result.status, result.note))), style=_STYLES[result.status]),
        )
    console.print(table)
    event = examined.loaded.event
    kind = type(examined.detector).model_fields["type"].default
    console.print(
        f"\n{event.num_matched} of {event.num_total} keys of the {kind} match; {len(event.missing)} missing, "
        f"{len(event.mismatched)} mismatched, {len(event.unexpected)} unexpected",
        style="green" if examined.loaded.is_complete else "bold red",
        highlight=False,
    )
    console.print(event.account(), markup=False, highlight=False)
    if examined.classes:
        names = ", ".join(examined.classes[:5]) + (", …" if len(examined.classes) > 5 else "")
        console.print(f"{len(examined.classes)} classes: {names}", markup=False, highlight=False)


def examined_json(examined: Examination) -> dict[str, JsonValue]:
    """Return the same facts as JSON."""
    event = examined.loaded.event
    return {
        "source": examined.source,
        "is_complete": examined.loaded.is_complete,
        "num_matched": event.num_matched,
        "num_total": event.num_total,
        "missing": [*event.missing],
        "mismatched": [*event.mismatched],
        "unexpected": [*event.unexpected],
        "classes": [*examined.classes],
        "notes": [*examined.notes],
        "taken": event.taken,
        "left": [*event.left],
        "account": event.account(),
        "detector": examined.detector.model_dump(mode="json"),
        "keys": [
            {
                "key": result.key,
                "becomes": result.own_key,
                "shape": _listed(result.shape),
                "own_shape": _listed(result.own_shape),
                "fate": result.status,
                "note": result.note,
            }
            for result in examined.loaded.keys
        ],
    }


def _becomes(result: KeyResult) -> str:
    if result.own_key is None:
        return "—"
    return "the same" if result.own_key == result.key else result.own_key


def _shown(shape: Shape | None) -> str:
    return "—" if shape is None else "×".join(map(str, shape)) or "1"


def _listed(shape: Shape | None) -> list[JsonValue] | None:
    return None if shape is None else [*shape]
