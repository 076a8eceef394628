"""Cross-head distillation on tiny detectors."""

import pytest

from fgd_core.errors import SpecError
from fgd_core.spec.methods import CrossKd
from tests.methods.lessons import batch, detector, distil, settings

TOWER_KINDS = ("retinanet", "fcos", "gfl")


class TestLoss:
    @pytest.mark.parametrize("kind", TOWER_KINDS)
    def test_of_a_student_equal_to_its_teacher_is_almost_zero(self, kind: str) -> None:
        """Almost: the deviations that the maps are divided and multiplied by differ by an epsilon."""
        # The boxes of a new FCOS have no area, so no two of them overlap.
        method = CrossKd(boxes=0) if kind == "fcos" else CrossKd()
        student, teacher, other = (detector(kind, seed).eval() for seed in (0, 0, 1))
        equal = distil(method, student, teacher, batch())[0].item()
        assert equal < 0.02 * distil(method, other, teacher, batch())[0].item()

    @pytest.mark.parametrize("depth", [1, 3, 4])
    def test_trains_the_student_up_to_the_cut_and_nothing_behind_it(self, depth: int) -> None:
        student, teacher = detector("gfl", 0), detector("gfl", 1)
        total, _ = distil(CrossKd(depth=depth), student, teacher, batch())
        total.backward()
        trained = {name for name, each in student.named_parameters() if each.grad is not None and each.grad.any()}
        for branch in ("cls_convs", "reg_convs"):
            blocks = {name.split(".")[2] for name in trained if branch in name}
            assert blocks == {str(index) for index in range(depth)}
        assert not any("gfl_" in name for name in trained)
        assert any(name.startswith("backbone.") for name in trained)

    def test_does_not_depend_on_the_scale_of_the_students_maps(self) -> None:
        """Except for the epsilon: the channels get the statistics of the teacher's."""
        student, teacher = detector("gfl", 0).eval(), detector("gfl", 1)
        before = distil(CrossKd(depth=1), student, teacher, batch())[0].item()
        for norm in (student.head.cls_convs[0].gn, student.head.reg_convs[0].gn):  # type: ignore[union-attr,index]
            norm.weight.data *= 3
            norm.bias.data += 1
        assert distil(CrossKd(depth=1), student, teacher, batch())[0].item() == pytest.approx(before, rel=1e-3)

    def test_compares_distributions_where_the_detector_has_them(self) -> None:
        for kind, expected in (("retinanet", {"classes", "boxes"}), ("gfl", {"classes", "boxes", "sides"})):
            _, values = distil(CrossKd(), detector(kind, 0), detector(kind, 1), batch())
            assert set(values) == expected | {"head", "total"}

    def test_of_published_gfl_weighs_distributions_and_not_boxes(self) -> None:
        method = CrossKd().published(settings("gfl"), None)
        _, values = distil(method, detector("gfl", 0), detector("gfl", 1), batch())
        assert values["total"] == pytest.approx(values["classes"] + 4 * values["sides"], rel=1e-5)


class TestNeeds:
    def test_one_kind_of_detector(self) -> None:
        (unmet,) = CrossKd().unmet(settings("retinanet"), settings("fcos"))
        assert unmet.loc == "teacher.detector" and "retinanet" in unmet.message and "fcos" in unmet.message

    def test_equal_bins(self) -> None:
        (unmet,) = CrossKd().unmet(settings("gfl"), settings("gfl", reg_max=8))
        assert unmet.loc == "student.reg_max"

    def test_distributions_if_they_have_a_weight(self) -> None:
        (unmet,) = CrossKd(sides=4).unmet(settings("fcos"), settings("fcos"))
        assert unmet.loc == "method.sides"

    def test_equal_strides_on_the_students_image(self) -> None:
        with pytest.raises(SpecError, match=r"teacher.input_scale 1"):
            distil(CrossKd(), detector("gfl", 0), detector("gfl", 1, scale=2.0), batch())

    def test_no_classes_in_common(self) -> None:
        """Both outputs are the teacher's, so their classes need not be the data's."""
        total, _ = distil(CrossKd(), detector("gfl", 0), detector("gfl", 1, num_classes=5), batch())
        assert total > 0
