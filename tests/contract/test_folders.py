"""No folder imports, directly or through others, a folder that imports it; names of test modules are unique."""

from collections import Counter
from collections.abc import Container, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = ("service",)


def folder_of(module: str, packages: Container[str]) -> str:
    return module if module in packages else module.rpartition(".")[0]


def imported_folders(root: str) -> Mapping[str, set[str]]:
    """Folder -> folders that its own files import; a package's `__init__.py` is a file of the package's folder."""
    graph = grimp.build_graph(root)
    packages = {
        module for module in graph.modules if (REPOSITORY.joinpath(*module.split(".")) / "__init__.py").exists()
    }
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        folder = folder_of(module, packages)
        imported = {folder_of(each, packages) for each in graph.find_modules_directly_imported_by(module)}
        found.setdefault(folder, set()).update(imported - {folder})
    return found


@pytest.mark.parametrize("root", ROOTS)
def test_folders_import_each_other_in_one_direction(root: str) -> None:
    try:
        order = list(TopologicalSorter(imported_folders(root)).static_order())
    except CycleError as cycle:
        pytest.fail(f"folders import each other: {' > '.join(cycle.args[1])}")
    assert root in order


def test_no_two_test_modules_have_the_same_name() -> None:
    """Pytest imports the modules of a folder without `__init__.py` by their file name, and refuses a second one."""
    modules = REPOSITORY.joinpath("tests").rglob("test_*.py")
    names = Counter(path.name for path in modules if not (path.parent / "__init__.py").exists())
    assert [name for name, count in names.items() if count > 1] == []
