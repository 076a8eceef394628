"""Chains: the events of a job whose student learns from several teachers in turn, and the names of its files.

All stages share one axis: epochs and steps count on from stage to stage, and from the last stage to the control. So an
event of a stage is an event like any other, and `StageStarted` says which epochs and steps are whose.
"""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact
from fgd_core.spec.results import RunResult

CONTROL = "control"
"""The name of the control among the stages."""
STAGES = "stages"
"""The folder of the stages inside the folder of a chain's run; each stage has a folder with its name there."""
CHAIN_RECORD = "chain.json"
"""What a resumed chain needs to know, in its folder of checkpoints."""

TeacherOrder: TypeAlias = Literal["given", "adaptation_cost"]


def stage_folder(stage: str) -> str:
    """Return the folder of a stage within the folder of the run; names of the stage's artifacts begin with it."""
    return f"{STAGES}/{stage}"


class TeachersOrdered(Fact):
    """The run has checked all teachers of a chain and knows their order; the first stage follows.

    Lists have one entry for each teacher, in the order of the spec.
    """

    kind: Literal["teachers_ordered"] = "teachers_ordered"
    by: TeacherOrder
    order: list[int]
    """Positions in the spec, from 0, in the order of training."""
    teachers: list[str]
    """The checkpoints."""
    aps: list[float | None] = []
    """AP on the validation split, over the classes that teacher and data share; None if it was not measured."""
    costs_from_student: list[float | None] = []
    """Adaptation cost from the student, before its training, to each teacher; empty if no cost was measured, and None
    if the two have no common level."""
    costs: list[list[float | None]] = []
    """`costs[i][j]` is the adaptation cost from teacher i to teacher j; None where i is j."""

    def sentence(self) -> str:
        """Return the order in one line."""
        names = " → ".join(self.teachers[index] for index in self.order)
        if self.by == "given":
            return f"teachers as given: {names}"
        steps = [
            f"{cost:.3f}" if (cost := self.costs[before][after]) is not None else "no common level"
            for before, after in zip(self.order, self.order[1:], strict=False)
        ]
        return f"teachers by adaptation cost: {names} (costs {', '.join(steps)})"


class StageStarted(Fact):
    """A stage of a chain starts, from the beginning or from its checkpoint."""

    kind: Literal["stage_started"] = "stage_started"
    stage: str
    """`1`, `2`, … in the order of training, or `control`."""
    num_stages: int
    """Number of stages without the control."""
    teacher: str
    """The teacher's checkpoint."""
    method: str
    epochs: int
    """Number of epochs of this stage."""
    first_epoch: int
    """Number of epochs of the chain before this stage."""
    first_step: int
    """Number of steps of the chain before this stage."""

    @property
    def is_control(self) -> bool:
        """Whether it is the control: the last teacher alone, for as many epochs as the chain."""
        return self.stage == CONTROL

    def label(self) -> str:
        """Return `stage 2/3`, or `control`."""
        return CONTROL if self.is_control else f"stage {self.stage}/{self.num_stages}"


class StageFinished(Fact):
    """A stage of a chain is done; a resumed chain does not run it again."""

    kind: Literal["stage_finished"] = "stage_finished"
    stage: str
    result: RunResult
    """The scores of the stage's best student; `best_epoch` counts from the beginning of the chain."""
