"""The contract of distillation methods; each row of the table is tested."""

from pathlib import Path

import pytest
import torch
import yaml

from fgd_core.methods import ADVICE, METHODS
from fgd_core.spec.methods import Fgd, MethodSpec

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=METHODS, ids=lambda kind: kind.__name__)
def settings(request: pytest.FixtureRequest) -> MethodSpec:
    kind: type[MethodSpec] = request.param
    return kind()


@pytest.mark.parametrize("channels", [(8, 8), (4, 8)], ids=["same width", "narrower student"])
@pytest.mark.parametrize("num_boxes", [0, 2])
def test_the_loss_is_finite_and_only_the_student_gets_a_gradient(
    settings: MethodSpec, channels: tuple[int, int], num_boxes: int
) -> None:
    loss = METHODS[type(settings)](settings, *channels)
    student = torch.randn(2, channels[0], 8, 12, requires_grad=True)
    teacher = torch.randn(2, channels[1], 8, 12, requires_grad=True)
    boxes = [torch.tensor([[4.0, 4, 30, 30], [50, 8, 90, 60]])[:num_boxes]] * 2
    terms = loss(student, teacher, boxes, [(60, 90), (64, 96)], (64, 96))
    terms.total.backward()
    assert terms.total.isfinite() and terms.total.ndim == 0
    assert student.grad is not None and student.grad.norm() > 0
    assert teacher.grad is None
    assert all(value.isfinite() for value in terms.unweighted().values())


def test_every_method_gives_advice() -> None:
    assert set(ADVICE) == set(METHODS)


@pytest.mark.parametrize("example", ["demo", "bccd", "nuclei"])
def test_the_catalogue_advises_the_scale_of_the_examples(example: str) -> None:
    """All three examples distil small networks without pretrained weights."""
    scale = yaml.safe_load((EXAMPLES / example / "distilled.yaml").read_text())["method"]["scale"]
    assert f"Small networks without pretrained weights need about {scale}." in str(
        Fgd.model_fields["scale"].description
    )
