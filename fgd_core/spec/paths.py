"""Reads and sets fields of a spec by path, for example `training.optimizer.learning_rate`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

SpecData: TypeAlias = Mapping[str, Any]
"""A spec as JSON has it."""


def with_fields(spec: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a spec in JSON with fields set by path; `teachers.0.weight` leads into a list.

    Raises:
        KeyError: a path leads through a field that does not exist.
    """
    for path, value in values.items():
        head, _, rest = path.partition(".")
        spec = {**spec, head: _replaced(spec[head], rest, value) if rest else value}
    return spec


def _replaced(part: Any, path: str, value: Any) -> Any:
    if not isinstance(part, list):
        return with_fields(part, {path: value})
    by_index = with_fields({str(index): each for index, each in enumerate(part)}, {path: value})
    return [*by_index.values()]


def field(spec: SpecData, path: str) -> Any:
    """Return the value at a path; None if there is none."""
    value: Any = spec
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def changed(spec: BaseModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec in JSON with fields set by path; the result is not validated.

    A value can change the kind of a part of the spec, for example `detector.backbone.name` from a ResNet to a
    MobileNet. Fields that had the old kind's default then get the new kind's default.

    Raises:
        KeyError: a path leads through a field that does not exist.
    """
    content = spec.model_dump(mode="json")
    # Outer parts first: a new outer part may contain the inner one.
    for path in sorted(values, key=lambda each: each.count(".")):
        whole, _, name = path.rpartition(".")
        found, word = part(spec, whole.split(".")), values[path]
        if found is None or name != found.tag or not isinstance(word, str):
            continue
        kind = found.kinds.get(word)
        if kind is not None and not isinstance(found.value, kind):
            kept = {key: value for key, value in field(content, whole).items() if not _is_default(found.value, key)}
            content = with_fields(content, {whole: {**_defaults(kind), **kept, name: word}})
    return with_fields(content, values)


class Part(NamedTuple):
    """A part of a spec that has fields, with the other kinds that it could be."""

    value: BaseModel
    tag: str | None
    """The field that selects the kind of the part; None if there is only one kind."""
    kinds: Mapping[str, type[BaseModel]]
    """The kinds, by the value of that field."""


def part(spec: BaseModel, names: Sequence[str]) -> Part | None:
    """Return the part at a path; None if there is no part with fields."""
    value: object = spec
    info: FieldInfo | None = None
    for name in names:
        if isinstance(value, Mapping) and name in value:
            info, value = None, value[name]
            continue
        if not isinstance(value, BaseModel) or name not in type(value).model_fields:
            return None
        info, value = type(value).model_fields[name], getattr(value, name)
    if not isinstance(value, BaseModel):
        return None
    if info is None or not isinstance(info.discriminator, str):
        return Part(value, None, {})
    members = [each for each in get_args(info.annotation) if issubclass(each, BaseModel)]
    words = {word: each for each in members for word in get_args(each.model_fields[info.discriminator].annotation)}
    return Part(value, info.discriminator, words)


def _is_default(value: BaseModel, name: str) -> bool:
    info = type(value).model_fields.get(name)
    return info is not None and bool(getattr(value, name) == info.get_default(call_default_factory=True))


def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the defaults of all optional fields, in JSON."""
    return {
        name: to_jsonable_python(info.get_default(call_default_factory=True))
        for name, info in kind.model_fields.items()
        if not info.is_required()
    }
