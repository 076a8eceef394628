"""Values that are read a step late change nothing but the time at which they are read."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fgd_core.errors import NonFiniteLossError
from fgd_core.runs.training_run import TrainingRun
from fgd_core.spec.events import EpochFinished, MetricsLogged
from fgd_core.training.late_values import LateReader, LateValues
from fgd_core.training.machine import Machine, seed_everything
from tests.library import RecordingContext, train_spec


class Accelerator(Machine):
    """The CPU, with the order of an accelerator."""

    values_behind = 1


def step(number: int) -> LateValues:
    return LateValues(number, {"loss": torch.tensor(float(number))}, learning_rate=0.1, waited_s=0.0)


class TestReader:
    def test_keeps_the_newest_step(self) -> None:
        reader = LateReader(1)
        reader.add(step(1))
        assert [each.step for each in reader.due()] == []
        reader.add(step(2))
        assert [each.read() for each in reader.due()] == [{"loss": 1.0}]
        assert [each.step for each in reader.rest()] == [2]
        assert [*reader.rest()] == []

    def test_that_is_not_behind_gives_each_step_at_once(self) -> None:
        reader = LateReader(0)
        reader.add(step(1))
        assert [each.step for each in reader.due()] == [1]


def run(folder: Path, machine: type[Machine], **training: object) -> tuple[RecordingContext, dict[str, Tensor]]:
    spec, context = train_spec(training={"epochs": 2, "checkpoint_every_s": 0, **training}), RecordingContext(folder)
    seed_everything(0)
    training_run = TrainingRun(spec, context)
    training_run.machine = machine(torch.device("cpu"), None)
    detector = training_run.build(spec.detector, role="detector")
    training_run.fit(spec.detector, detector, None, None)
    return context, detector.state_dict()


class TestRun:
    def test_has_the_same_weights_values_and_means(self, tmp_path: Path) -> None:
        at_once, late = run(tmp_path / "0", Machine), run(tmp_path / "1", Accelerator)
        assert all(map(torch.equal, at_once[1].values(), late[1].values()))
        for read in (_columns, _means):
            assert read(at_once[0]) == read(late[0])

    def test_fails_with_the_step_whose_loss_is_not_finite(self, tmp_path: Path) -> None:
        optimizer = {"type": "sgd", "learning_rate": 1e30}
        steps = []
        for machine in (Machine, Accelerator):
            with pytest.raises(NonFiniteLossError) as caught:
                run(tmp_path / machine.__name__, machine, optimizer=optimizer, clip_norm=None, epochs=5)
            steps.append(caught.value.details["step"])
        assert steps[0] == steps[1]


def _columns(context: RecordingContext) -> dict[str, list[float | None]]:
    """Return the values of all steps by name."""
    columns: dict[str, list[float | None]] = {}
    for event in context.of(MetricsLogged):
        for name, values in [("step", [float(each) for each in event.steps]), *event.values.items()]:
            columns.setdefault(name, []).extend(values)
    return columns


def _means(context: RecordingContext) -> list[dict[str, float]]:
    return [dict(event.values) for event in context.of(EpochFinished)]
