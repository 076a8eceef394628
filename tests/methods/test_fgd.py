"""Compares FGD with reference numbers from the authors' code."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from fgd_core.methods.fgd import ContextBlock, FGDLoss, advise
from fgd_core.methods.parts.attention import attention
from fgd_core.methods.parts.scale_masks import scale_masks
from fgd_core.methods.temperature import advise_temperature
from fgd_core.spec.methods import Fgd, Ikd, Mgd

UNIT: dict[str, float] = {"alpha": 1.0, "beta": 1.0, "gamma": 1.0, "lambda_": 1.0, "temperature": 0.5}
RETINANET: dict[str, float] = {"alpha": 1e-3, "beta": 5e-4, "gamma": 5e-4, "lambda_": 5e-6}


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


def waves(*shape: int) -> tuple[Tensor, Tensor]:
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
    return 1.5 * (0.37 * i).sin(), (0.23 * i).cos() + 0.25 * (0.011 * i).sin()


UNPADDED = [(80, 96), (80, 96)]
CASES: dict[str, tuple[tuple[int, ...], list[tuple[int, int]], list[Tensor], float]] = {
    "A_nopad": ((2, 8, 10, 12), UNPADDED, [boxes((8, 16, 40, 56), (30, 10, 90, 70)), boxes((0, 0, 96, 80))], 0.5),
    "B_padded": (
        (2, 8, 10, 12),
        [(56, 64), (80, 96)],
        [boxes((8, 16, 40, 56), (30, 10, 60, 40)), boxes((5, 5, 50, 50), (40, 20, 88, 79.5))],
        0.5,
    ),
    "C_empty_gt": ((2, 8, 10, 12), UNPADDED, [boxes(), boxes((8, 16, 40, 56))], 0.5),
    "D_temp0.8": ((1, 4, 6, 7), [(48, 56)], [boxes((8, 8, 24, 30), (16, 16, 17, 17))], 0.8),
}


class TestReferenceNumbers:
    @pytest.mark.parametrize("name", CASES)
    def test_equals_the_official_code_in_float64(self, name: str, shared: Path) -> None:
        expected = json.loads((shared / "golden/fgd.json").read_text())[name]
        shape, sizes, gt, temperature = CASES[name]
        student, teacher = waves(*shape)
        student.requires_grad_()
        loss = FGDLoss(shape[1], shape[1], **{**UNIT, "temperature": temperature}, mask="official").double()
        terms = loss.compare(student, teacher, gt, sizes, (shape[2] * 8, shape[3] * 8))
        terms.total.backward()
        # The official code rounds 1 / area to float32.
        approx = lambda value: pytest.approx(value, rel=1e-7)  # noqa: E731
        assert terms.parts["foreground"].item() == approx(expected["fg"])
        assert terms.parts["background"].item() == approx(expected["bg"])
        assert terms.parts["attention"].item() == approx(expected["mask"])
        assert terms.parts["relation"].item() == approx(expected["rela"])
        assert terms.total.item() == approx(expected["total_unit_weights"])
        assert student.grad is not None
        assert student.grad.norm().item() == approx(expected["grad_S_l2"])
        weighted = FGDLoss(shape[1], shape[1], **RETINANET, temperature=temperature, mask="official").double()
        assert weighted.compare(student, teacher, gt, sizes, (shape[2] * 8, shape[3] * 8)).total.item() == approx(
            expected["weighted_retina(1e-3,5e-4,5e-4,5e-6)"]
        )

    def test_equals_the_independent_numbers_with_nonzero_context_blocks(self) -> None:
        # Computed twice: by the official code and by hand.
        n, c, h, w = torch.meshgrid(*(torch.arange(k, dtype=torch.float64) for k in (2, 4, 6, 8)), indexing="ij")

        def feat(a: float, b: float) -> Tensor:
            return (a * (1 + n) + 0.7 * c + 0.3 * h * b + 0.11 * w).sin() + 0.25 * (0.5 * c * h + 0.2 * w + a).cos()

        teacher, student = feat(0.4, 1.0), feat(0.9, 1.3)
        assert student[1, 3, 5, 7].item() == pytest.approx(0.0978758742, abs=1e-10)
        arguments = (student, teacher, [boxes((8, 8, 40, 30), (20, 16, 28, 24)), boxes()], [(48, 64)] * 2, (48, 64))
        loss = FGDLoss(4, 4, **UNIT).double()
        terms = loss.compare(*arguments)
        assert terms.parts["foreground"].item() == pytest.approx(0.7460510803, abs=1e-9)
        assert terms.parts["background"].item() == pytest.approx(2.1382976385, abs=1e-9)
        assert terms.parts["attention"].item() == pytest.approx(10.0246424088, abs=1e-9)
        assert terms.parts["relation"].item() == pytest.approx(100.3023765535, abs=1e-9)
        _fill(loss.student_context, sign=1.0)
        _fill(loss.teacher_context, sign=-1.0)
        assert loss.compare(*arguments).parts["relation"].item() == pytest.approx(74.7276937575, abs=1e-9)

    def test_masks_equal_the_independent_numbers(self) -> None:
        gt = [boxes((8, 8, 40, 30), (20, 16, 28, 24)), boxes()]
        ((mask, background),) = scale_masks(gt, [(48, 64)] * 2, [torch.zeros(2, 1, 6, 8).double()])
        expected = torch.zeros(6, 8, dtype=torch.float64)
        expected[1:5, 1:6] = 0.05
        expected[2:4, 2:5] = 1 / 6
        torch.testing.assert_close(mask[0], expected)
        assert mask[1].sum() == 0
        torch.testing.assert_close(background.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def _fill(block: ContextBlock, *, sign: float) -> None:
    first, last = block.transform[0], block.transform[3]
    assert isinstance(first, nn.Conv2d) and isinstance(last, nn.Conv2d) and last.bias is not None
    with torch.no_grad():
        block.pool.weight.fill_(0.1)
        first.weight.copy_(((torch.arange(8, dtype=torch.float64) - 3) / 10).view(2, 4, 1, 1))
        assert first.bias is not None
        first.bias.zero_()
        last.weight.copy_((sign * 0.05 * torch.arange(8, dtype=torch.float64)).view(4, 2, 1, 1))
        last.bias.fill_(sign * 0.01)


def foreground(gt: list[Tensor], sizes: list[tuple[int, int]], features: Tensor) -> Tensor:
    return scale_masks(gt, sizes, [features])[0].foreground


class TestMask:
    def test_geometric_uses_true_positions_in_a_padded_batch(self) -> None:
        features = torch.zeros(1, 1, 10, 12)
        mask = foreground([boxes((8, 16, 23.5, 39.5))], [(80, 96)], features)
        rows, columns = mask[0].nonzero().unbind(1)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 1, 3)

    def test_official_scales_boxes_by_the_padding(self) -> None:
        student, teacher = waves(1, 4, 10, 12)
        arguments = (student, teacher, [boxes((8, 16, 40, 56))], [(56, 64)], (80, 96))
        official = FGDLoss(4, 4, **UNIT, mask="official").double().compare(*arguments)
        geometric = FGDLoss(4, 4, **UNIT).double().compare(*arguments)
        unpadded = FGDLoss(4, 4, **UNIT, mask="official").double().compare(*arguments[:3], [(80, 96)], (80, 96))
        assert geometric.parts["foreground"].item() == pytest.approx(unpadded.parts["foreground"].item(), rel=1e-12)
        assert abs(official.parts["foreground"].item() - geometric.parts["foreground"].item()) > 0.1

    def test_many_boxes_equal_one_box_at_a_time(self) -> None:
        generator = torch.Generator().manual_seed(0)
        corner = torch.rand(150, 2, generator=generator) * 60
        many = torch.cat([corner, corner + 4 + torch.rand(150, 2, generator=generator) * 20], 1)
        features = torch.zeros(1, 1, 10, 12)
        mask = foreground([many], [(80, 96)], features)
        one_by_one = torch.stack([foreground([box[None]], [(80, 96)], features) for box in many]).amax(0)
        torch.testing.assert_close(mask, one_by_one)

    def test_a_box_beyond_the_border_keeps_the_weight_of_its_cells_inside(self) -> None:
        features = torch.zeros(1, 1, 4, 4)
        mask = foreground([boxes((-16, -16, 8, 8))], [(32, 32)], features)
        expected = torch.zeros(4, 4)
        expected[:2, :2] = 1 / 16  # cells -2..1 in both directions, of which 0..1 lie on the map
        torch.testing.assert_close(mask[0], expected)
        assert foreground([boxes((-90, -90, -50, -50))], [(32, 32)], features).sum() == 0


def tiled(features: Tensor) -> Tensor:
    """Repeat a map (N, C, H, W) twice in both directions, as a network sees an image of four times the area."""
    return features.repeat(1, 1, 2, 2)


class TestNormalise:
    @pytest.mark.parametrize("method", [Fgd(), Fgd(normalise="hw")], ids=["none", "hw"])
    def test_keeps_the_terms_of_larger_images_only_if_asked(self, method: Fgd) -> None:
        student, teacher = waves(2, 8, 10, 12)
        loss = FGDLoss(8, 8, **UNIT, cell_factor=method.cell_factor).double()
        small = loss.compare(student, teacher, [boxes()] * 2, UNPADDED, (80, 96)).parts
        large = loss.compare(tiled(student), tiled(teacher), [boxes()] * 2, [(160, 192)] * 2, (160, 192)).parts
        growth = 1 if method.normalise == "hw" else 4
        assert large["relation"].item() == pytest.approx(growth * small["relation"].item())
        assert large["background"].item() == pytest.approx(small["background"].item())
        if growth == 1:
            # The channels' half of the attention loss never grows.
            channels = self.channels(student, teacher)
            spatial = [parts["attention"].item() - channels for parts in (small, large)]
            assert spatial[0] == pytest.approx(spatial[1]) and spatial[0] > 0

    @staticmethod
    def channels(student: Tensor, teacher: Tensor) -> float:
        (_, ours), (_, theirs) = (attention(each, UNIT["temperature"]) for each in (student, teacher))
        return (ours - theirs).abs().sum().item() / len(student)

    def test_changes_nothing_at_the_published_size(self) -> None:
        assert Fgd(normalise="hw").cell_factor((800, 1333)) == 1
        assert Mgd(normalise="hw").cell_factor((400, 1333)) == 2
        assert Ikd().cell_factor((400, 1333)) == 1


class TestAutomaticTemperature:
    SETTINGS: ClassVar[dict[str, Any]] = {**UNIT, "temperature": "auto"}

    def test_gives_features_of_any_magnitude_the_same_attention(self) -> None:
        student, teacher = waves(2, 8, 10, 12)
        loss = FGDLoss(8, 8, **self.SETTINGS).double()
        terms = [
            loss.compare(factor * student, factor * teacher, [boxes()] * 2, UNPADDED, (80, 96)).parts["attention"]
            for factor in (1, 8, 0.01)
        ]
        assert terms[1].item() == pytest.approx(terms[0].item()) == pytest.approx(terms[2].item())

    def test_is_the_published_one_at_the_published_magnitude(self) -> None:
        """Each image has its own, so the other images of a batch do not matter."""
        student, teacher = waves(2, 8, 10, 12)
        teacher = teacher * 0.5 / teacher.abs().mean((1, 2, 3), keepdim=True)
        arguments = (student, teacher, CASES["A_nopad"][2], UNPADDED, (80, 96))
        published, found = (FGDLoss(8, 8, **each).double().compare(*arguments) for each in (UNIT, self.SETTINGS))
        for name in ("foreground", "background", "attention"):
            assert found.parts[name].item() == pytest.approx(published.parts[name].item())

    def test_is_finite_for_a_teacher_without_features(self) -> None:
        student = waves(2, 8, 10, 12)[0].float()
        loss = FGDLoss(8, 8, **self.SETTINGS)
        terms = loss.compare(student, torch.zeros_like(student), [boxes()] * 2, UNPADDED, (80, 96))
        assert terms.total.isfinite()


class TestEdges:
    @pytest.mark.parametrize(
        "gt",
        [
            [boxes(), boxes()],
            [boxes((-50, -50, 500, 500)), boxes((90, 70, 96.5, 80.5))],
            [boxes((5, 5, 5, 5)), boxes((-9, -9, -5, -5))],
        ],
        ids=["no boxes", "past the border", "no area and outside"],
    )
    def test_is_finite(self, gt: list[Tensor]) -> None:
        student, teacher = (x.float().requires_grad_() for x in waves(2, 8, 10, 12))
        terms = FGDLoss(8, 8, **UNIT).compare(student, teacher, gt, UNPADDED, (80, 96))
        terms.total.backward()
        assert all(term.isfinite() for term in terms.parts.values())
        assert student.grad is not None and student.grad.isfinite().all()

    def test_sums_in_float32_under_bfloat16_autocast(self) -> None:
        student, teacher = (x.float() for x in waves(2, 8, 10, 12))
        gt = CASES["A_nopad"][2]
        loss = FGDLoss(8, 8, **UNIT)
        exact = loss.compare(student, teacher, gt, UNPADDED, (80, 96))
        with torch.autocast("cpu", torch.bfloat16):
            terms = loss.compare(student.bfloat16(), teacher.bfloat16(), gt, UNPADDED, (80, 96))
        for name, term in terms.parts.items():
            assert term.dtype == torch.float32
            assert term.item() == pytest.approx(exact.parts[name].item(), rel=0.02)

    @pytest.mark.parametrize("offset", [1.0, 30.0, 1000.0])
    @pytest.mark.parametrize("grid", [(1, 1), (8, 8), (50, 76)], ids=str)
    def test_the_relation_is_exact_if_a_trained_context_cancels_an_offset(
        self, offset: float, grid: tuple[int, int]
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        teacher = torch.randn(2, 8, *grid, generator=generator)
        shift = offset * torch.linspace(-1, 1, 8)
        student = teacher + shift[:, None, None] + torch.randn(2, 8, *grid, generator=generator)
        loss = FGDLoss(8, 8, **UNIT)
        last = loss.student_context.transform[3]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        with torch.no_grad():
            last.bias.copy_(-shift)
        arguments = ([boxes(), boxes()], [(80, 96)] * 2, (80, 96))
        found = loss.compare(student, teacher, *arguments).parts["relation"].item()
        expected = loss.double().compare(student.double(), teacher.double(), *arguments).parts["relation"].item()
        assert found == pytest.approx(expected, rel=1e-5)

    def test_gradients_reach_the_student_and_the_method_but_not_the_teacher(self) -> None:
        student, teacher = (x.float().requires_grad_() for x in waves(2, 8, 10, 12))
        loss = FGDLoss(8, 8, **UNIT)
        loss.compare(student, teacher, CASES["A_nopad"][2], UNPADDED, (80, 96)).total.backward()
        assert teacher.grad is None
        assert student.grad is not None and student.grad.norm() > 0
        assert all(parameter.grad is not None for parameter in loss.parameters())

    def test_a_trained_convolution_adapts_a_narrower_student(self) -> None:
        student, teacher = waves(2, 4, 10, 12)[0].float(), waves(2, 8, 10, 12)[1].float()
        loss = FGDLoss(4, 8, **UNIT)
        loss.compare(student, teacher, CASES["A_nopad"][2], UNPADDED, (80, 96)).total.backward()
        assert isinstance(loss.adapter, nn.Conv2d) and loss.adapter.weight.grad is not None
        assert loss.adapter.weight.grad.norm() > 0

    def test_levels_of_different_stride_are_refused(self) -> None:
        with pytest.raises(ValueError, match="same stride"):
            FGDLoss(8, 8, **UNIT).compare(
                torch.zeros(1, 8, 10, 12), torch.zeros(1, 8, 5, 6), [boxes()], [(80, 96)], (80, 96)
            )

    def test_gradients_equal_finite_differences(self) -> None:
        student, teacher = waves(1, 4, 3, 4)
        loss = FGDLoss(4, 4, **UNIT).double()
        _fill(loss.student_context, sign=1.0)
        gt = [boxes((4, 4, 20, 14))]
        assert torch.autograd.gradcheck(
            lambda s: loss.compare(s, teacher, gt, [(24, 32)], (24, 32)).total, student.requires_grad_()
        )


class TestAdvice:
    def maps(self, *magnitudes: float) -> dict[str, Tensor]:
        """Build maps with the given mean magnitudes, whose channels differ in strength."""
        torch.manual_seed(0)
        maps = [torch.randn(2, 64, 8, 8) * torch.rand(64, 1, 1) for _ in magnitudes]
        scaled = [m * size / m.abs().mean() for m, size in zip(maps, magnitudes, strict=True)]
        return {f"P{level}": m for level, m in enumerate(scaled, start=3)}

    def test_advises_a_better_temperature_for_large_features(self) -> None:
        maps = self.maps(4, 4, 4)
        advice = advise_temperature(0.05, maps)
        assert advice is not None and "set method.temperature to 4," in advice
        assert advise_temperature(4, maps) is None

    def test_one_outlying_level_does_not_set_the_temperature(self) -> None:
        maps = self.maps(4, 4, 4.5, 5, 400)
        advice = advise_temperature(0.05, maps)
        assert advice is not None
        assert advice.count("set method.temperature to") == 1 and "set method.temperature to 4.5," in advice
        assert "ignore P7 (4e+02)" in advice

    def test_a_temperature_that_follows_the_teacher_needs_none(self) -> None:
        maps = self.maps(4, 4, 4)
        assert advise(Fgd(temperature=0.05), maps) is not None and advise(Fgd(temperature="auto"), maps) is None

    def test_following_the_advice_gives_no_further_advice(self) -> None:
        assert advise_temperature(4.5, self.maps(4, 4, 4.5, 5, 400)) is None
