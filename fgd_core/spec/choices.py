"""The choices in a spec: what its author decided, without the defaults."""

from typing import Literal, get_origin

from pydantic import BaseModel, JsonValue

_TAGS = ("kind", "type", "name")
"""Fields that choose a member of a union, if they are literals."""


def choices(spec: BaseModel) -> dict[str, JsonValue]:
    """Return a spec as JSON without the fields that have their default.

    The result means the same spec. Tags of unions stay, because nothing can be read without them.
    """
    return _of_model(spec, spec.model_dump(mode="json"))


def _of_model(model: BaseModel, dumped: dict[str, JsonValue]) -> dict[str, JsonValue]:
    found = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        default = field.get_default(call_default_factory=True, validated_data={})
        is_tag = name in _TAGS and get_origin(field.annotation) is Literal
        if is_tag or field.is_required() or value != default:
            found[name] = _of(value, dumped[name])
    # Some defaults depend on which fields were given: then all of them are.
    return found if type(model).model_validate(found) == model else dumped


def _of(value: object, dumped: JsonValue) -> JsonValue:
    match value, dumped:
        case BaseModel() as model, dict() as fields:
            return _of_model(model, fields)
        case dict() as inner, dict() as fields:
            return {name: _of(each, fields[str(name)]) for name, each in inner.items()}
        case (list() | tuple()) as items, list() as dumps:
            return [_of(each, dump) for each, dump in zip(items, dumps, strict=True)]
    return dumped
