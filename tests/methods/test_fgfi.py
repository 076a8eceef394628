"""Fine-grained imitation: the cells near objects, against loops over all anchors."""

import itertools

import pytest
import torch
from torch import Tensor

from fgd_core.methods.base import Moment
from fgd_core.methods.fgfi import FgfiLoss, anchor_mask, anchor_shapes
from fgd_core.methods.parts.imitation import masked_difference
from fgd_core.methods.parts.objects import stacked
from fgd_core.spec.detectors import FasterRcnn, Gfl, RetinaNet
from fgd_core.spec.methods import Fgfi
from tests.methods.waves import GOLDEN_BOXES, PAIR, STRIDE, boxes, golden_maps, lesson

SHAPES = anchor_shapes([2.0, 3.0], [0.5, 1.0, 2.0])


def iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common)


def by_loops(rows: Tensor, height: int, width: int, threshold: float) -> Tensor:
    """Mark the cells near any of the boxes (n, 4) of an image: (height, width)."""
    marked = torch.zeros(height, width, dtype=torch.float64)
    for box in rows.tolist():
        overlaps = {
            (y, x, w, h): iou(tuple(box), tuple(STRIDE * at for at in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
            for y, x, (w, h) in itertools.product(range(height), range(width), SHAPES.tolist())
        }
        for (y, x, _, _), overlap in overlaps.items():
            if overlap > threshold * max(overlaps.values()):
                marked[y, x] = 1
    return marked


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_the_mask_equals_loops_over_all_anchors(threshold: float) -> None:
    rows = boxes((8, 8, 40, 30), (20, 16, 28, 24), (50, 30, 63, 47), (0, 0, 9, 5), (3, 20, 61, 31))
    like = torch.zeros(2, 1, 6, 8, dtype=torch.float64)
    mask = anchor_mask(stacked([rows, boxes()], rows.device), STRIDE, like, SHAPES, threshold)
    expected = by_loops(rows, 6, 8, threshold)
    assert mask[0].equal(expected) and 0 < expected.sum() < 48
    assert not mask[1].any()


def test_published_anchors_are_those_of_the_students_head() -> None:
    retinanet = Fgfi().published(RetinaNet(), None)
    assert retinanet.anchor_scales == pytest.approx((4, 5.0397, 6.3496), abs=1e-4)
    assert Fgfi().published(RetinaNet(anchor_base_size_px=16), None).anchor_scales[0] == 2
    assert Fgfi().published(Gfl(), None) == Fgfi(anchor_scales=(8,), anchor_ratios=(1,))
    assert Fgfi().published(FasterRcnn(), RetinaNet()) == Fgfi()


def test_many_boxes_equal_one_box_at_a_time() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(40, 2, generator=generator, dtype=torch.float64) * 40
    rows = torch.cat([corner, corner + 2 + torch.rand(40, 2, generator=generator) * 24], 1)
    like = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
    masks = [anchor_mask(stacked([row[None]], row.device), STRIDE, like, SHAPES, 0.9) for row in rows]
    assert anchor_mask(stacked([rows], rows.device), STRIDE, like, SHAPES, 0.9).equal(torch.stack(masks).amax(0))


def test_an_anchor_has_the_area_of_its_scale_and_the_ratio_of_height_to_width() -> None:
    for (width, height), (scale, ratio) in zip(SHAPES.tolist(), itertools.product([2, 3], [0.5, 1, 2]), strict=True):
        assert width * height == pytest.approx(scale**2) and height / width == pytest.approx(ratio)


def test_an_object_that_no_anchor_overlaps_marks_no_cell() -> None:
    like = torch.zeros(1, 1, 6, 8)
    assert not anchor_mask(stacked([boxes((900, 900, 910, 910))], like.device), STRIDE, like, SHAPES).any()


def test_an_object_counts_on_the_level_of_its_size_only() -> None:
    student, teacher = golden_maps()
    large = [boxes((0, 0, 120, 120)), boxes()]
    method = Fgfi(anchor_scales=(2.0,))
    for index in (0, 1, 2):
        loss = FgfiLoss(method, PAIR._replace(position=index, num_pairs=3)).double()
        assert (loss(student, teacher, lesson(large)).total.item() > 0) == (index == 1)


def test_the_loss_is_the_masked_difference_after_the_adapter() -> None:
    student, teacher = golden_maps()
    method = Fgfi(weight=2, anchor_scales=(2.0, 3.0))
    loss = FgfiLoss(method, PAIR).double()
    mask = anchor_mask(stacked(GOLDEN_BOXES, student.device), STRIDE, student, SHAPES)
    expected = 2 * masked_difference(loss.adapter(student), teacher, mask)
    torch.testing.assert_close(loss(student, teacher, lesson()).total, expected)


def test_starts_at_the_first_step() -> None:
    student, teacher = golden_maps()
    loss = FgfiLoss(Fgfi(first_step=400), PAIR).double()
    totals = [loss(student, teacher, lesson(moment=Moment(step, 1000))).total.item() for step in (399, 400)]
    assert totals[0] == 0 and totals[1] > 0
