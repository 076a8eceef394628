"""Modules that are loaded by a string: all are listed, all exist, and all keep the import contracts."""

import ast
import importlib.util
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest

from tests.contract.imports_by_name import BY_NAME, BY_NAME_WITH_SERVICE, PROCESSES

ALL_BY_NAME = (*BY_NAME.items(), *BY_NAME_WITH_SERVICE.items())

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = ("fgd_core", "workers", "service", "migrations")
_ENTRY = re.compile(r"(?<!\S)-m ([a-z_.]+)(?!\S)")


def modules() -> dict[str, Path]:
    found = {}
    for path in (path for root in ROOTS for path in (REPOSITORY / root).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def started(path: Path) -> Iterator[str]:
    """Yield the modules after "-m" in a command or an f-string."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Tuple | ast.List):
            values = [each.value if isinstance(each, ast.Constant) else None for each in node.elts]
            yield from (str(after) for flag, after in itertools.pairwise(values) if flag == "-m")
        if isinstance(node, ast.JoinedStr):
            for each in node.values:
                yield from _ENTRY.findall(str(each.value)) if isinstance(each, ast.Constant) else ()


def named(module: str, path: Path) -> set[str]:
    """Return our modules that occur as strings; "module:attribute" counts as the module."""
    names = {text.partition(":")[0] for text in strings(path)}
    tops = {name for name in names if "." not in name}
    return {name for name in names - tops if name in MODULES and name != module} - set(started(path))


def loads_by_name(path: Path) -> bool:
    loaders = {"import_module", "__import__", "resolve_name", "run_module", "run_path", "load_object", "EntryPoint"}
    return any(
        isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in loaders
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_each_string_that_names_one_of_our_modules_is_listed() -> None:
    found = {module: names for module, path in MODULES.items() if (names := named(module, path))}
    listed: dict[str, set[str]] = {}
    for module, names in ALL_BY_NAME:
        listed.setdefault(module, set()).update(names - {"migrations"})
    assert found == {module: names for module, names in listed.items() if names}


def test_each_module_that_loads_by_name_is_listed() -> None:
    """Finds loads whose module name is built from parts, which the search for strings misses."""
    assert {module for module, path in MODULES.items() if loads_by_name(path)} <= set(dict(ALL_BY_NAME))


def test_each_process_that_is_started_as_a_module_is_listed() -> None:
    found = {module: names for module, path in MODULES.items() if (names := set(started(path)))}
    assert found == {module: set(names) for module, names in PROCESSES.items()}


@pytest.mark.parametrize("name", sorted(set().union(*(names for _, names in (*ALL_BY_NAME, *PROCESSES.items())))))
def test_each_listed_module_exists(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


def test_every_load_by_name_keeps_the_import_contracts() -> None:
    """Checks import-linter's contracts on the graph of imports with the loads by name added."""
    graph = grimp.build_graph(*ROOTS, include_external_packages=True)
    for importer, names in BY_NAME.items():
        for name in names:
            graph.add_import(importer=importer, imported=name)
    settings: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    chains = []
    for contract in settings["contracts"]:
        if contract["type"] != "forbidden":
            continue
        for source in contract["source_modules"]:
            for target in contract["forbidden_modules"]:
                if target in graph.modules:
                    found = graph.find_shortest_chains(importer=source, imported=target, as_packages=True)
                    chains += [(contract["name"], chain) for chain in found]
    assert chains == []
