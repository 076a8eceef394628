"""A wrong detector or backbone is refused with its path and the possible values."""

from typing import Any

import pytest
from pydantic import ValidationError

from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.refusals import spec_reasons
from tests.library import distill_spec, train_spec


def refused(detector: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        JOB_SPEC.validate_python(train_spec().model_dump(mode="json") | {"detector": detector})
    return {reason.loc: reason.message for reason in spec_reasons(caught.value)}


class TestKindsOfDetectors:
    def test_a_missing_type_is_answered_with_all_types(self) -> None:
        found = refused({})
        assert list(found) == ["detector"]
        assert found["detector"].startswith("the field 'type' is required; one of ")
        assert "retinanet" in found["detector"]

    def test_an_unknown_type_is_answered_with_the_nearest(self) -> None:
        assert refused({"type": "retinanot"}) == {
            "detector": "'type' 'retinanot' is unknown; did you mean 'retinanet'?"
        }


class TestKindsOfBackbones:
    @pytest.mark.parametrize(
        ("backbone", "loc", "message"),
        [
            ({"norm": "group"}, "", "the field 'name' is required; one of "),
            ({"name": "resnet19"}, "", "'name' 'resnet19' is unknown; did you mean 'resnet18'?"),
            ({"name": None}, "", "'name' 'None' is unknown; known are mobilenet_v3_large, "),
            ({"name": "resnet18", "widht": 1}, ".widht", "there is no field 'widht' here"),
            (
                {"name": "mobilenet_v3_large", "stem_width": 8},
                ".stem_width",
                "no field 'stem_width' here; known are fr",
            ),
            ({"name": "resnet50", "stem_width": 1}, ".stem_width", "greater than or equal to 4, and not 1"),
            ({"name": "resnet18", "deformable_stages": [5]}, "", "deformable_stages needs bottleneck blocks"),
            ({"name": "resnet50", "deformable_stages": [1]}, ".deformable_stages.0", "1 is not a possible value"),
        ],
    )
    def test_a_fault_has_its_path_and_its_cure(self, backbone: dict[str, Any], loc: str, message: str) -> None:
        found = refused({"type": "retinanet", "backbone": backbone})
        assert list(found) == [f"detector.backbone{loc}"]
        assert message in found[f"detector.backbone{loc}"]


def test_a_field_of_several_types_has_one_reason_with_the_path_that_the_user_wrote() -> None:
    with pytest.raises(ValidationError) as caught:
        JOB_SPEC.validate_python(
            distill_spec("/t.pt").model_dump(mode="json") | {"method": {"temperature": "automatic"}}
        )
    (reason,) = spec_reasons(caught.value)
    assert reason.loc == "method.temperature"
    assert "number" in reason.message and "'automatic' is not a possible value; write 'auto'" in reason.message
