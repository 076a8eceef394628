"""JSON schemas describe fields by the docstrings below them."""

import ast
from typing import Any

import pytest

from fgd_core.spec import base
from fgd_core.spec.base import Fact, field_docstrings
from fgd_core.spec.views import JobView, ProgressView


class Outer(Fact):
    class Inner(Fact):
        height_px: int
        """Of the image."""

    width_px: int
    """Of the image,
    before padding."""
    undescribed: int = 0


class Heir(Outer):
    depth: int
    """In bits."""


def test_a_model_has_its_own_and_inherited_docstrings() -> None:
    assert field_docstrings(Heir) == {"width_px": "Of the image,\nbefore padding.", "depth": "In bits."}
    assert field_docstrings(Outer.Inner) == {"height_px": "Of the image."}


def test_the_schema_shows_them() -> None:
    fields = Heir.model_json_schema()["properties"]
    assert fields["depth"]["description"] == "In bits."
    assert "description" not in fields["undescribed"]


def test_a_file_is_parsed_once_for_all_of_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, parsed = ast.parse, []

    def counting(*arguments: Any, **options: Any) -> ast.AST:
        parsed.append(arguments)
        return parse(*arguments, **options)

    for cached in (base.field_docstrings, base._classes):
        cached.cache_clear()
    monkeypatch.setattr(ast, "parse", counting)
    assert field_docstrings(ProgressView)
    before = len(parsed)
    assert field_docstrings(JobView)
    assert len(parsed) == before
