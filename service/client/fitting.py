"""Tables that fit a terminal: a narrow one omits columns and shows long notes on separate lines."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_GAP = 2
# With fewer columns than this, a note is on a separate line below the table.
_NARROWEST_NOTE = 28

Cell = str | Text | RenderableType


@dataclass(frozen=True)
class Column:
    """Describes a column and how it shrinks; widths are in columns of the terminal."""

    heading: str
    _: KW_ONLY
    is_number: bool = False
    least: int = 0
    """The least width, so that a live table keeps its layout."""
    most: int | None = None
    """The largest width; longer cells are cut."""
    narrow: int | None = None
    """The width to which it may shrink before the table omits a column; the last such column shrinks first."""
    rank: int = 0
    """0: always shown. The table omits the column with the highest rank first."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Holds the cells of a row, one per column, and a note."""

    cells: Sequence[Cell]
    label: str = ""
    """Precedes the note if the note is on a separate line."""
    note: Text | None = None
    """The reason for the row's state: in a last column if there is room, else on a line below the table."""
    style: str = ""


def fitted(columns: Sequence[Column], rows: Sequence[Row], *, width: int, wrap_notes: bool = False) -> Group:
    """Return the table in at most `width` columns of the terminal.

    Args:
        wrap_notes: wrap long notes over several lines; otherwise each note is cut to one line.
    """
    widths = _widths(columns, rows, width)
    room = width - sum(widths.values()) - _GAP * len(widths)
    has_notes = any(row.note for row in rows)
    is_beside = has_notes and room >= _NARROWEST_NOTE
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for index, column_width in widths.items():
        column = columns[index]
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
        cells = [row.cells[index] for index in widths]
        table.add_row(*cells, *([row.note or ""] if is_beside else []), style=row.style)
    below = [] if is_beside else [_line(row, wrap=wrap_notes) for row in rows if row.note]
    return Group(table, *below)


def num_lines(columns: Sequence[Column], rows: Sequence[Row], *, width: int) -> int:
    """Return the number of lines of `fitted` with cut notes, including the heading."""
    widths = _widths(columns, rows, width)
    room = width - sum(widths.values()) - _GAP * len(widths)
    return 1 + len(rows) + (sum(1 for row in rows if row.note) if room < _NARROWEST_NOTE else 0)


def _line(row: Row, *, wrap: bool) -> Text:
    assert row.note is not None
    line = Text(f"  {row.label}: ", no_wrap=not wrap, overflow="fold" if wrap else "ellipsis")
    return line.append_text(row.note)


def _widths(columns: Sequence[Column], rows: Sequence[Row], width: int) -> dict[int, int]:
    """Return the width of each column that is shown, by its index."""
    found = {index: _natural(column, [row.cells[index] for row in rows]) for index, column in enumerate(columns)}

    def excess() -> int:
        return sum(found.values()) + _GAP * (len(found) - 1) - width

    for index, column in reversed(tuple(enumerate(columns))):
        if column.narrow is not None and excess() > 0:
            found[index] = max(min(column.narrow, found[index]), found[index] - excess())
    for index in sorted(found, key=lambda index: -columns[index].rank):
        if excess() > 0 and columns[index].rank > 0:
            del found[index]
    return found


def _natural(column: Column, cells: Sequence[Cell]) -> int:
    # Other renderables, such as progress bars, fill the width that they get.
    texts = [cell if isinstance(cell, Text) else Text(cell) for cell in cells if isinstance(cell, str | Text)]
    content = max((text.cell_len for text in texts), default=0)
    wanted = max(content, len(column.heading), column.least)
    return wanted if column.most is None else min(wanted, column.most)
