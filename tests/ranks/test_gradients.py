"""The gradients of two ranks are those of one process with the whole batch, for every detector and every method."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.detectors import build_detector
from fgd_core.methods import METHODS
from fgd_core.methods.base import Moment
from fgd_core.ranks import mean_over_ranks, rank, world_size
from fgd_core.spec.methods import Ikd, Mgd, Mixed, Pkd
from fgd_core.spec.methods.base import ScaleSchedule
from fgd_core.training.accumulation import parts_of
from fgd_core.training.distiller import Distiller
from fgd_core.training.step import Learner, shared_by_ranks
from tests.contract.test_detectors import ALL_SETTINGS, KEYPOINTS, described
from tests.contract.test_methods import pair
from tests.ranks.processes import on_ranks

NUM_CLASSES = 3
MOMENT = Moment(step=3, steps=30, epochs=30)
BOXES = torch.tensor([[8.0, 8, 40, 48], [30, 20, 60, 62]])
LABELS = torch.tensor([0, 2])
TOLERANCE = 2e-4
"""Of the largest gradient: float32, and other kernels for a batch of another size."""


class Found(NamedTuple):
    """Holds what one step computes."""

    parts: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    without_gradient: list[str]
    buffers: Mapping[str, Tensor]


def detector_case(index: int) -> Learner:
    torch.manual_seed(0)
    return Learner(build_detector(ALL_SETTINGS[index], NUM_CLASSES).train())


def method_case(name: str) -> Learner:
    method = next(kind for kind in METHODS if kind.name() == name)()
    student, teacher = pair(method, 12)
    torch.manual_seed(1)
    return Learner(student, Distiller(method, student, teacher))


ENDED = ScaleSchedule(until_epoch=3)
"""Distillation that has ended at `MOMENT`; its parameters still need gradients."""
RESTING = {
    "part at rest": Mixed(parts={"on": Pkd(), "off": Mgd(scale_schedule=ENDED)}),
    "base at rest": Ikd(base=Mgd(scale_schedule=ENDED)),
    "at rest": Mgd(scale_schedule=ENDED),
}


def resting_case(name: str) -> Learner:
    student, teacher = pair(RESTING[name], 12)
    torch.manual_seed(1)
    return Learner(student, Distiller(RESTING[name], student, teacher))


Case = tuple[str, Callable[..., Learner], object]
CASES: list[Case] = [
    *((described(settings), detector_case, index) for index, settings in enumerate(ALL_SETTINGS)),
    *((kind.name(), method_case, kind.name()) for kind in METHODS),
    *((name, resting_case, name) for name in RESTING),
]


def global_batch() -> Batch:
    """Return four images of which the last two, those of the second of two ranks, have no object."""
    size, counts = 64, (2, 1, 0, 0)
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, size, size, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, BOXES.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    return Batch(
        images=images,
        image_sizes=[(size, size)] * 4,
        boxes=[BOXES[:count] for count in counts],
        labels=[LABELS[:count] for count in counts],
        image_ids=[1, 2, 3, 4],
        original_sizes=[(size, size)] * 4,
        masks=[masks[:count] for count in counts],
        keypoints=[KEYPOINTS[:count] for count in counts],
        pictures={name: images.roll(shift, 3) for shift, name in enumerate(("adversarial", "depth"), start=1)},
        seeds=[11, 12, 13, 14],
    )


def share_of(batch: Batch) -> Batch:
    """Return this rank's part of a batch."""
    return parts_of(batch, world_size())[rank()]


def step_of(case: Case) -> Found:
    _, build, what = case
    learner = build(what)
    torch.manual_seed(2)
    shared = shared_by_ranks(learner)  # a name, because its hooks end with it
    loss, parts = shared(share_of(global_batch()), MOMENT)
    loss.backward()
    trained = {name: each for name, each in learner.named_parameters() if each.requires_grad}
    return Found(
        {name: mean_over_ranks(value.float()) for name, value in parts.items()},
        {name: each.grad.clone() for name, each in trained.items() if each.grad is not None},
        [name for name, each in trained.items() if each.grad is None],
        {name: each.clone() for name, each in learner.named_buffers()},
    )


def steps_of_all() -> list[Found]:
    return [step_of(case) for case in CASES]


@pytest.fixture(scope="module")
def of_ranks() -> list[list[Found]]:
    """What each of two ranks finds, for each case; all cases share two processes."""
    return on_ranks(2, steps_of_all)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
class TestTwoRanks:
    def test_have_the_gradients_losses_and_statistics_of_one_process(
        self, case: Case, of_ranks: list[list[Found]]
    ) -> None:
        alone, found = step_of(case), of_ranks[0][CASES.index(case)]
        for ours, theirs in ((found.parts, alone.parts), (found.buffers, alone.buffers)):
            torch.testing.assert_close(dict(ours), dict(theirs), rtol=1e-4, atol=1e-5)
        largest = max(float(each.abs().max()) for each in alone.gradients.values())
        for name, gradient in alone.gradients.items():
            assert float((found.gradients[name] - gradient).abs().max()) <= TOLERANCE * largest, name

    def test_give_every_parameter_a_gradient_and_agree(self, case: Case, of_ranks: list[list[Found]]) -> None:
        first, second = (found[CASES.index(case)] for found in of_ranks)
        assert first.without_gradient == second.without_gradient == []
        for ours, theirs in ((first.gradients, second.gradients), (first.buffers, second.buffers)):
            assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
