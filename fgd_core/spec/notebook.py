"""Renders objects for a notebook: small HTML tables with all text escaped."""

from collections.abc import Iterable, Sequence
from html import escape

_NONE = "–"


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values; rows without a value are left out."""
    shown = [(name, _text(value)) for name, value in rows if value not in (None, "", [], {})]
    lines = "".join(f'<tr><th style="text-align:left">{escape(name)}</th><td>{text}</td></tr>' for name, text in shown)
    return f"<table>{lines}</table>"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a row of headings."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def sentences(texts: Iterable[str]) -> str:
    """Return one paragraph for each text."""
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in texts)


def number(value: float | None, form: str = ".3f") -> str:
    """Return the number in the given format, or a dash for None."""
    return _NONE if value is None else format(value, form)


def _text(value: object) -> str:
    return escape(_NONE if value is None else str(value))
