"""The two kinds of records that cross a boundary between processes."""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class _Described(BaseModel):
    """A model whose JSON schema describes each field by the docstring below it.

    Pydantic can do so itself, but then reads the source of each class at its import. That took half of the imports of a
    run or a command, and neither of them shows a schema.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        schema = handler(core_schema)
        fields = handler.resolve_ref_schema(schema).get("properties", {})
        texts = field_docstrings(cls)
        for name, field in cls.model_fields.items():
            described = fields.get(name) or fields.get(field.serialization_alias)
            if name in texts and described is not None:
                described.setdefault("description", texts[name])
        return schema


class Command(_Described):
    """A request. An unknown field is an error, because a run that guesses trains the wrong model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Fact(_Described):
    """A fact that happened. An unknown field is ignored, because a reader may be older than the writer."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@cache
def field_docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstrings of a model's fields by name, with those that it inherits.

    A class without a source, for example from an interpreter's prompt, has none, and neither has one in a function.
    """
    inherited: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, _Described):
            inherited |= dict(_own_docstrings(each))
    return inherited


def _own_docstrings(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    definition = _classes(model.__module__).get(model.__qualname__)
    for field, text in pairwise(definition.body if definition is not None else ()):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                yield name, inspect.cleandoc(docstring)


# By module: `inspect.getsource` of a class parses the whole file, for each of its classes again.
@cache
def _classes(module: str) -> Mapping[str, ast.ClassDef]:
    """Return the class definitions in a module's source by their qualified names."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    return dict(_definitions(tree, ""))


def _definitions(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for each in parent.body:
        if isinstance(each, ast.ClassDef):
            yield f"{prefix}{each.name}", each
            yield from _definitions(each, f"{prefix}{each.name}.")
