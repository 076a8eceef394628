"""Steps: schedule, clipping, and distillation with zero weights."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fgd_core.data import open_dataset
from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors import build_detector
from fgd_core.errors import NonFiniteLossError
from fgd_core.methods.base import Moment
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import AdamW, CosineSchedule, Sgd, StepSchedule, TrainingSpec
from fgd_core.training.distiller import Distiller
from fgd_core.training.optimizers import ParameterGroup, build_optimizer, clip_gradients, learning_rate
from fgd_core.training.step import Learner, checked, training_step
from tests.library import TINY_DETECTOR, train_spec

SPEC = train_spec(data={"num_train": 80})
STUDENT = RetinaNet.model_validate(TINY_DETECTOR)
TEACHER = STUDENT.model_copy(update={"fpn_width": 16})


def trained(method: Fgd | None, steps: int, optimizer_spec: AdamW | Sgd = AdamW()) -> dict[str, Tensor]:  # noqa: B008
    torch.manual_seed(0)
    dataset = open_dataset(SPEC.data, "train")
    student = build_detector(STUDENT, len(dataset.categories)).train()
    distiller = None
    if method is not None:
        distiller = Distiller(method, student, build_detector(TEACHER, len(dataset.categories)))
    learner = Learner(student, distiller)
    optimizer = build_optimizer(optimizer_spec, [ParameterGroup([*learner.parameters()])])
    loader = TrainLoader(dataset, SPEC.input, batch_size=4, seed=0, workers=0)
    for _, batch in zip(range(steps), (batch.to("cpu") for batch in loader.epoch(0)), strict=False):
        training_step(learner, optimizer, batch, clip_norm=0.5, autocast_dtype=None, moment=Moment())
    return student.state_dict()


class TestDistiller:
    @pytest.mark.parametrize("optimizer", [AdamW(), Sgd()], ids=["adamw", "sgd"])
    def test_with_zero_weights_20_steps_equal_training_without_distillation(self, optimizer: AdamW | Sgd) -> None:
        plain = trained(None, 20, optimizer)
        distilled = trained(Fgd(alpha=0, beta=0, gamma=0, lambda_=0), 20, optimizer)
        assert all(torch.equal(plain[name], distilled[name]) for name in plain)

    @pytest.mark.parametrize("method", [Fgd(scale=0), Fgd(alpha=0, beta=0, gamma=0, lambda_=0)], ids=["scale", "all"])
    def test_with_zero_weights_the_teacher_does_not_run(self, method: Fgd) -> None:
        class Silent:
            def maps(self, batch: Batch) -> list[Tensor]:
                raise AssertionError("the teacher ran")

        student, teacher = build_detector(STUDENT, 8), build_detector(TEACHER, 8)
        loader = TrainLoader(open_dataset(SPEC.data, "train"), SPEC.input, batch_size=4, seed=0, workers=0)
        batch = next(loader.epoch(0)).to("cpu")
        distiller = Distiller(method, student, teacher, {"image": Silent()})
        total, parts = distiller(student.features(batch.images), batch, Moment())
        assert distiller.advice(batch) == []
        assert total.item() == 0 and set(parts) == {"distill/total"}
        with pytest.raises(AssertionError, match="the teacher ran"):
            Distiller(Fgd(), student, teacher, {"image": Silent()})(student.features(batch.images), batch, Moment())

    def test_an_unsuitable_temperature_gets_one_advice_for_all_levels(self) -> None:
        student, teacher = build_detector(STUDENT, 8), build_detector(TEACHER, 8)
        loader = TrainLoader(open_dataset(SPEC.data, "train"), SPEC.input, batch_size=4, seed=0, workers=0)
        advice = Distiller(Fgd(temperature=1e-4), student, teacher).advice(next(loader.epoch(0)).to("cpu"))
        assert len(advice) == 1 and advice[0].count("set method.temperature to") == 1

    def test_with_weights_it_changes_the_student(self) -> None:
        plain, distilled = trained(None, 2), trained(Fgd(), 2)
        assert any(not torch.equal(plain[name], distilled[name]) for name in plain)

    def test_the_teacher_is_frozen_in_eval_mode_and_no_submodule(self) -> None:
        student, teacher = build_detector(STUDENT, 3), build_detector(TEACHER, 3)
        del teacher.head  # only backbone and neck run
        distiller = Distiller(Fgd(), student, teacher)
        distiller.train()
        assert not any(module.training for module in teacher.modules())
        own = {id(p) for p in distiller.parameters()}
        assert own and own.isdisjoint(id(p) for p in teacher.parameters())
        assert not any("backbone" in name or "teacher.b" in name for name in distiller.state_dict())
        loader = TrainLoader(open_dataset(SPEC.data, "train"), SPEC.input, batch_size=4, seed=0, workers=0)
        batch = next(loader.epoch(0)).to("cpu")
        total, parts = distiller(student.features(batch.images), batch, Moment())
        total.backward()
        assert all(p.grad is None for p in teacher.parameters())
        before = copy.deepcopy(teacher.state_dict())
        distiller(student.features(batch.images), batch, Moment())
        assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
        assert parts["distill/total"].item() == pytest.approx(
            sum(parts[f"distill/{level.name}"].item() for level in student.levels), rel=1e-5
        )


class TestNonFiniteLoss:
    def test_names_the_terms_and_leaves_the_weights_unchanged(self) -> None:
        detector = build_detector(STUDENT, 8)
        with torch.no_grad():
            detector.get_parameter("head.regression_head.bbox_reg.bias").fill_(float("inf"))
        optimizer = build_optimizer(AdamW(), [ParameterGroup([*detector.parameters()])])
        loader = TrainLoader(open_dataset(SPEC.data, "train"), SPEC.input, batch_size=4, seed=0, workers=0)
        before = copy.deepcopy(dict(detector.named_parameters()))
        values = training_step(
            Learner(detector),
            optimizer,
            next(loader.epoch(0)).to("cpu"),
            clip_norm=35,
            autocast_dtype=None,
            moment=Moment(),
        )
        with pytest.raises(NonFiniteLossError) as caught:
            checked({name: value.item() for name, value in values.items()})
        assert caught.value.details["task/box"] == "inf"
        assert all(torch.equal(before[name], value) for name, value in detector.named_parameters())


class TestSchedule:
    def test_warms_up_linearly_from_a_thousandth(self) -> None:
        settings = TrainingSpec(optimizer=Sgd(learning_rate=1.0), warmup_steps=100)
        assert learning_rate(settings, 0, 10_000) == pytest.approx(0.001)
        assert learning_rate(settings, 50, 10_000) == pytest.approx(0.5005)
        assert learning_rate(settings, 100, 10_000) == 1.0

    def test_warmup_is_at_most_a_tenth_of_the_training(self) -> None:
        settings = TrainingSpec(optimizer=Sgd(learning_rate=1.0), warmup_steps=500)
        assert learning_rate(settings, 10, 100) == 1.0

    def test_drops_at_the_published_milestones(self) -> None:
        settings = TrainingSpec(optimizer=Sgd(learning_rate=1.0), schedule=StepSchedule(), warmup_steps=0)
        rates = [learning_rate(settings, epoch * 10, 120) for epoch in range(12)]
        assert rates == pytest.approx([1.0] * 8 + [0.1] * 3 + [0.01])

    def test_decreases_along_half_a_cosine(self) -> None:
        settings = TrainingSpec(
            optimizer=Sgd(learning_rate=1.0), schedule=CosineSchedule(final_fraction=0.1), warmup_steps=0
        )
        assert learning_rate(settings, 0, 100) == 1.0
        assert learning_rate(settings, 50, 100) == pytest.approx(0.55)
        assert learning_rate(settings, 100, 100) == pytest.approx(0.1)


def test_clipping_uses_one_norm_over_all_groups() -> None:
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_gradients([[first], [second]], 1.0).item() == pytest.approx(5.0)
    torch.testing.assert_close(first.grad, torch.tensor([0.6, 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(second.grad, torch.tensor([0.8]), atol=1e-5, rtol=0)
