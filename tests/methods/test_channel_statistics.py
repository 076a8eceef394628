"""The statistics of channels."""

import pytest
import torch
from torch import Tensor

from fgd_core.methods.parts import cpu_passes
from fgd_core.methods.parts.statistics import (
    channel_statistics,
    standardised,
    standardised_gap,
    with_statistics_of,
)


def maps(seed: int, *, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    values = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * values + offset


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_a_constant_channel_becomes_zero_and_has_a_finite_gradient(value: float) -> None:
    """A channel behind a ReLU may be 0 everywhere."""
    features = maps(0)
    features[:, 1] = value
    standard = standardised(features.requires_grad_())
    (standard * maps(1)).sum().backward()
    assert not standard[:, 1].any()
    assert features.grad is not None and features.grad.isfinite().all()


class TestAlignment:
    def test_gives_each_channel_the_mean_and_deviation_of_the_other_map(self) -> None:
        teacher, student = maps(0, scale=7, offset=-2), maps(1, scale=0.1, offset=5)
        found, wanted = channel_statistics(with_statistics_of(teacher, student)), channel_statistics(teacher)
        assert found.mean.flatten().tolist() == pytest.approx(wanted.mean.flatten().tolist())
        assert found.deviation.flatten().tolist() == pytest.approx(wanted.deviation.flatten().tolist(), rel=1e-4)

    def test_of_a_map_with_other_scales_only_restores_the_map(self) -> None:
        teacher = maps(0, scale=7, offset=-2)
        assert (with_statistics_of(teacher, 0.5 * teacher + 3) - teacher).abs().max() < 1e-4

    def test_uses_the_unbiased_deviation_over_the_batch_and_all_cells(self) -> None:
        values = maps(0)
        expected = values.transpose(0, 1).flatten(1).std(1)
        assert channel_statistics(values).deviation.flatten().tolist() == pytest.approx(expected.tolist())

    def test_of_a_single_cell_is_the_other_maps_mean(self) -> None:
        teacher, student = maps(0)[:1, :, :1, :1], maps(1)[:1, :, :1, :1].requires_grad_()
        aligned = with_statistics_of(teacher, student)
        aligned.sum().backward()
        assert aligned.equal(teacher) and student.grad is not None and student.grad.isfinite().all()

    def test_sends_no_gradient_to_the_teacher(self) -> None:
        teacher, student = maps(0).requires_grad_(), maps(1).requires_grad_()
        with_statistics_of(teacher, student).square().sum().backward()
        assert teacher.grad is None and student.grad is not None


class TestGradients:
    """Compares the analytic gradients with those of the formulas, over more than one block."""

    @staticmethod
    def standard(features: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(features, (0, 2, 3), keepdim=True)
        return (features - mean) / (deviation + 1e-6)

    @staticmethod
    def wide(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return 3 + 2 * torch.randn(2, 7, 210, 200, generator=generator, dtype=torch.float64)

    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("in_c", [True, False])
    def test_of_a_gap_and_of_an_aligned_map_are_exact(
        self, layout: torch.memory_format, in_c: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not in_c:
            monkeypatch.setattr(cpu_passes, "library", lambda _: None)
        student, teacher = (self.wide(seed).contiguous(memory_format=layout) for seed in range(2))
        deviation, mean = torch.std_mean(teacher, (0, 2, 3), keepdim=True)
        weights = torch.randn(student.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        pairs = [
            (
                lambda own: standardised_gap(own, teacher),
                lambda own: (self.standard(own) - self.standard(teacher)).square().mean(),
            ),
            (
                lambda own: (with_statistics_of(teacher, own) * weights).sum(),
                lambda own: ((self.standard(own) * deviation + mean) * weights).sum(),
            ),
        ]
        for pair in pairs:
            found = []
            for compute in pair:
                own = student.clone().requires_grad_()
                value = compute(own)
                value.backward()  # type: ignore[no-untyped-call]
                assert own.grad is not None
                found.append((value.detach(), own.grad))
            for ours, theirs in zip(*found, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
