"""Edits a spec in YAML by the paths of its fields, and keeps its comments and its layout.

Each edit changes as little of the text as possible. The result is then read again: if it does not hold exactly what was
wanted, the whole spec is written anew, without comments. So an edit may cost comments, but never a value.
"""

import copy
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import yaml
from pydantic import JsonValue

from service.api.yaml_documents import Loader

Steps: TypeAlias = list[str]


class _Place(NamedTuple):
    """A field of a mapping in the text."""

    mapping: yaml.MappingNode
    at: int
    """Index of the field in the mapping."""

    @property
    def key(self) -> yaml.Node:
        return self.mapping.value[self.at][0]  # type: ignore[no-any-return]

    @property
    def value(self) -> yaml.Node:
        return self.mapping.value[self.at][1]  # type: ignore[no-any-return]


def load(text: str) -> JsonValue:
    """Return the value of a YAML document. Raises yaml.YAMLError."""
    value: JsonValue = Loader(text).get_single_data()
    return value


def lines(text: str) -> dict[str, int]:
    """Return the line of each field, counted from 1, by its path. Raises yaml.YAMLError."""
    root = yaml.compose(text, Loader=Loader)
    return dict(_lines(root, "")) if root is not None else {}


def edited(text: str, changes: Mapping[str, JsonValue], removed: Sequence[str] = ()) -> str:
    """Return the text with some fields removed and then others set.

    Args:
        text: YAML of a mapping, or nothing.
        changes: values by path, such as `training.epochs`. Missing mappings around a field are created.
    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    wanted = load(text)
    wanted = copy.deepcopy(wanted) if isinstance(wanted, dict) else {}
    for path in removed:
        if _drop(wanted, path.split(".")):
            text = _checked(_without(text, path.split(".")), wanted)
    for path, value in changes.items():
        steps = path.split(".")
        _put(wanted, steps, value)
        text = _checked(_with(text, *_whole_list(wanted, steps, value)), wanted)
    return text


def written(value: JsonValue) -> str:
    """Write a value as YAML: mappings in lines of their own, lists of plain values in one line."""
    dumped = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return dumped.removesuffix("...\n").rstrip("\n")


def _checked(text: str, wanted: JsonValue) -> str:
    try:
        is_right = load(text) == wanted
    except yaml.YAMLError:
        is_right = False
    return text if is_right else written(wanted) + "\n"


class _Dumper(yaml.SafeDumper):
    """Writes lists of plain values in one line."""

    def represent_sequence(
        self, tag: str, sequence: Iterable[object], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        is_plain = not any(isinstance(item, dict | list) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=is_plain)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        # Items of a list are indented, as in the examples.
        super().increase_indent(flow, False)


def _lines(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            field = f"{path}.{key.value}" if path else str(key.value)
            yield field, key.start_mark.line + 1
            yield from _lines(value, field)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{path}.{index}", value.start_mark.line + 1
            yield from _lines(value, f"{path}.{index}")


def _find(text: str, steps: Steps) -> tuple[list[_Place], yaml.Node | None, Steps]:
    """Follow a path as far as it exists: (its places, the node at the end of the last one, the steps left)."""
    node, places, left = yaml.compose(text, Loader=Loader), [], list(steps)
    while left:
        if isinstance(node, yaml.SequenceNode) and left[0].isdigit() and int(left[0]) < len(node.value):
            node, left = node.value[int(left[0])], left[1:]
            continue
        found = _named(node, left) if isinstance(node, yaml.MappingNode) else None
        if found is None:
            break
        place, num_steps = found
        places.append(place)
        node, left = place.value, left[num_steps:]
    return places, node, left


def _named(mapping: yaml.MappingNode, steps: Steps) -> tuple[_Place, int] | None:
    """Find a field by the first steps. A key may hold dots: those of a sweep's space are paths themselves."""
    keys = [key.value for key, _ in mapping.value]
    for number in range(1, len(steps) + 1):
        name = ".".join(steps[:number])
        if name in keys:
            return _Place(mapping, keys.index(name)), number
    return None


def _with(text: str, steps: Steps, value: JsonValue) -> str:
    places, node, left = _find(text, steps)
    for name in reversed(left):
        value = {name: value}
    if left and isinstance(node, yaml.MappingNode) and node.value and isinstance(value, dict):
        return _inserted(text, node, value)
    if places:
        return _replaced(text, places[-1], value)
    separator = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{separator}{written(value)}\n"


def _inserted(text: str, mapping: yaml.MappingNode, value: dict[str, JsonValue]) -> str:
    """Add a field behind the last one of a mapping."""
    end = _end(text, mapping)
    if mapping.flow_style:
        close = text.rindex("}", 0, mapping.end_mark.index)
        return f"{text[:close].rstrip()}, {_in_line(value)[1:-1]}{text[close:]}"
    line_end = text.find("\n", end)
    end = len(text) if line_end < 0 else line_end
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:end]}\n{textwrap.indent(written(value), indent)}{text[end:]}"


def _replaced(text: str, place: _Place, value: JsonValue) -> str:
    """Write another value behind a key."""
    node, end = place.value, _end(text, place.value)
    if place.mapping.flow_style or not isinstance(value, dict | list) or not value:
        new = _in_line(value)
    else:
        new = written(value)
        is_block = "\n" in new or isinstance(value, dict)
        new = "\n" + textwrap.indent(new, " " * (place.mapping.value[0][0].start_mark.column + 2)) if is_block else new
    start = node.start_mark.index
    if new.startswith("\n") or text[place.key.end_mark.index : start].count("\n"):
        start = text.index(":", place.key.end_mark.index) + 1
    gap = "" if new.startswith("\n") or text[start - 1 : start].isspace() else " "
    return f"{text[:start].rstrip(' ') if new.startswith(chr(10)) else text[:start]}{gap}{new}{text[end:]}"


def _without(text: str, steps: Steps) -> str:
    places, _, left = _find(text, steps)
    if left or not places:
        return text
    # A mapping that only holds this field goes with it.
    while len(places) > 1 and len(places[-1].mapping.value) == 1 and places[-2].value is places[-1].mapping:
        places.pop()
    place = places[-1]
    fields, index = place.mapping.value, place.at
    start, end = place.key.start_mark.index, _end(text, place.value)
    line_start = text.rfind("\n", 0, start) + 1
    if not place.mapping.flow_style and not text[line_start:start].strip():
        line_end = text.find("\n", end)
        return text[:line_start] + (text[line_end + 1 :] if line_end >= 0 else "")
    if index + 1 < len(fields):
        return text[:start] + text[fields[index + 1][0].start_mark.index :]
    return text[: _end(text, fields[index - 1][1]) if index else start] + text[end:]


def _end(text: str, node: yaml.Node) -> int:
    """Return the index behind the last character of a node; the parser's own mark lies behind following comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(node, yaml.MappingNode) else last)
    start = int(node.start_mark.index)
    return start + len(text[start : node.end_mark.index].rstrip())


def _in_line(value: JsonValue) -> str:
    dumped: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return dumped.removesuffix("...\n").strip()


def _drop(value: JsonValue, steps: Steps) -> bool:
    """Remove a field, and the mappings around it that become empty; returns whether there was one."""
    name, rest = _step(value, steps)
    if isinstance(value, list):
        # An item is removed with its list: the paths of the items behind it would change.
        return bool(rest) and name.isdigit() and int(name) < len(value) and _drop(value[int(name)], rest)
    if not isinstance(value, dict) or name not in value or (rest and not _drop(value[name], rest)):
        return False
    if not rest or value[name] == {}:
        del value[name]
    return True


def _put(value: JsonValue, steps: Steps, new: JsonValue) -> None:
    name, rest = _step(value, steps)
    if isinstance(value, list) and name.isdigit() and int(name) < len(value):
        if rest:
            _put(value[int(name)], rest, new)
        else:
            value[int(name)] = new
        return
    assert isinstance(value, dict), "only mappings and lists have fields"
    if not rest:
        value[name] = new
        return
    inner = value.get(name)
    if not isinstance(inner, dict | list) or (isinstance(inner, list) and not rest[0].isdigit()):
        value[name] = inner = {}
    _put(inner, rest, new)


def _whole_list(wanted: JsonValue, steps: Steps, value: JsonValue) -> tuple[Steps, JsonValue]:
    """Return the path and value of the list, if the path is that of an item: an item has no key to be replaced at."""
    around, rest = wanted, steps
    while len(rest) > 1:
        if isinstance(around, list):
            around, rest = around[int(rest[0])], rest[1:]
        else:
            assert isinstance(around, dict), "the value was put at this path"
            name, rest = _step(around, rest)
            around = around[name]
    return (steps[:-1], around) if isinstance(around, list) and rest else (steps, value)


def _step(value: JsonValue, steps: Steps) -> tuple[str, Steps]:
    """Return the next key of a path, which may hold dots, and the steps behind it."""
    for number in range(1, len(steps) + 1):
        name = ".".join(steps[:number])
        if isinstance(value, dict) and name in value:
            return name, steps[number:]
    return steps[0], steps[1:]
