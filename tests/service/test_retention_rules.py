from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fgd_core.errors import ConflictError
from service.jobs.retention import (
    EndedJob,
    Policy,
    StillHeldError,
    StoredFile,
    artifact_name,
    check_deletable,
    due_files,
    is_row_due,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
JOB = EndedJob(job_id="a", state="succeeded", ended_at=NOW - timedelta(days=100), is_needed=False, is_released=True)
POLICY = Policy()
PATHS = (
    "attempts/1/checkpoints/best.pt",
    "attempts/1/checkpoints/last.pt",
    "attempts/1/checkpoints/previous.pt",
    "logs/attempt-1.log",
    "outbox/attempt-1-run.jsonl",
    "samples/1.png",
    "attempts/1/checkpoints/.last.pt.7.partial",
)


def files(age_days: float = 100) -> list[StoredFile]:
    return [StoredFile(path, 1, NOW - timedelta(days=age_days)) for path in PATHS]


def due(job: EndedJob = JOB, policy: Policy = POLICY, *, is_stored: bool = True, age_days: float = 100) -> set[str]:
    return {item.file.path for item in due_files(policy, job, files(age_days), is_stored=lambda _: is_stored, now=NOW)}


def test_after_100_days_a_success_keeps_best_checkpoint_log_and_unknown_files() -> None:
    assert due() == set(PATHS) - {"attempts/1/checkpoints/best.pt", "logs/attempt-1.log", "samples/1.png"}


def test_a_failure_keeps_its_last_checkpoint() -> None:
    assert not {path for path in due(replace(JOB, state="failed")) if path.endswith(".pt")}


@pytest.mark.parametrize("change", [{"is_needed": True}, {"is_released": False}])
def test_a_job_that_is_needed_or_held_keeps_everything(change: dict[str, bool]) -> None:
    job = replace(JOB, **change)  # type: ignore[arg-type]
    assert due(job) == set()
    assert not is_row_due(job, 1.0, NOW)


def test_an_outbox_with_undelivered_events_stays() -> None:
    assert "outbox/attempt-1-run.jsonl" not in due(is_stored=False)


def test_a_partial_file_stays_for_a_day() -> None:
    assert "attempts/1/checkpoints/.last.pt.7.partial" not in due(age_days=0.5)


def test_the_age_of_the_job_counts_and_not_that_of_its_files() -> None:
    ended_lately = replace(JOB, ended_at=NOW - timedelta(days=6))
    assert due(ended_lately, age_days=1000) == {"attempts/1/checkpoints/.last.pt.7.partial"}


def test_a_rule_set_to_never_removes_nothing() -> None:
    forever = Policy(succeeded_checkpoints_days=None, outboxes_days=None)
    assert due(replace(JOB, ended_at=NOW - timedelta(days=10_000)), forever) == {
        "logs/attempt-1.log",
        "attempts/1/checkpoints/.last.pt.7.partial",
    }


def test_of_a_chain_that_succeeded_only_its_own_best_checkpoint_stays() -> None:
    paths = [f"attempts/1/{within}checkpoints/best.pt" for within in ("", "stages/1/", "stages/control/")]
    found = [StoredFile(path, 1, NOW - timedelta(days=100)) for path in paths]
    removed = {item.file.path for item in due_files(POLICY, JOB, found, is_stored=lambda _: True, now=NOW)}
    assert removed == set(paths[1:])
    assert [artifact_name(path) for path in paths] == ["best.pt", "stages/1/best.pt", "stages/control/best.pt"]


@pytest.mark.parametrize(
    ("found", "error", "cure"),
    [
        ({"state": "running"}, ConflictError, "cancel it first"),
        ({"needed_by": ["b"]}, ConflictError, "needed by b"),
        ({"aliases": ["signs@production"]}, ConflictError, "signs@production names.*--force"),
        ({"is_released": False}, StillHeldError, "in a moment"),
    ],
)
def test_a_refused_deletion_says_why(found: dict[str, Any], error: type[Exception], cure: str) -> None:
    deletable: dict[str, Any] = {"state": "succeeded", "needed_by": [], "aliases": [], "is_released": True}
    check_deletable("a", **deletable)
    with pytest.raises(error, match=cure):
        check_deletable("a", **(deletable | found))
