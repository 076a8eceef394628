"""What was loaded is told truly, and what did not load is an error."""

from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights, retinanet_resnet50_fpn

from fgd_core.detectors import build_detector
from fgd_core.detectors.weights import inherit_neck_and_head, load_torchvision
from fgd_core.errors import NetworkError, SpecError, WeightsError
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.detectors import RetinaNet


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache, which torchvision's loading code reads before it goes to the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


class TestPretrained:
    def test_backbone_weights_load_by_torchvisions_name(self, hub: Path) -> None:
        published = resnet18()
        torch.save(published.state_dict(), hub / Path(ResNet18_Weights.IMAGENET1K_V1.url).name)
        detector = build_detector(RetinaNet(backbone=ResNet(name="resnet18"), fpn_width=16), 3)
        loaded = load_torchvision(detector, "ResNet18_Weights.IMAGENET1K_V1", role="student")
        assert loaded.num_matched == loaded.num_total == 100
        assert not loaded.missing and not loaded.unexpected
        assert torch.equal(
            detector.get_parameter("backbone.body.layer4.1.conv2.weight"), published.layer4[1].conv2.weight
        )

    def test_detector_weights_of_the_old_naming_load_all_but_the_classes(self, hub: Path) -> None:
        published = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
        old = {
            key.replace(".0.weight", ".weight").replace(".0.bias", ".bias") if "_head.conv." in key else key: value
            for key, value in published.state_dict().items()
        }
        # In that naming the four convolutions of a head are numbered 0, 2, 4, 6, activations taking the rest.
        for index in (3, 2, 1):
            old = {key.replace(f"_head.conv.{index}.", f"_head.conv.{2 * index}."): value for key, value in old.items()}
        torch.save(old, hub / Path(RetinaNet_ResNet50_FPN_Weights.COCO_V1.url).name)
        detector = build_detector(RetinaNet(), 3)
        loaded = load_torchvision(detector, "RetinaNet_ResNet50_FPN_Weights.COCO_V1", role="teacher")
        assert not loaded.missing and not loaded.unexpected
        assert [name.split(":")[0] for name in loaded.mismatched] == [
            "head.classification_head.cls_logits.weight",
            "head.classification_head.cls_logits.bias",
        ]
        name = "head.regression_head.conv.3.0.weight"
        assert torch.equal(detector.get_parameter(name), published.get_parameter(name))

    def test_a_narrow_network_is_told_that_they_do_not_fit(self, hub: Path) -> None:
        torch.save(resnet18().state_dict(), hub / Path(ResNet18_Weights.IMAGENET1K_V1.url).name)
        detector = build_detector(RetinaNet(backbone=ResNet(name="resnet18", stem_width=16), fpn_width=16), 3)
        with pytest.raises(WeightsError, match="stem_width 64"):
            load_torchvision(detector, "ResNet18_Weights.IMAGENET1K_V1", role="student")

    def test_an_unknown_name_is_answered_with_the_nearest(self) -> None:
        detector = build_detector(RetinaNet(backbone=ResNet(name="resnet18", stem_width=4), fpn_width=8), 3)
        with pytest.raises(SpecError, match=r"did you mean ResNet18_Weights\.IMAGENET1K_V1"):
            load_torchvision(detector, "ResNet18_Weights.IMAGENET", role="student")

    def test_no_network_is_said_with_the_cure(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port where nobody listens
        detector = build_detector(RetinaNet(backbone=ResNet(name="resnet18"), fpn_width=16), 3)
        with pytest.raises(NetworkError, match="hub/checkpoints") as caught:
            load_torchvision(detector, "ResNet18_Weights.IMAGENET1K_V1", role="student")
        assert "resnet18" in str(caught.value.details["url"])


class TestInheritance:
    def test_takes_neck_and_head_and_reports_what_did_not_fit(self) -> None:
        teacher = build_detector(RetinaNet(backbone=ResNet(name="resnet50", stem_width=4), fpn_width=8), 3)
        student = build_detector(RetinaNet(backbone=ResNet(name="resnet18", stem_width=4), fpn_width=8), 3)
        before = student.get_parameter("backbone.body.conv1.weight").clone()
        loaded = inherit_neck_and_head(student, teacher, source="teacher.pt")
        # A bottleneck's stages are four times as wide, so the lateral convolutions are left fresh.
        assert [name.split(":")[0] for name in loaded.mismatched] == [
            f"backbone.fpn.inner_blocks.{level}.0.weight" for level in range(3)
        ]
        assert loaded.num_total - loaded.num_matched == 3
        assert not loaded.missing
        for name in ("backbone.fpn.extra_blocks.p7.weight", "head.classification_head.cls_logits.bias"):
            assert torch.equal(student.get_parameter(name), teacher.get_parameter(name))
        assert torch.equal(student.get_parameter("backbone.body.conv1.weight"), before)

    def test_nothing_in_common_is_an_error(self) -> None:
        teacher = build_detector(RetinaNet(backbone=ResNet(name="resnet18", stem_width=4), fpn_width=16), 3)
        student = build_detector(RetinaNet(backbone=ResNet(name="resnet18", stem_width=4), fpn_width=8), 5)
        # What does not depend on the width can be handed on all the same: the biases of the box deltas.
        assert inherit_neck_and_head(student, teacher, source="t").num_matched == 1
        del student.head, teacher.head
        with pytest.raises(WeightsError, match="inherit: nothing"):
            inherit_neck_and_head(student, teacher, source="t")
