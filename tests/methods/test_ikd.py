"""Instance knowledge distillation: its term, and that only the base is left when the term is off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.data.shapes import ShapesDataset
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.methods.base import Moment
from fgd_core.methods.ikd import adversarial_loss
from fgd_core.runs import execute
from fgd_core.spec.data import Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import MetricsLogged
from fgd_core.spec.methods import AnyMethod, Fgd, Ikd, Pkd
from fgd_core.training.distiller import Distiller
from tests.library import TINY, TINY_DETECTOR, RecordingContext, StopsAfterAnEpoch, distill_spec, train_spec

MOMENT = Moment(step=3, steps=30, epochs=3)


def golden_maps() -> tuple[Tensor, Tensor]:
    """Return the student's and the teacher's map, each (2, 4, 6, 8) float64."""
    n, c, h, w = torch.meshgrid(*(torch.arange(k, dtype=torch.float64) for k in (2, 4, 6, 8)), indexing="ij")

    def wave(a: float, b: float) -> Tensor:
        return (a * (1 + n) + 0.7 * c + 0.3 * h * b + 0.11 * w).sin() + 0.25 * (0.5 * c * h + 0.2 * w + a).cos()

    return wave(0.9, 1.3), wave(0.4, 1.0)


def detector(width: int = 8) -> Detector:
    torch.manual_seed(width)
    return build_detector(RetinaNet.model_validate(TINY_DETECTOR | {"fpn_width": width}), 3)


def batch(**pictures: Tensor) -> Batch:
    return Batch(
        images=torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)),
        image_sizes=[(64, 64)] * 2,
        boxes=[torch.tensor([[8.0, 8, 40, 48]]), torch.zeros(0, 4)],
        labels=[torch.tensor([1]), torch.zeros(0, dtype=torch.int64)],
        image_ids=[1, 2],
        original_sizes=[(64, 64)] * 2,
        pictures=pictures,
    )


COPIES = {"adversarial": torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))}


def distilled(method: AnyMethod, given: Batch, moment: Moment = MOMENT, width: int = 8) -> tuple[Any, list[Tensor]]:
    """Return the loss with its parts, and the student's gradients."""
    student, teacher = detector().eval(), detector(width)
    torch.manual_seed(5)
    distiller = Distiller(method, student, teacher)
    total, parts = distiller(student.features(given.images), given, moment)
    total.backward()
    return (total.item(), parts), [each.grad for each in student.parameters() if each.grad is not None]


class TestTerm:
    def test_has_the_golden_value(self) -> None:
        assert adversarial_loss(*golden_maps()).item() == pytest.approx(100.3023765535, abs=1e-9)

    def test_is_the_sum_over_the_levels_of_both_maps_of_the_copies(self) -> None:
        (_, parts), _ = distilled(Ikd(base=Fgd(scale=0), alpha_adv=1), batch(**COPIES), width=9)
        student, teacher = detector().eval(), detector(9).eval()
        torch.manual_seed(5)
        method = Distiller(Ikd(base=Fgd(scale=0), alpha_adv=1), student, teacher).losses
        with torch.no_grad():
            maps = [each.features(COPIES["adversarial"]) for each in (student, teacher)]
            adapters = [each.get_submodule("adapter") for each in method.get_submodule("adversarial").children()]
            terms = [adversarial_loss(adapt(s), t).item() for adapt, s, t in zip(adapters, *maps, strict=True)]
        assert len(terms) == 5
        assert parts["distill/adversarial"].item() == pytest.approx(sum(terms), rel=1e-6)

    def test_scales_the_base_by_its_own_scale(self) -> None:
        (total, _), _ = distilled(Ikd(base=Fgd(scale=0.5), alpha_adv=0), batch())
        (base, _), _ = distilled(Fgd(scale=0.5), batch())
        assert total == pytest.approx(base, rel=1e-6)


class TestWithoutCopies:
    @pytest.mark.parametrize("base", [Fgd(), Pkd()], ids=lambda base: base.name())
    @pytest.mark.parametrize(
        ("settings", "given", "moment"),
        [
            ({"alpha_adv": 0.0}, batch(**COPIES), MOMENT),
            ({"until_epoch": 1}, batch(), Moment(step=10, steps=30, epochs=3)),
        ],
        ids=["weight zero", "after the last epoch"],
    )
    @pytest.mark.parametrize("width", [8, 12], ids=["same width", "wider teacher"])
    def test_only_the_base_is_left_to_the_bit(
        self, base: AnyMethod, settings: dict[str, Any], given: Batch, moment: Moment, width: int
    ) -> None:
        (total, parts), gradients = distilled(Ikd(base=base, **settings), given, moment, width)
        (expected, of_base), of_student = distilled(base, given, moment, width)
        assert total == expected
        assert {name: parts[name] for name in of_base} == of_base
        assert all(torch.equal(*pair) for pair in zip(gradients, of_student, strict=True))

    def test_the_last_step_of_the_last_epoch_still_has_them(self) -> None:
        for step, is_on in ((8, True), (9, True), (10, False)):
            moment = Moment(step=step, steps=30, epochs=3)
            (_, parts), _ = distilled(Ikd(until_epoch=1), batch(**COPIES), moment)
            assert ("distill/adversarial" in parts) == is_on


class ChangesMethod(RecordingContext):
    may_change = frozenset({"method"})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    context = RecordingContext(tmp_path_factory.mktemp("teacher"))
    assert execute(train_spec(training={"epochs": 1}), context).outcome == "succeeded"
    return context.job_dir / "checkpoints" / "best.pt"


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return data whose `adversarial` pictures are images with a little noise."""
    folder, rng = tmp_path_factory.mktemp("copies"), np.random.default_rng(0)
    dataset = ShapesDataset(Shapes.model_validate(TINY["data"]), "train")
    for index, sample in enumerate(dataset.samples):
        pixels = dataset.load_image(index).permute(1, 2, 0).numpy() + rng.integers(-8, 9, (64, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / sample.file_name)
    return TINY["data"] | {"pictures": {"adversarial": {"train": str(folder)}}}


def losses(context: RecordingContext) -> list[tuple[int, float | None]]:
    """Return (step, total loss) of all steps."""
    logged = context.of(MetricsLogged)
    return [pair for each in logged for pair in zip(each.steps, each.values["loss"], strict=True)]


def test_a_run_after_the_last_epoch_is_a_run_that_resumes_without_copies(
    teacher: Path, copies: dict[str, Any], tmp_path: Path
) -> None:
    fields = {"data": copies, "teacher": {"gate": "keys"}}
    with_term = {"type": "ikd", "base": {"type": "pkd"}, "alpha_adv": 1e-3, "until_epoch": 1}
    whole = RecordingContext(tmp_path / "whole")
    assert execute(distill_spec(teacher, method=with_term, **fields), whole).outcome == "succeeded"

    stopped = StopsAfterAnEpoch(tmp_path / "resumed")
    assert execute(distill_spec(teacher, method=with_term, **fields), stopped).outcome == "stopped"
    resumed = ChangesMethod(tmp_path / "resumed")
    finished = execute(distill_spec(teacher, method={"type": "pkd"}, **fields), resumed)
    assert finished.outcome == "succeeded"
    assert losses(resumed) == losses(whole)[2:]
