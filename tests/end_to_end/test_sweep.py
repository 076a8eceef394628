"""A sweep on a shared folder; `test_through_server` has the other scheduler, without a shared folder."""

import pytest
from killed_sweep import compare

from service.client.client import FgdClient
from tests.tiers import slow

pytestmark = pytest.mark.ray


@slow("tests/end_to_end/test_through_server.py::TestThroughServer::test_a_sweep_goes_on_after")
@pytest.mark.timeout(1500)
def test_a_sweep_makes_the_same_decisions_when_its_driver_is_killed(client: FgdClient, teacher: str) -> None:
    counts = compare(client, "population_based", teacher, kills=1, seed=20261122)
    print(f"\n{counts}")
    assert counts.attempts == counts.lost_runs + 1 == 2
