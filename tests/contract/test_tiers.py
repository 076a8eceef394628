"""What `make test` leaves to `make test-all` is shown in kind by a test that it runs."""

import pytest

from tests.tiers import COLLECTED

Tests = dict[str, pytest.Mark | None]


@pytest.fixture
def collected(request: pytest.FixtureRequest) -> Tests:
    return request.config.stash[COLLECTED]


def test_each_slow_test_names_one_that_always_runs(collected: Tests) -> None:
    modules = {id_.partition("::")[0] for id_ in collected}
    always = [id_ for id_, mark in collected.items() if mark is None]
    for id_, mark in collected.items():
        # Of a part of all tests, only what it contains can be checked.
        if mark is not None and (kept := mark.args[0]).partition("::")[0] in modules:
            assert any(each.startswith(kept) for each in always), f"{id_} names {kept}, which is slow or does not exist"


def test_every_row_of_a_table_is_tested_always(collected: Tests) -> None:
    """Detectors, methods, kinds of jobs and the like have their tests in this folder."""
    assert not [id_ for id_, mark in collected.items() if mark is not None and id_.startswith("tests/contract/")]
