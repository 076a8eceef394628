"""Decides which tests share a process, and in which order they begin."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.parallel import Group

REPOSITORY = Path(__file__).resolve().parent.parent

RAYS = {
    "tests/end_to_end/test_through_server.py::TestBucket": "bucket",
    "tests/end_to_end/test_through_server": "apart",
    "tests/end_to_end/test_traces": "apart",
    "tests/end_to_end/test_control.py::test_a_paused_run_resumes": "apart",
    "tests/end_to_end/test_whole.py::TestWhole::test_a_run_outlives": "apart",
    "tests/end_to_end/test_growing_cluster": "growing",
    "tests/end_to_end/": "whole",
    "tests/cluster/": "cluster",
    "tests/chaos/test_chaos": "chaos",
    "tests/chaos/test_ray_nodes": "nodes",
    "tests/client/test_demo": "demo",
}
"""Beginning of a test's id -> group whose tests share a process, because they share a Ray; the first that fits.

A module with the mark `ray` that is not named here is a group of its own."""
SLOW = (
    "tests/test_export.py",
    "tests/training/test_compiling.py",
    "tests/training/test_no_compiler.py",
    "tests/service/test_openapi_fuzz.py",
    "tests/workers/test_entry_point.py",
    "tests/workers/test_start_trace.py",
    "tests/methods/test_embedding.py",
)
"""Modules with tests of ten seconds and more."""
PAGES = "tests/web/"
"""Its modules open pages in a browser: they take up to two minutes each and mostly wait."""
ORDER = (
    *("whole", "apart", "chaos", "cluster", "bucket", "growing", "nodes", "demo", "ray"),
    *("slow", "page", "module", "test"),
)
"""The groups that take longest begin, so that none is left alone at the end. Those with a Ray mostly wait, but only one
runs at a time: on a slow machine two of them and their servers take most of two cores before they do anything."""


def groups(tests: Iterable[tuple[str, bool]]) -> list[Group]:
    """Return which tests share a process, in the order in which the groups begin.

    Args:
        tests: (id, whether it has the mark `ray`) of each test.
    """
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    rays = set()
    for index, (id_, has_mark) in enumerate(tests):
        key = _kind(id_, has_mark=has_mark), _group(id_, has_mark=has_mark)
        found[key].append(index)
        if has_mark:
            rays.add(key)
    return [Group(found[key], key in rays) for key in sorted(found, key=lambda key: ORDER.index(key[0]))]


def _kind(id_: str, *, has_mark: bool) -> str:
    """Return an element of `ORDER`."""
    if (ray := _ray(id_)) is not None:
        return ray
    if has_mark:
        return "ray"
    if _module(id_) in SLOW:
        return "slow"
    if id_.startswith(PAGES):
        return "page"
    return "module" if _shares_fixtures(_module(id_)) else "test"


def _group(id_: str, *, has_mark: bool) -> str:
    """A module whose tests share a fixture is given to one process: otherwise each process would make the fixture."""
    return _ray(id_) or (_module(id_) if has_mark or _shares_fixtures(_module(id_)) else id_)


def _ray(id_: str) -> str | None:
    return next((group for prefix, group in RAYS.items() if id_.startswith(prefix)), None)


def _module(id_: str) -> str:
    return id_.partition("::")[0]


@cache
def _shares_fixtures(module: str) -> bool:
    return 'scope="' in (REPOSITORY / module).read_text()
