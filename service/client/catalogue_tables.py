"""The catalogue as tables: a list of all entries, and one entry with its settings."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fgd_core.spec.catalogue import Catalogue, Entry, Setting, SpaceEntry
from fgd_core.spec.dimensions import Choice, Dimension
from fgd_core.spec.recipes import Recipe

Found: TypeAlias = Entry | SpaceEntry | Recipe


def all_entries(catalogue: Catalogue) -> list[tuple[str, Found]]:
    """Return all entries, each with its section."""
    sections = type(catalogue).model_fields
    return [(section, entry) for section in sections for entry in getattr(catalogue, section)]


def entries_named(catalogue: Catalogue, name: str) -> list[tuple[str, Found]]:
    """Return the entries with this name, or all entries of the section with this name, each with its section."""
    return [(section, entry) for section, entry in all_entries(catalogue) if name in (section, entry.name)]


def names(catalogue: Catalogue) -> list[str]:
    """Return the names of all sections and entries."""
    return [*type(catalogue).model_fields, *(entry.name for _, entry in all_entries(catalogue))]


def overview(found: Sequence[tuple[str, Found]]) -> Table:
    """Return a table of names by section, each with a summary; names with the same settings share a row."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(style="bold", max_width=34, overflow="fold")
    table.add_column()
    for section, entries in groupby(found, key=lambda each: each[0]):
        heading = section
        for _, same in groupby((entry for _, entry in entries), key=_settings_of):
            group = list(same)
            table.add_row(heading, Text(", ".join(entry.name for entry in group)), Text(_summary(group[0])))
            heading = ""
    return table


def details(section: str, entry: Found, *, defaults: Mapping[str, Entry]) -> RenderableType:
    """Return one entry with all of its settings.

    Args:
        defaults: the entries of all sections by name, to show where a default differs from the entry's own defaults.
    """
    match entry:
        case Entry():
            written = f"{section}, written as {entry.chosen_by}: {entry.name}"
            table = _settings(entry.settings, defaults) if entry.settings else Text("no settings", style="dim")
            return Group(_title(entry.name, written), Text(entry.help), Text(), table)
        case SpaceEntry():
            rows = [f"{field}  {_interval(dimension)}" for field, dimension in entry.dimensions.items()]
            return Group(_title(entry.name, f"{section}, written as space: {entry.name}"), Text("\n".join(rows)))
        case Recipe():
            hint = f"fgd recipes show {entry.name}"
            return Group(
                _title(entry.name, section), Text(_summary(entry)), Text(f"the whole recipe: {hint}", style="dim")
            )


def _settings_of(entry: Found) -> str:
    """Return a key that is equal for entries that share a row."""
    has_own_row = not isinstance(entry, Entry) or not entry.settings
    return entry.name if has_own_row else entry.model_dump_json(exclude={"name"})


def _summary(entry: Found) -> str:
    match entry:
        case Entry():
            return re.split(r"[.:;] ", entry.help)[0].rstrip(".")
        case SpaceEntry():
            return ", ".join(entry.dimensions)
        case Recipe():
            published = entry.publication
            ap, of = (published.boxes, "AP") if published.boxes is not None else (published.masks, "mask AP")
            gain = f": {of} {ap.student:.1f} → {ap.distilled:.1f}" if ap is not None and ap.distilled else ""
            return f"{published.student}, taught by {published.teacher}{gain}"


def _title(name: str, what: str) -> Text:
    return Text.assemble((name, "bold"), "  ", (what, "dim"))


def _settings(settings: Sequence[Setting], defaults: Mapping[str, Entry]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("setting", overflow="fold", max_width=30)
    table.add_column("default", overflow="fold", max_width=14)
    table.add_column("possible values", overflow="fold")
    for setting in settings:
        default = Text("required", style="bold") if setting.required else Text(_default(setting, defaults))
        about: list[RenderableType] = [Text(_possible(setting), style="cyan")]
        if setting.help:
            about.append(Padding(Text(setting.help, style="dim"), (0, 0, 0, 2)))
        table.add_row(Text(setting.path, style="bold"), default, Group(*about))
    return table


def _default(setting: Setting, defaults: Mapping[str, Entry]) -> str:
    """Return a default in short form: the name of an entry, and the settings that differ from its own defaults."""
    value = setting.default
    if setting.section is None or not isinstance(value, dict):
        return _plain(value)
    name = next((word for word in map(str, value.values()) if word in map(str, setting.values or ())), "")
    own = {each.path: each.default for each in defaults[name].settings} if name in defaults else {}
    changed = [f"{field}: {_plain(given)}" for field, given in value.items() if field in own and given != own[field]]
    return ", ".join([name, *changed])


def _possible(setting: Setting) -> str:
    if setting.section is None and setting.values:
        null = " or null" if setting.type.endswith("or null") else ""
        return " | ".join(map(_plain, setting.values)) + null
    if setting.section is not None:
        return f"{setting.section}: {', '.join(map(_plain, setting.values or ()))}"
    limits = [
        f"{sign} {limit:.10g}"
        for sign, limit in (
            ("≥", setting.minimum),
            (">", setting.exclusive_minimum),
            ("≤", setting.maximum),
            ("<", setting.exclusive_maximum),
        )
        if limit is not None
    ]
    return ", ".join([setting.type, *limits])


def _interval(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return " | ".join(map(_plain, dimension.values))
    return f"{dimension.type} from {dimension.low:.3g} to {dimension.high:.3g}"


def _plain(value: JsonValue) -> str:
    """Return a value as YAML writes it, with long fractions rounded."""
    match value:
        case str():
            return value
        case float() if not value.is_integer() or abs(value) >= 1e6:
            return f"{value:.4g}"
        case list():
            return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(value)
