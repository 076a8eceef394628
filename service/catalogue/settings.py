"""Settings: the entries of each union of specs and their fields, from the JSON schema that pydantic generates."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from pydantic import JsonValue, TypeAdapter

from fgd_core.spec.augments import AugmentSpec
from fgd_core.spec.backbones import BackboneSpec
from fgd_core.spec.catalogue import Entry, SectionName, Setting
from fgd_core.spec.data import DataSpec
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.dimensions import Dimension
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.methods import MethodSpec
from fgd_core.spec.search import SchedulerSpec, SearcherSpec
from fgd_core.spec.training import OptimizerSpec, ScheduleSpec

Schema: TypeAlias = dict[str, Any]
Unions: TypeAlias = Mapping[SectionName, Any]

# Every union that a user chooses from. A new member of a union is in the catalogue without a line here.
SECTIONS: Unions = {
    "jobs": JobSpec,
    "detectors": DetectorSpec,
    "backbones": BackboneSpec,
    "methods": MethodSpec,
    "data": DataSpec,
    "augments": AugmentSpec,
    "optimizers": OptimizerSpec,
    "schedules": ScheduleSpec,
    "searchers": SearcherSpec,
    "schedulers": SchedulerSpec,
    "dimensions": Dimension,
}


_WORDS = {"integer": "whole number", "boolean": "true or false", "number": "number", "string": "text"}


class _Choice(NamedTuple):
    """A member of a union."""

    section: SectionName
    names: list[JsonValue]
    """The values of its tag that choose it."""


def read(unions: Unions = SECTIONS) -> dict[SectionName, list[Entry]]:
    """Return the entries of all unions, in the order of the unions' members."""
    schemas = {name: TypeAdapter(union).json_schema() for name, union in unions.items()}
    choices = {
        member["title"]: _Choice(name, _allowed(member["properties"][_tag_field(schema, member)]) or [])
        for name, schema in schemas.items()
        for member in _members(schema)
    }
    return {name: list(_Reader(schema, choices).entries()) for name, schema in schemas.items()}


class _Reader:
    def __init__(self, root: Schema, choices: Mapping[str, _Choice]) -> None:
        """
        Args:
            root: the JSON schema of a union, with its `$defs`.
            choices: every member of every union, by the name of its class.
        """
        self._root = root
        self._choices = choices

    def entries(self) -> Iterator[Entry]:
        """Yield the entries of the union."""
        for member in _members(self._root):
            tag = _tag_field(self._root, member)
            settings = [found for found in self._settings(member) if found.path != tag]
            for name in self._choices[member["title"]].names:
                yield Entry(name=str(name), chosen_by=tag, help=_help(member), settings=settings)

    def _settings(self, model: Schema, prefix: str = "", defaults: JsonValue = None) -> Iterator[Setting]:
        """Yield the fields of a model, and those of nested models that belong to no union, each with its path."""
        for name, field in model["properties"].items():
            path, default = f"{prefix}{name}", field.get("default")
            if isinstance(defaults, dict):
                default = defaults.get(name, default)
            options = self._options(field)
            inner = self._plain_model(options)
            if inner is None or self._may_be_null(field):
                is_required = name in model.get("required", ()) and default is None
                yield self._setting(path, field, options, default=default, is_required=is_required)
            if inner is not None:
                yield from self._settings(inner, f"{path}.", default)
            elif len(options) == 1 and (of_list := self._plain_model(self._options(options[0].get("items", {})))):
                yield from self._settings(of_list, f"{path}.0.")

    def _setting(
        self, path: str, field: Schema, options: list[Schema], *, default: JsonValue, is_required: bool
    ) -> Setting:
        chosen = self._chosen(options)
        only = options[0] if len(options) == 1 else {}
        names = [name for choice in chosen for name in choice.names]
        return Setting(
            path=path,
            type=self._words(options) + (" or null" if self._may_be_null(field) else ""),
            required=is_required,
            default=default,
            values=names or _allowed(only),
            section=chosen[0].section if chosen else None,
            minimum=only.get("minimum"),
            exclusive_minimum=only.get("exclusiveMinimum"),
            maximum=only.get("maximum"),
            exclusive_maximum=only.get("exclusiveMaximum"),
            help=_help(field) or ("" if chosen else _help(only)),
        )

    def _words(self, options: list[Schema], *, with_values: bool = False) -> str:
        chosen = self._chosen(options)
        if chosen:
            return f"an entry of {chosen[0].section}"
        is_one = len(options) == 1 and not with_values
        return " or ".join(dict.fromkeys(self._word(option, with_values=not is_one) for option in options))

    def _word(self, option: Schema, *, with_values: bool) -> str:
        if with_values and (values := _allowed(option)):
            return " or ".join(map(str, values))
        match option.get("type"):
            case str(kind) if kind in _WORDS:
                return _WORDS[kind]
            case "array":
                items = option.get("prefixItems", [option.get("items", {})])
                count = f"list of {len(items)}" if "prefixItems" in option else "list"
                return f"{count}: {self._words(self._options(items[0]), with_values=True)}"
            case "object" if "properties" in option:
                return "settings"
            case "object":
                of_keys: list[Schema] = [*option.get("patternProperties", {}).values()]
                of_keys.append(option.get("additionalProperties", {}))
                return f"for each name {self._words(self._options(of_keys[0]))}"
        return "any value"

    def _options(self, field: Schema) -> list[Schema]:
        """Return the schemas that a field allows, without null, with references resolved."""
        field = _resolved(field, self._root)
        if "anyOf" in field or "oneOf" in field:
            options = field.get("anyOf") or field["oneOf"]
            return [option for each in options for option in self._options(each) if option.get("type") != "null"]
        return [field]

    def _chosen(self, options: list[Schema]) -> list[_Choice]:
        """Return the members of unions that the options are; empty if an option is anything else."""
        titles = [str(option.get("title")) for option in options if "properties" in option]
        found = [self._choices[title] for title in titles if title in self._choices]
        return found if len(found) == len(options) else []

    def _plain_model(self, options: list[Schema]) -> Schema | None:
        """Return the only option if it is a model that belongs to no union."""
        is_plain = len(options) == 1 and "properties" in options[0] and not self._chosen(options)
        return options[0] if is_plain else None

    @staticmethod
    def _may_be_null(field: Schema) -> bool:
        return any(option.get("type") == "null" for option in field.get("anyOf", ()))


def _members(root: Schema) -> list[Schema]:
    """Return the models of a union. A union with one member has that member's schema."""
    return [_resolved(option, root) for option in root.get("oneOf", [root])]


def _tag_field(root: Schema, member: Schema) -> str:
    if "discriminator" in root:
        return str(root["discriminator"]["propertyName"])
    return next(name for name in ("type", "kind", "name") if _allowed(member["properties"].get(name, {})))


def _allowed(field: Schema) -> list[JsonValue] | None:
    return [field["const"]] if "const" in field else field.get("enum")


def _resolved(field: Schema, root: Schema) -> Schema:
    if "$ref" not in field:
        return field
    found: Schema = root["$defs"][field["$ref"].rsplit("/", 1)[-1]]
    return found


def _help(schema: Schema) -> str:
    """Return the docstring in a schema, without the line breaks of the source."""
    return " ".join(schema.get("description", "").split())
