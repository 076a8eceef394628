"""The budget of a study: how many trials, epochs and seconds the search may use."""

from fgd_core.spec.search import Budget
from fgd_core.spec.trials import BudgetRaised


class StudyBudget:
    """Says whether the budget is used up. It has no clock: the driver measures time and reports when it is up."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.is_out_of_time = False

    def increase(self, command: BudgetRaised) -> None:
        budget = self._budget
        self._budget = budget.model_copy(
            update={
                "trials": budget.trials + command.trials,
                "epochs": _sum(budget.epochs, command.epochs),
                "gpu_hours": _sum(budget.gpu_hours, command.gpu_hours),
                "wall_clock_s": _sum(budget.wall_clock_s, command.wall_clock_s),
            }
        )
        self.is_out_of_time = False

    def max_trials(self, scheduler_limit: int | None) -> int:
        return self._budget.trials if scheduler_limit is None else min(self._budget.trials, scheduler_limit)

    def is_spent(self, epochs_done: int) -> bool:
        """Return True if no time is left, or the search has trained all its epochs."""
        return self.is_out_of_time or self.has_no_epochs_after(epochs_done)

    def has_no_epochs_after(self, epochs_done: int) -> bool:
        return self._budget.epochs is not None and epochs_done >= self._budget.epochs

    @property
    def limits_s(self) -> tuple[float | None, float | None]:
        """(wall clock, GPU time) in seconds; None is unlimited."""
        hours = self._budget.gpu_hours
        return self._budget.wall_clock_s, hours * 3600 if hours is not None else None


def _sum(limit: float | None, more: float) -> float | None:
    return None if limit is None else limit + more
