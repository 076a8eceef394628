"""The figures of an experiment."""

from collections import Counter
from statistics import median

from tests.chaos.blows import Blow
from tests.chaos.experiment import Outcome
from tests.chaos.verdict import Story

_PROGRESS = ("progress", "epoch_finished", "run_finished")


def lines(outcome: Outcome) -> list[str]:
    """As text, a fact a line."""
    attempts = [attempt for story in outcome.stories for attempt in story.job.attempts]
    by_state = Counter(str(story.job.state) for story in outcome.stories)
    by_cause = Counter(str(attempt.cause) for attempt in attempts)
    moves = [e.data for story in outcome.stories for e in story.events if e.kind == "state_changed"]
    resumed = sum(event.kind == "resumed" for story in outcome.stories for event in story.events)
    rows = [
        ("jobs", f"{len(outcome.stories)}: {_counts(by_state)}"),
        ("attempts", f"{len(attempts)}: {_counts(by_cause)}"),
        ("retries after a loss", str(sum(m["from_state"] == "lost" and m["to_state"] == "queued" for m in moves))),
        ("resumed from a checkpoint", str(resumed)),
        ("runs that outlived a blow to the server", str(len(_adopted(outcome)))),
        ("events", str(sum(len(story.events) for story in outcome.stories))),
    ]
    for kind, count in sorted(Counter(blow.kind for blow in outcome.blows).items()):
        took = [s for blow in outcome.blows if blow.kind == kind for s in _recovery_s(blow, outcome)]
        figures = f"median {median(took):.1f} s, at most {max(took):.1f} s" if took else "nothing to recover"
        rows.append((f"{kind} struck", f"{count} times; to the next progress {figures}"))
    rows.append(("wall time", f"{outcome.wall_s:.0f} s"))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def _adopted(outcome: Outcome) -> set[str]:
    """Attempts that a control plane or the database died over, and that went on to their end."""
    struck = {
        attempt_id
        for blow in outcome.blows
        if blow.kind in ("control plane", "database")
        for attempt_id in blow.under_way
    }
    whole = {a.attempt_id for story in outcome.stories for a in story.job.attempts if a.cause != "lost"}
    return struck & whole


def _recovery_s(blow: Blow, outcome: Outcome) -> list[float]:
    """From the blow to the next progress: of each job whose run it killed, else of any job as a user sees it."""
    if not blow.hit:
        moved = next((at for at in outcome.moved_at if at > blow.at), None)
        return [] if moved is None else [moved - blow.at]
    took = []
    for story in outcome.stories:
        for attempt in story.job.attempts:
            if attempt.attempt_id in blow.hit:
                took += _next_progress(story, attempt.number, blow.at)[:1]
    return took


def _next_progress(story: Story, attempt: int, at: float) -> list[float]:
    return [
        event.at.timestamp() - at
        for event in story.events
        if event.kind in _PROGRESS and (event.attempt or 0) > attempt
    ]
