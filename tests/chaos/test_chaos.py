"""The short form of `make chaos`."""

import random

import pytest

from tests import postgres
from tests.chaos import results
from tests.chaos.experiment import Plan, run
from tests.chaos.faults import SHORT

pytestmark = pytest.mark.ray


@pytest.mark.skipif(postgres.why_unavailable() is not None, reason="PostgreSQL is not available for this platform")
@pytest.mark.timeout(1500)
def test_every_job_ends_once_in_the_right_state_despite_faults() -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"\nseed {seed}")
    outcome = run(Plan(num_jobs=6, epochs=(5, 15), faults=SHORT, seed=seed, pause_s=(1, 6), limit_s=1200), print)
    print("\n".join(results.lines(outcome)))
    assert outcome.violations == []
