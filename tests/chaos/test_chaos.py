"""The short form of `make chaos`."""

import random

import pytest

from tests import postgres
from tests.chaos import table
from tests.chaos.blows import SHORT
from tests.chaos.experiment import Plan, run

pytestmark = pytest.mark.ray


@pytest.mark.skipif(postgres.why_unavailable() is not None, reason="there is no PostgreSQL for this platform")
@pytest.mark.timeout(600)
def test_every_job_ends_once_and_rightly_whatever_dies_on_the_way() -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"\nseed {seed}")
    outcome = run(Plan(num_jobs=6, epochs=(10, 30), blows=SHORT, seed=seed, pause_s=(1, 6), limit_s=480), print)
    print("\n".join(table.lines(outcome)))
    assert outcome.complaints == []
