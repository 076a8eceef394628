"""Dual relations: both forms against plain formulas, and any number and order of objects."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from fgd_core.methods.drkd import DrkdLoss, pool_objects
from fgd_core.methods.parts.graph_reasoning import GraphReasoning
from fgd_core.methods.parts.object_relation import ObjectRelation
from fgd_core.methods.parts.objects import stacked
from fgd_core.spec.methods import Drkd
from tests.methods.waves import PAIR, STRIDE, boxes, golden_maps, lesson

FORMS = [Drkd(), Drkd(relation="matrix"), Drkd(filter=True), Drkd(relation="matrix", filter=True, roi_size=1, width=3)]
FORM_NAMES = ["features", "matrix", "filtered", "small filtered matrix"]
MANY = boxes((8, 8, 40, 30), (20, 16, 28, 24), (1, 2, 30, 46))


def loss_of(method: Drkd) -> DrkdLoss:
    torch.manual_seed(0)
    return DrkdLoss(method, PAIR).double()


@pytest.fixture(params=FORMS, ids=FORM_NAMES)
def method(request: pytest.FixtureRequest) -> Drkd:
    form: Drkd = request.param
    return form


class TestObjects:
    def test_the_order_of_objects_changes_nothing(self, method: Drkd) -> None:
        loss = loss_of(method)
        totals = [
            loss(*golden_maps(), lesson([rows, MANY[:1]])).total for rows in (MANY, MANY.flip(0), MANY[[1, 2, 0]])
        ]
        torch.testing.assert_close(totals[1], totals[0])
        torch.testing.assert_close(totals[2], totals[0])

    def test_an_image_with_fewer_objects_is_not_changed_by_its_neighbour(self, method: Drkd) -> None:
        loss = loss_of(method)
        alone, beside = (
            loss(*(each[:1].repeat(2, 1, 1, 1) for each in golden_maps()), lesson([MANY[:2], rows])).parts
            for rows in (MANY[:0], MANY)
        )
        own = loss(*(each[:1] for each in golden_maps()), lesson([MANY[:2]])).parts
        torch.testing.assert_close(alone["instances"], own["instances"])
        both = loss(*(each[:1] for each in golden_maps()), lesson([MANY])).parts
        torch.testing.assert_close(beside["instances"], own["instances"] + both["instances"])

    @pytest.mark.parametrize("rows", [MANY[:0], MANY[:1]], ids=["none", "one"])
    def test_few_objects_give_finite_gradients_everywhere(self, method: Drkd, rows: Tensor) -> None:
        loss = loss_of(method)
        student, teacher = golden_maps()
        terms = loss(student.requires_grad_(), teacher, lesson([rows, MANY[:0]]))
        terms.total.backward()
        assert student.grad is not None and student.grad.isfinite().all()
        gradients = [each.grad for each in loss.parameters()]
        assert all(each is not None and each.isfinite().all() for each in gradients)
        if len(rows) == 0:
            assert terms.parts["instances"] == 0 and terms.parts["features"] == 0

    def test_are_pooled_as_by_roi_align_on_each_image(self) -> None:
        student = golden_maps()[0]
        pooled = pool_objects(student, stacked([MANY, MANY[1:2]], student.device), STRIDE, 3)
        assert pooled.shape == (2, 3, 4, 3, 3)
        torch.testing.assert_close(pooled[0], roi_align(student[:1], [MANY], 3, 1 / STRIDE))
        torch.testing.assert_close(pooled[1, :1], roi_align(student[1:], [MANY[1:2]], 3, 1 / STRIDE))
        assert not pooled[1, 1:].any()

    def test_are_compared_on_the_two_finest_levels_only(self) -> None:
        places = [
            set(DrkdLoss(Drkd(), PAIR._replace(position=index)).double()(*golden_maps(), lesson()).parts)
            for index in range(3)
        ]
        both = {"pixels", "instances", "features", "teacher_norm"}
        assert places == [both, both, {"pixels", "teacher_norm"}]


class TestForms:
    def test_features_are_compared_by_norms(self) -> None:
        loss = loss_of(Drkd())
        assert loss.objects is not None
        student, teacher = golden_maps()
        parts = loss(student, teacher, lesson([MANY, MANY[:0]])).parts
        gap = loss.adapter(loss.student_relation(student)) - loss.teacher_relation(teacher)
        torch.testing.assert_close(parts["pixels"], gap.square().sum().sqrt())
        ours, theirs = (roi_align(each[:1], [MANY], 3, 1 / STRIDE) for each in (student, teacher))
        torch.testing.assert_close(
            parts["features"], (loss.objects.feature_adapter(ours) - theirs).square().sum().sqrt()
        )
        enhanced = []
        for relation, pooled in ((loss.objects.student_relation, ours), (loss.objects.teacher_relation, theirs)):
            assert relation.value is not None and relation.out is not None
            x = pooled.flatten(1)
            shares = (relation.theta(x) @ relation.phi(x).T).softmax(1)
            enhanced.append((x + relation.out(shares @ relation.value(x))).view_as(pooled))
        expected = (loss.objects.relation_adapter(enhanced[0]) - enhanced[1]).square().sum().sqrt()
        torch.testing.assert_close(parts["instances"], expected)

    def test_matrices_are_compared_by_squares(self) -> None:
        loss = loss_of(Drkd(relation="matrix"))
        assert loss.objects is not None
        student, teacher = golden_maps()
        parts = loss(student, teacher, lesson([MANY, MANY[:0]])).parts
        gap = loss.adapter(loss.student_relation(student)) - loss.teacher_relation(teacher)
        torch.testing.assert_close(parts["pixels"], gap.square().sum())
        ours, theirs = (roi_align(each[:1], [MANY], 3, 1 / STRIDE) for each in (student, teacher))
        features = (loss.objects.feature_adapter(ours) - theirs).square().sum() / 3
        torch.testing.assert_close(parts["features"], features)
        matrices = [
            (relation.theta(pooled.flatten(1)) @ relation.phi(pooled.flatten(1)).T).softmax(1)
            for relation, pooled in ((loss.objects.student_relation, ours), (loss.objects.teacher_relation, theirs))
        ]
        adapted = loss.objects.relation_adapter.weight * matrices[0] + loss.objects.relation_adapter.bias
        torch.testing.assert_close(parts["instances"], (adapted - matrices[1]).square().sum())

    def test_the_norm_of_the_teachers_relations_is_shown_and_weighs_nothing(self) -> None:
        loss = loss_of(Drkd())
        terms = loss(*golden_maps(), lesson())
        torch.testing.assert_close(terms.parts["teacher_norm"], loss.teacher_relation(golden_maps()[1]).norm())
        assert terms.weights == {"pixels": 1e-3, "instances": 4e-3, "features": 2.4e-3, "teacher_norm": 0}


class TestRelation:
    def test_one_object_relates_to_itself_only(self) -> None:
        relation = ObjectRelation(5, 2)
        matrix = relation(torch.randn(1, 3, 5), torch.tensor([[True, False, False]])).matrix
        assert matrix[0, 0].tolist() == [1, 0, 0] and not matrix[0, 1:].any()

    def test_rows_sum_to_one_over_the_objects_that_exist(self) -> None:
        relation = ObjectRelation(5, 2, filters=True)
        matrix = relation(torch.randn(1, 4, 5), torch.tensor([[True, True, True, False]])).matrix
        torch.testing.assert_close(matrix[0, :3].sum(1), torch.ones(3))
        assert not matrix[..., 3].any()

    def test_huge_products_are_finite(self) -> None:
        related = ObjectRelation(5, 2)(1e6 * torch.randn(2, 4, 5), torch.tensor([[True] * 4, [False] * 4]))
        assert related.matrix.isfinite().all() and related.enhanced.isfinite().all()


class TestGraphReasoning:
    def test_equals_products_of_matrices(self) -> None:
        torch.manual_seed(0)
        features = golden_maps()[0]
        block = GraphReasoning(4, 3).double()
        state, projection = (each(features).flatten(2) for each in (block.state, block.projection))
        nodes = state @ projection.transpose(1, 2)  # (N, 6, 3)
        bias = block.over_nodes.bias
        assert bias is not None
        mixed = nodes + nodes @ block.over_nodes.weight[:, :, 0].T + bias
        states = block.over_states.weight[:, :, 0] @ mixed.clamp(min=0)
        cells = (states @ projection).view(2, 6, 6, 8)
        torch.testing.assert_close(block(features), features + block.norm(block.extension(cells)))

    def test_the_published_size_of_all_blocks_is_47_million_parameters(self) -> None:
        def count(method: Drkd) -> int:
            wide = PAIR._replace(student_channels=256, teacher_channels=256)
            with torch.device("meta"):
                losses = [DrkdLoss(method, wide._replace(position=index, num_pairs=5)) for index in range(5)]
            return sum(each.numel() for loss in losses for each in loss.parameters())

        assert round(count(Drkd()) / 1e6) == 47
        assert round(count(Drkd(roi_size=1)) / 1e6) == 5
