"""Feature-based distillation, term by term, against plain formulas."""

import math

import pytest
import torch
from torch import nn

from fgd_core.methods.base import LevelPair
from fgd_core.methods.fbkd import FbkdLoss, NonLocal, masked_norm
from fgd_core.methods.parts.attention import attention
from fgd_core.methods.parts.batch_norm import BatchNorm
from fgd_core.spec.methods import Fbkd
from tests.methods.waves import PAIR, golden_maps, lesson


def copying(loss: FbkdLoss) -> FbkdLoss:
    """Let all adapters copy; the non-local blocks are the identity from the start."""
    for convolution in (loss.masked_adapter, loss.spatial_adapter, loss.relation_adapter):
        assert convolution.bias is not None
        nn.init.dirac_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    nn.init.eye_(loss.channel_adapter.weight)
    nn.init.zeros_(loss.channel_adapter.bias)
    return loss.double()


class TestTerms:
    def test_equal_loops_over_all_values(self) -> None:
        student, teacher = golden_maps()
        parts = copying(FbkdLoss(Fbkd(), PAIR))(student, teacher, lesson()).parts
        mask = (attention(student, 0.5)[0] + attention(teacher, 0.5)[0]) / 2
        masked = whole = channel = spatial = 0.0
        gap = (student - teacher).tolist()
        for n in range(2):
            for y in range(6):
                for x in range(8):
                    values = [gap[n][c][y][x] for c in range(4)]
                    squared = sum(value**2 for value in values)
                    masked += float(mask[n, y, x]) * squared
                    whole += squared
                    spatial += (sum(values) / 4) ** 2
            for c in range(4):
                channel += (sum(map(sum, gap[n][c])) / 48) ** 2
        assert parts["masked"].item() == pytest.approx(math.sqrt(masked), abs=1e-9)
        assert parts["channel"].item() == pytest.approx(math.sqrt(channel), abs=1e-9)
        assert parts["spatial"].item() == pytest.approx(math.sqrt(spatial), abs=1e-9)
        assert parts["relation"].item() == pytest.approx(math.sqrt(whole), abs=1e-9)

    def test_are_weighed_by_the_field_of_their_name(self) -> None:
        method = Fbkd(masked=2, channel=3, spatial=5, relation=7)
        terms = copying(FbkdLoss(method, PAIR))(*golden_maps(), lesson())
        expected = sum(factor * terms.parts[name] for name, factor in zip(terms.parts, (2, 3, 5, 7), strict=True))
        torch.testing.assert_close(terms.total, expected)

    def test_of_equal_maps_are_zero_with_a_finite_gradient(self) -> None:
        student = golden_maps()[0].requires_grad_()
        total = copying(FbkdLoss(Fbkd(), PAIR))(student, student.detach(), lesson()).total
        total.backward()
        assert total == 0 and student.grad is not None and student.grad.isfinite().all()

    def test_the_mask_gets_no_gradient(self) -> None:
        """The gradient of the masked term is that with a constant mask."""
        student, teacher = golden_maps()
        loss = copying(FbkdLoss(Fbkd(masked=1, channel=0, spatial=0, relation=0), PAIR))
        first, second = student.clone().requires_grad_(), student.clone().requires_grad_()
        loss(first, teacher, lesson()).total.backward()
        mask = (attention(student, 0.5)[0] + attention(teacher, 0.5)[0]) / 2
        masked_norm(second, teacher, mask).backward()
        torch.testing.assert_close(first.grad, second.grad)

    def test_a_wider_teacher_and_a_coarse_level_are_compared(self) -> None:
        pair: LevelPair = PAIR._replace(position=4, teacher_channels=6)
        student = torch.randn(2, 4, 2, 3)
        assert FbkdLoss(Fbkd(), pair)(student, torch.randn(2, 6, 2, 3), lesson()).total.isfinite()


class TestNonLocal:
    def test_starts_as_the_identity(self) -> None:
        student = golden_maps()[0]
        assert NonLocal(4, 2, 2).double()(student).equal(student)

    def test_equals_the_matrix_of_all_pairs_of_cells(self) -> None:
        torch.manual_seed(0)
        features = golden_maps()[0]
        block = NonLocal(4, 2, 2).double()
        nn.init.constant_(block.norm.weight, 0.7)
        query = block.query(features).flatten(2).transpose(1, 2)  # (N, HW, hidden)
        pool = nn.MaxPool2d(2)
        key, value = (pool(each(features)).flatten(2) for each in (block.key, block.value))
        relations = query @ key / key.shape[2]  # (N, HW, M)
        added = (relations @ value.transpose(1, 2)).transpose(1, 2).reshape(2, 2, 6, 8)
        torch.testing.assert_close(block(features), features + block.norm(block.out(added)))


class TestBatchNorm:
    def test_equals_torch_in_training(self) -> None:
        features = golden_maps()[0]
        torch.testing.assert_close(BatchNorm(4).double()(features), nn.BatchNorm2d(4).double()(features))

    def test_of_a_single_value_is_the_bias(self) -> None:
        norm = BatchNorm(3)
        nn.init.constant_(norm.bias, 0.3)
        features = torch.randn(1, 3, 1, 1, requires_grad=True)
        found = norm(features)
        assert torch.equal(found, torch.full_like(features, 0.3))
        found.sum().backward()
        assert norm.weight.grad is not None and features.grad is not None

    def test_has_no_state_besides_its_parameters(self) -> None:
        assert set(BatchNorm(3).state_dict()) == {"weight", "bias"}
