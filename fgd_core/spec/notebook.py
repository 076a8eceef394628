"""What a notebook shows of our objects: small HTML tables, every text escaped."""

from collections.abc import Iterable, Sequence
from html import escape

_NONE = "–"


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """A table of names and values; those without a value are left out."""
    shown = [(name, _text(value)) for name, value in rows if value not in (None, "", [], {})]
    lines = "".join(f'<tr><th style="text-align:left">{escape(name)}</th><td>{text}</td></tr>' for name, text in shown)
    return f"<table>{lines}</table>"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a line of headings."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def sentences(said: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in said)


def number(value: float | None, form: str = ".3f") -> str:
    return _NONE if value is None else format(value, form)


def _text(value: object) -> str:
    return escape(_NONE if value is None else str(value))
