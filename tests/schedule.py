"""Decides which tests share a process, and in which order they begin."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

RAYS = {
    "tests/end_to_end/test_through_server.py::TestBucket": "bucket",
    "tests/end_to_end/test_through_server": "apart",
    "tests/end_to_end/test_traces": "apart",
    "tests/end_to_end/test_growing_cluster": "growing",
    "tests/end_to_end/": "whole",
    "tests/cluster/": "cluster",
    "tests/chaos/test_chaos": "chaos",
    "tests/chaos/test_ray_nodes": "nodes",
    "tests/client/test_demo": "demo",
}
"""Beginning of a test's id -> group whose tests share a process, because they share a Ray; the first that fits."""
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
ORDER = ("whole", "apart", "cluster", "chaos", "slow", "growing", "bucket", "nodes", "demo", "module", "test")
"""The groups that take longest begin, so that none is left alone at the end. Most of them wait for a Ray, so that the
processes with short tests have the cores; but more than four Rays at once would slow each other down."""


def groups(ids: Iterable[str]) -> list[list[int]]:
    """Return the indices of tests that share a process, in the order in which the groups begin."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, id_ in enumerate(ids):
        found[_kind(id_), _group(id_)].append(index)
    return [found[key] for key in sorted(found, key=lambda key: ORDER.index(key[0]))]


def _kind(id_: str) -> str:
    """Return an element of `ORDER`."""
    if (ray := _ray(id_)) is not None:
        return ray
    if _module(id_) in SLOW:
        return "slow"
    return "module" if _shares_fixtures(_module(id_)) else "test"


def _group(id_: str) -> str:
    """A module whose tests share a fixture is given to one process: otherwise each process would make the fixture."""
    return _ray(id_) or (_module(id_) if _shares_fixtures(_module(id_)) else id_)


def _ray(id_: str) -> str | None:
    return next((group for prefix, group in RAYS.items() if id_.startswith(prefix)), None)


def _module(id_: str) -> str:
    return id_.partition("::")[0]


@cache
def _shares_fixtures(module: str) -> bool:
    return 'scope="' in (REPOSITORY / module).read_text()
