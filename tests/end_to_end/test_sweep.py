import pytest
from killed_sweep import SCHEDULERS, compare

from service.client.client import FgdClient

pytestmark = pytest.mark.ray


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_sweep_makes_the_same_decisions_when_its_driver_is_killed(client: FgdClient, scheduler: str) -> None:
    counts = compare(client, scheduler, kills=1, seed=20261122)
    print(f"\n{counts}")
    assert counts.attempts == counts.lost_runs + 1 == 2
