"""Tables that keep their columns whole: what has no room is left out or goes below, and a long reason takes no room."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_GAP = 2
# A reason needs so many columns beside the others to be read; with fewer it gets a line of its own.
_LEAST_OF_NOTES = 28

Cell = str | Text | RenderableType


@dataclass(frozen=True, kw_only=True)
class Column:
    heading: str
    is_number: bool = False
    least: int = 0
    """Width that is kept for it, so that a live table does not jump."""
    most: int | None = None
    """Longer cells are cut."""
    narrow: int | None = None
    """Width to which it may shrink before any column is left out; the last of several shrinks first."""
    rank: int = 0
    """0: always shown. Of the others, the one with the highest rank is left out first."""


@dataclass(frozen=True, kw_only=True)
class Row:
    cells: Sequence[Cell]
    """One for each column."""
    label: str = ""
    """Stands before the note where that has a line of its own."""
    note: Text | None = None
    """Why it is as it is: in a last column where that has room, else in a line below the table."""
    style: str = ""


def fitted(columns: Sequence[Column], rows: Sequence[Row], *, width: int, wrap_notes: bool = False) -> Group:
    """The table in at most `width` columns.

    Args:
        wrap_notes: break notes over several lines; else each is cut to one.
    """
    widths = _widths(columns, rows, width)
    room = width - sum(widths.values()) - _GAP * len(widths)
    has_notes = any(row.note for row in rows)
    is_beside = has_notes and room >= _LEAST_OF_NOTES
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for place, column_width in widths.items():
        column = columns[place]
        table.add_column(
            column.heading,
            width=column_width,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if column.is_number else "left",
        )
    if is_beside:
        table.add_column("why", max_width=room, no_wrap=not wrap_notes, overflow="fold" if wrap_notes else "ellipsis")
    for row in rows:
        cells = [row.cells[place] for place in widths]
        table.add_row(*cells, *([row.note or ""] if is_beside else []), style=row.style)
    below = [] if is_beside else [_line(row, wrap=wrap_notes) for row in rows if row.note]
    return Group(table, *below)


def num_lines(columns: Sequence[Column], rows: Sequence[Row], *, width: int) -> int:
    """How many lines `fitted` takes with notes that are cut, the heading included."""
    widths = _widths(columns, rows, width)
    room = width - sum(widths.values()) - _GAP * len(widths)
    return 1 + len(rows) + (sum(1 for row in rows if row.note) if room < _LEAST_OF_NOTES else 0)


def _line(row: Row, *, wrap: bool) -> Text:
    assert row.note is not None
    line = Text(f"  {row.label}: ", no_wrap=not wrap, overflow="fold" if wrap else "ellipsis")
    return line.append_text(row.note)


def _widths(columns: Sequence[Column], rows: Sequence[Row], width: int) -> dict[int, int]:
    """The width of each column that is shown, by its place."""
    found = {place: _natural(column, [row.cells[place] for row in rows]) for place, column in enumerate(columns)}

    def excess() -> int:
        return sum(found.values()) + _GAP * (len(found) - 1) - width

    for place, column in reversed(tuple(enumerate(columns))):
        if column.narrow is not None and excess() > 0:
            found[place] = max(min(column.narrow, found[place]), found[place] - excess())
    for place in sorted(found, key=lambda place: -columns[place].rank):
        if excess() > 0 and columns[place].rank > 0:
            del found[place]
    return found


def _natural(column: Column, cells: Sequence[Cell]) -> int:
    # Other renderables, such as bars, are as wide as they are allowed to be.
    texts = [cell if isinstance(cell, Text) else Text(cell) for cell in cells if isinstance(cell, str | Text)]
    content = max((text.cell_len for text in texts), default=0)
    wanted = max(content, len(column.heading), column.least)
    return wanted if column.most is None else min(wanted, column.most)
