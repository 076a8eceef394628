"""What people expect of a trainer: accumulation, averages of weights, parameter groups, float16, bad steps."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fgd_core.data import open_dataset
from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, read_checkpoint
from fgd_core.errors import NonFiniteLossError
from fgd_core.methods.base import Moment, Outputs
from fgd_core.ranks import rank
from fgd_core.runs import execute
from fgd_core.runs.rank_context import RankContext
from fgd_core.runs.training_run import TrainingRun
from fgd_core.spec.detectors import FasterRcnn, RetinaNet
from fgd_core.spec.events import (
    CheckpointSaved,
    EpochFinished,
    Evaluated,
    MeanEvaluated,
    Progress,
    RunEvent,
    ScaleChosen,
    Warned,
)
from fgd_core.spec.resources import Resources
from fgd_core.spec.training import Ema, Sgd, StepSchedule, TrainingSpec
from fgd_core.training.averaging import Average, Averages, ema_decay
from fgd_core.training.distiller import Distillation
from fgd_core.training.machine import default_loader_workers
from fgd_core.training.optimizers import build_optimizer, learning_rate, parameter_groups
from fgd_core.training.step import Learner, checked, training_step
from fgd_core.training.window import StepWindow
from tests.library import TINY_DETECTOR, RecordingContext, train_spec
from tests.ranks.processes import on_ranks

SPEC = train_spec()
NUM_CLASSES = len(open_dataset(SPEC.data, "train").categories)


def batch() -> Batch:
    loader = TrainLoader(open_dataset(SPEC.data, "train"), SPEC.input, batch_size=4, seed=0, workers=0)
    return next(loader.epoch(0)).to("cpu")


def detector(norm: str = "batch") -> Detector:
    settings = {**TINY_DETECTOR, "backbone": {**TINY_DETECTOR["backbone"], "norm": norm}}
    torch.manual_seed(0)
    return build_detector(RetinaNet.model_validate(settings), NUM_CLASSES).train()


def step(network: Detector, **options: Any) -> dict[str, Tensor]:
    """Train one step with a learning rate of 1, so that weights change by their gradient."""
    settings = TrainingSpec(optimizer=Sgd(learning_rate=1, momentum=0, weight_decay=0))
    optimizer = build_optimizer(settings.optimizer, parameter_groups(settings, network))
    common = {"clip_norm": None, "autocast_dtype": None, "moment": Moment()}
    return training_step(Learner(network), optimizer, batch(), **(common | options))


class TestAccumulation:
    def test_has_the_gradient_of_the_whole_batch_where_losses_are_means_over_images(self) -> None:
        # Statistics of batch normalisation are those of a part.
        whole, parts = detector(norm="group"), detector(norm="group")
        of_whole, of_parts = step(whole), step(parts, accumulate=4)
        assert of_parts.keys() == of_whole.keys()
        for name, value in of_whole.items():
            torch.testing.assert_close(of_parts[name], value, rtol=1e-5, atol=1e-6)
        for (name, one), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)

    def test_needs_equal_parts(self) -> None:
        with pytest.raises(ValidationError, match="a batch of 6 images has no 4 equal parts"):
            TrainingSpec(batch_size=6, accumulate=4)


class TestParameterGroups:
    def groups(self, **fields: Any) -> dict[str, tuple[float, bool]]:
        """Return the rate of each parameter, and whether it decays."""
        network = build_detector(FasterRcnn.model_validate({**TINY_DETECTOR, "type": "faster_rcnn"}), NUM_CLASSES)
        adapter = nn.Conv2d(1, 1, 1)
        names = {id(each): name for name, each in network.named_parameters()}
        names |= {id(each): f"distiller.{name}" for name, each in adapter.named_parameters()}
        groups = parameter_groups(TrainingSpec(**fields), network, adapter)
        found = {names[id(each)]: (group.rate, group.decays) for group in groups for each in group.parameters}
        assert len(found) == sum(len(group.parameters) for group in groups)
        trained = [name for name, each in network.named_parameters() if each.requires_grad]
        assert found.keys() == {*trained, "distiller.weight", "distiller.bias"}
        return found

    def test_are_one_group_in_the_order_of_the_modules_by_default(self) -> None:
        network = detector()
        (group,) = parameter_groups(TrainingSpec(), network)
        expected = [each for each in network.parameters() if each.requires_grad]
        assert [*map(id, group.parameters)] == [*map(id, expected)]

    def test_the_rate_of_the_backbone_is_its_own(self) -> None:
        found = self.groups(backbone_rate=0.1)
        assert {name for name, (rate, _) in found.items() if rate == 0.1} == {
            name for name in found if name.startswith("backbone.body")
        }
        assert found["backbone.fpn.layer_blocks.0.0.weight"] == (1.0, True)

    def test_norms_and_biases_can_be_spared_apart(self) -> None:
        norms, biases = self.groups(no_decay_on=["norms"]), self.groups(no_decay_on=["biases"])
        spared = {name for name, (_, decays) in norms.items() if not decays}
        assert spared and all(".bn" in name or "norm" in name or ".1." in name for name in spared)
        assert {name for name, (_, decays) in biases.items() if not decays} == {
            name for name in biases if name.endswith("bias")
        } - spared

    def test_each_group_has_its_own_decay_in_the_optimiser(self) -> None:
        settings = TrainingSpec(no_decay_on=("biases",))
        optimizer = build_optimizer(settings.optimizer, parameter_groups(settings, detector()))
        assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, 1e-4]


class TestSchedulesAndRates:
    @pytest.mark.parametrize(
        ("name", "epochs", "drops"), [("1x", 12, (8, 11)), ("2x", 24, (16, 22)), ("3x", 36, (27, 33))]
    )
    def test_a_published_schedule_sets_epochs_and_milestones(
        self, name: str, epochs: int, drops: tuple[int, int]
    ) -> None:
        settings = TrainingSpec.model_validate({"schedule": {"type": name}, "warmup_steps": 0})
        assert settings.epochs == epochs and isinstance(settings.schedule, StepSchedule)
        rates = [learning_rate(settings, epoch * 10, epochs * 10) for epoch in range(epochs)]
        falls = [epoch for epoch in range(1, epochs) if rates[epoch] < rates[epoch - 1]]
        assert falls == [*drops]
        assert TrainingSpec.model_validate(settings.model_dump(mode="json")) == settings

    def test_other_epochs_than_those_of_the_schedule_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="schedule 2x has 24 epochs, but epochs is 12; leave out epochs"):
            TrainingSpec.model_validate({"schedule": {"type": "2x"}, "epochs": 12})

    def test_the_rate_follows_the_batch_size_on_request(self) -> None:
        settings = TrainingSpec(batch_size=4, learning_rate_for=16, warmup_steps=0)
        assert learning_rate(settings, 0, 100) == pytest.approx(0.0025)


class TestAMovingAverage:
    def test_follows_weights_and_running_statistics(self) -> None:
        network = detector()
        average = Average(network, Ema(decay=0.5, warmup_steps=0))
        weight, mean = "head.classification_head.cls_logits.bias", "backbone.body.bn1.running_mean"
        for value in (1.0, 2.0, 4.0):
            with torch.no_grad():
                network.get_parameter(weight).fill_(value)
                network.get_buffer(mean).fill_(10 * value)
            average.add(network)
        assert average.detector.get_parameter(weight).unique().tolist() == [2.75]
        assert average.detector.get_buffer(mean).unique().tolist() == [27.5]
        assert not average.detector.training and network.training

    @pytest.mark.parametrize("ema", [None, Ema(decay=0.5, warmup_steps=0)], ids=["mean", "ema"])
    def test_takes_over_the_newest_counts_of_batches(self, ema: Ema | None) -> None:
        """They are whole numbers, of which PyTorch computes no mean on a GPU."""
        network = detector()
        average, count = Average(network, ema), "backbone.body.bn1.num_batches_tracked"
        for value in (1, 2, 9):
            network.get_buffer(count).fill_(value)
            average.add(network)
        assert average.detector.get_buffer(count) == 9

    def test_forgets_the_first_weights_in_its_warm_up(self) -> None:
        settings = Ema(decay=0.9998, warmup_steps=2000)
        assert ema_decay(settings, 1) < 0.001
        assert ema_decay(settings, 2000) == pytest.approx(0.9998 * (1 - 0.36788), rel=1e-4)
        assert ema_decay(settings, 50_000) == pytest.approx(0.9998)
        assert ema_decay(Ema(decay=0.9, warmup_steps=0), 1) == 0.9


@dataclass
class KeepsWeights(RecordingContext):
    """Keeps the content of `last.pt` each time it is saved."""

    job_dir: Path
    saved: list[tuple[DetectorCheckpoint, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.job_dir)

    def emit(self, event: RunEvent) -> None:
        super().emit(event)
        if isinstance(event, CheckpointSaved) and event.name == "last":
            checkpoint, training = read_checkpoint(self.job_dir / "checkpoints/last.pt")
            assert training is not None
            self.saved.append((checkpoint, training))


class TestARunWithAverages:
    def test_evaluates_and_keeps_the_moving_average_and_resumes_from_the_last_step(self, tmp_path: Path) -> None:
        spec = train_spec(training={"ema": {"decay": 0.9, "warmup_steps": 0}, "checkpoint_every_s": 0})
        context = KeepsWeights(tmp_path)
        finished = execute(spec, context)
        assert finished.result is not None and finished.result.weights == "ema"
        expected: dict[str, Tensor] = {}
        seen = -1
        for checkpoint, training in context.saved:
            if checkpoint.record.step == seen:
                continue  # the evaluation of the same step
            seen = checkpoint.record.step
            for name, new in training["ema"]["last_step"].items():
                if new.is_floating_point():
                    expected[name] = new if name not in expected else expected[name].lerp(new, 0.1)
            for name, value in expected.items():
                torch.testing.assert_close(checkpoint.state[name], value, rtol=1e-4, atol=1e-6)
        assert seen == 4
        best, _ = read_checkpoint(tmp_path / "checkpoints/best.pt")
        of_best = next(each for each, _ in context.saved if each.record.epoch == best.record.epoch)
        assert best.record.weights == "ema"
        assert all(torch.equal(best.state[name], value) for name, value in of_best.state.items())

    def test_averages_the_last_evaluated_epochs_and_keeps_the_mean_if_it_is_better(self, tmp_path: Path) -> None:
        training = {"epochs": 5, "evaluate_every": 2, "average_last": 2}
        context = KeepsWeights(tmp_path)
        finished = execute(train_spec(training=training), context)
        (mean,) = context.of(MeanEvaluated)
        assert mean.num_epochs == 2 and [each.epoch for each in context.of(Evaluated)] == [2, 4, 5]
        by_epoch = {checkpoint.record.epoch: checkpoint.state for checkpoint, _ in context.saved}
        found = context.saved[-1][1]["mean"]["weights"]
        for name, value in found.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (by_epoch[4][name] + by_epoch[5][name]) / 2, rtol=1e-4, atol=1e-6)
        best, _ = read_checkpoint(tmp_path / "checkpoints/best.pt")
        highest = max(each.scores.ap or 0 for each in context.of(Evaluated))
        assert mean.is_best == ((mean.scores.ap or 0) > highest) == (best.record.weights == "mean")
        assert finished.result is not None and finished.result.weights == best.record.weights

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"ema": {}, "average_last": 2}, "average_last does not go with ema"),
            ({"early_stop": {}, "average_last": 2}, "average_last does not go with early_stop"),
            ({"epochs": 4, "evaluate_every": 2, "average_last": 3}, "average_last is 3, but the training has 2"),
        ],
        ids=["ema", "early stop", "too many"],
    )
    def test_refuses_averages_that_do_not_suit(self, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            TrainingSpec.model_validate(fields)

    def test_begins_a_new_mean_if_it_is_extended(self) -> None:
        network, weight = detector(), "head.classification_head.cls_logits.bias"
        averages = Averages(network, TrainingSpec(epochs=3, average_last=2))

        def train(*epochs: int) -> None:
            for epoch in epochs:
                with torch.no_grad():
                    network.get_parameter(weight).fill_(epoch)
                averages.after_epoch(epoch)

        train(1, 2, 3)
        extended = Averages(network, TrainingSpec(epochs=6, average_last=2))
        extended.restore(network.state_dict(), averages.state_dict())
        averages = extended
        train(4, 5, 6)
        assert averages.mean is not None and averages.mean.count == 2
        assert averages.mean.detector.get_parameter(weight).unique().tolist() == [5.5]


class TestFloat16:
    def scaler(self, scale: float) -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=scale)

    def test_the_scale_changes_no_gradient(self) -> None:
        plain, scaled = detector(), detector()
        step(plain)
        values = step(scaled, scaler=self.scaler(2.0**10))
        assert values["gradient_scale"] == 2.0**10
        for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)

    def test_a_gradient_that_is_too_large_changes_no_weights_and_lowers_the_scale(self) -> None:
        network, scaler = detector(), self.scaler(2.0**30)
        before = [each.clone() for each in network.parameters()]
        values = step(network, scaler=scaler, autocast_dtype=torch.float16)
        numbers = checked({name: value.item() for name, value in values.items()})
        assert "gradient_norm" not in numbers and math.isfinite(numbers["loss"])
        assert all(map(torch.equal, before, network.parameters()))
        assert scaler.get_scale() == 2.0**29

    def test_finite_gradients_whose_norm_is_not_finite_are_no_overflow(self) -> None:
        network = detector()
        network.get_parameter("head.regression_head.bbox_reg.weight").register_hook(
            lambda gradient: torch.full_like(gradient, 3e38)
        )
        before = [each.clone() for each in network.parameters()]
        values = step(network, scaler=self.scaler(2.0))
        with pytest.raises(NonFiniteLossError):
            checked({name: value.item() for name, value in values.items()})
        assert all(map(torch.equal, before, network.parameters()))

    def test_a_step_without_a_norm_does_not_count_in_the_mean_of_norms(self) -> None:
        window = StepWindow()
        for number, values in enumerate(({"loss": 2.0, "gradient_norm": 3.0}, {"loss": 4.0})):
            window.add(number, values, waited_s=0)
        assert window.take_means() == {"loss": 3.0, "gradient_norm": 3.0}

    def test_without_a_gpu_is_refused(self, tmp_path: Path) -> None:
        finished = execute(train_spec(training={"precision": "float16"}), RecordingContext(tmp_path))
        assert finished.error is not None and finished.error.code == "device"
        assert "float16 needs a GPU" in finished.error.message and "bfloat16" in finished.error.message


class Poison(Distillation):
    """Adds a loss that is not finite in some steps, and leaves its traces in a running statistic."""

    def __init__(self, *steps: int, watched: Tensor | None = None) -> None:
        super().__init__()
        self.memory = nn.Buffer(torch.zeros(()))
        self.seen: list[Tensor] = []
        # In a tuple, because a module would take a parameter as its own.
        self._steps, self._watched = steps, (watched,) if watched is not None else ()

    has_fixed_scale = True

    def take_news(self) -> list[ScaleChosen]:
        return []

    def forward(
        self,
        student_features: Sequence[Tensor],
        batch: Batch,
        moment: Moment,
        outputs: Outputs | None = None,
        task: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        value = student_features[0].sum() * (torch.nan if moment.step in self._steps else 0)
        self.memory += value.detach()
        self.seen += [each.detach().clone() for each in self._watched]
        return value, {"distill/total": value.detach()}


class TestABadStep:
    def run(self, folder: Path, *poisoned: int, skip_bad_steps: int) -> tuple[RecordingContext, Poison, Any]:
        spec = train_spec(training={"skip_bad_steps": skip_bad_steps})
        context, poison = RecordingContext(folder), Poison(*poisoned)
        run = TrainingRun(spec, context)
        return context, poison, run.fit(spec.detector, run.build(spec.detector, role="detector"), poison, None)

    def test_is_skipped_reported_and_counted(self, tmp_path: Path) -> None:
        context, poison, finished = self.run(tmp_path, 0, 2, skip_bad_steps=1)
        assert finished.result.skipped_steps == 2
        assert [warning.code for warning in context.of(Warned)] == ["step_skipped"] * 2
        first = context.of(Warned)[0]
        assert first.message.startswith(
            "step 1 is skipped, 1 of at most 1 in a row, 1 so far: the loss or its gradient is not"
        )
        assert first.details["distill/total"] == "nan"
        assert context.of(Progress)[0].skipped_steps == 1
        assert all(torch.tensor([*each.values.values()]).isfinite().all() for each in context.of(EpochFinished))
        checkpoint, training = read_checkpoint(tmp_path / "checkpoints/last.pt")
        assert all(value.isfinite().all() for value in checkpoint.state.values())
        assert poison.memory == 0 and training is not None
        assert (training["place"]["skipped_steps"], training["place"]["skipped_in_row"]) == (2, 0)

    def test_too_many_in_a_row_end_the_training(self, tmp_path: Path) -> None:
        with pytest.raises(NonFiniteLossError) as caught:
            self.run(tmp_path, 1, 2, skip_bad_steps=1)
        assert caught.value.details["step"] == 3
        with pytest.raises(NonFiniteLossError):
            self.run(tmp_path / "default", 1, skip_bad_steps=0)

    def test_of_one_rank_changes_no_weights_on_any(self, tmp_path: Path) -> None:
        first, second = on_ranks(2, _poisoned_on_rank_1, tmp_path)
        assert all(map(torch.equal, first, second))
        changes = [not torch.equal(before, after) for before, after in itertools.pairwise(first)]
        assert changes == [True, False, True]


def _poisoned_on_rank_1(folder: Path) -> list[Tensor]:
    """Train with a bad step, the second one, of rank 1 alone; return some weights of this rank before each step."""
    spec = train_spec(training={"skip_bad_steps": 1})
    run = TrainingRun(spec, RankContext(RecordingContext(folder / str(rank()))))
    detector = run.build(spec.detector, role="detector")
    poison = Poison(*[1] * rank(), watched=detector.get_parameter("head.classification_head.cls_logits.weight"))
    finished = run.fit(spec.detector, detector, poison, None)
    assert finished.result is not None and finished.result.skipped_steps == 1
    return poison.seen


@pytest.mark.parametrize(("cpus", "gpus", "expected"), [(1, 0, 0), (8, 0, 0), (1, 1, 1), (8, 1, 7)])
def test_loaders_follow_the_cpus_of_a_job_with_a_gpu(cpus: int, gpus: int, expected: int) -> None:
    assert default_loader_workers(Resources(cpus=cpus, gpus=gpus)) == expected
