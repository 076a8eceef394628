"""A sweep does not end before its best values were trained to the end."""

from typing import Any

from fgd_core.spec.events import DeviceReady
from fgd_core.spec.trials import TrialEnded, TrialStarted
from tests.tuning.function_trials import Memory, run, sweep
from tests.tuning.test_schedulers import of, value


def repeats(memory: Memory) -> list[tuple[int | None, int]]:
    return [(event.repeats, event.seed) for event in of(memory, TrialStarted) if event.repeats is not None]


def searched(memory: Memory, **settings: Any) -> None:
    shared: dict[str, Any] = {
        "scheduler": {"type": "none"},
        "searcher": {"type": "random"},
        "baselines": False,
        "seed": 1,
    }
    run(sweep(epochs=9, **shared | settings), value, memory)


def test_values_that_the_budget_cut_off_are_trained_to_the_end_with_a_fresh_seed(memory: Memory) -> None:
    searched(memory, budget={"trials": 9, "epochs": 5})
    first, check = of(memory, TrialEnded)
    assert (first.cause, first.epoch) == ("stopped", 5)
    assert (check.cause, check.epoch) == ("completed", 9)
    assert repeats(memory) == [(0, 2)]


def test_a_search_with_a_complete_trial_needs_no_check(memory: Memory) -> None:
    searched(memory, budget={"trials": 9, "epochs": 14})
    assert repeats(memory) == []


def test_with_seeds_the_baselines_are_repeated_and_the_best_values_checked(memory: Memory) -> None:
    searched(memory, budget={"trials": 9, "epochs": 5}, baselines=True, seeds=3)
    assert repeats(memory) == [(0, 2), (1, 2), (2, 2), (0, 3), (1, 3), (2, 3)]


def test_the_end_of_a_trial_names_its_machine(memory: Memory) -> None:
    ready = DeviceReady(device="NVIDIA H200", threads=1, precision="float32", versions={})
    run(sweep(searcher={"type": "random"}, budget={"trials": 1}, baselines=False), value, memory, events=[ready])
    assert [event.machine for event in of(memory, TrialEnded)] == ["NVIDIA H200"]
