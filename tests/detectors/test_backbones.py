"""Compares backbones with torchvision's, weight by weight, and tests what fgd adds to them."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torchvision
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from fgd_core.detectors.parts.backbones import BODIES, build_body
from fgd_core.detectors.parts.body import Body, StageMaps
from fgd_core.detectors.parts.deformable import SelfDeformingConv2d
from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.spec.backbones import BackboneSpec, MobileNet, MobileNetName, ResNet
from tests.contract.test_tables import members

BACKBONE: TypeAdapter[BackboneSpec] = TypeAdapter(BackboneSpec)

# Every published network, as torchvision builds it.
THEIRS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": torchvision.models.resnet18,
    "resnet34": torchvision.models.resnet34,
    "resnet50": torchvision.models.resnet50,
    "resnet101": torchvision.models.resnet101,
    "resnet152": torchvision.models.resnet152,
    "resnext50_32x4d": torchvision.models.resnext50_32x4d,
    # torchvision has no name for this one.
    "resnext101_32x4d": lambda: TorchvisionResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4),
    "resnext101_64x4d": torchvision.models.resnext101_64x4d,
    "mobilenet_v3_large": torchvision.models.mobilenet_v3_large,
    "mobilenet_v3_small": torchvision.models.mobilenet_v3_small,
    "swin_t": torchvision.models.swin_t,
    "swin_s": torchvision.models.swin_s,
}
QUICK = {"resnet18", "resnet50", "resnext50_32x4d", "mobilenet_v3_large", "mobilenet_v3_small", "swin_t"}


def without_classifier(network: nn.Module) -> dict[str, Tensor]:
    return {
        key.removeprefix("features."): value
        for key, value in network.state_dict().items()
        if not key.startswith(("fc.", "classifier.", "norm.", "head."))
    }


def without_output_norms(body: Body) -> dict[str, Tensor]:
    added = tuple(f"{name}." for name in body.output_norms or ())
    return {key: value for key, value in body.module.state_dict().items() if not key.startswith(added)}


def outputs(body: Body, images: Tensor) -> list[Tensor]:
    """Compute the maps of stride 4 to 32."""
    return list(StageMaps(body, (4, 8, 16, 32))(images).values())


class TestAgainstTorchvision:
    @pytest.mark.parametrize("name", THEIRS)
    def test_names_and_shapes_of_all_parameters_are_equal(self, name: str) -> None:
        with torch.device("meta"):
            ours, theirs = build_body(BACKBONE.validate_python({"name": name})), THEIRS[name]()
        wanted = {key: value.shape for key, value in without_classifier(theirs).items()}
        assert {key: value.shape for key, value in without_output_norms(ours).items()} == wanted

    @pytest.mark.parametrize("name", sorted(QUICK))
    def test_outputs_are_equal_with_the_same_weights(self, name: str) -> None:
        torch.manual_seed(0)
        ours, theirs = build_body(BACKBONE.validate_python({"name": name})), THEIRS[name]().eval()
        ours.module.load_state_dict({**ours.module.state_dict(), **without_classifier(theirs)})
        images = torch.randn(1, 3, 64, 32)
        with torch.no_grad():
            maps = outputs(Body(ours.module.eval(), *ours[1:]), images)
            if name.startswith("mobilenet"):
                expected = theirs.get_submodule("features")(images)
            elif name.startswith("swin"):
                # Both norms of the last map are new.
                expected = nn.Sequential(*list(theirs.children())[:3])(images)
            else:
                expected = nn.Sequential(*list(theirs.children())[:-2])(images)
        torch.testing.assert_close(maps[-1], expected, rtol=0, atol=0)
        assert [tuple(each.shape[2:]) for each in maps] == [(16, 8), (8, 4), (4, 2), (2, 1)]
        assert tuple(each.shape[1] for each in maps) == ours.stage_channels

    def test_mobilenets_batch_norms_have_torchvisions_constants(self) -> None:
        with torch.device("meta"):
            ours, theirs = build_body(MobileNet()), torchvision.models.mobilenet_v3_large()
        kinds = [
            {(m.eps, m.momentum) for m in each.modules() if isinstance(m, nn.BatchNorm2d)}
            for each in (ours.module, theirs)
        ]
        assert kinds == [{(0.001, 0.01)}] * 2


class TestStrideIn:
    def test_the_caffe_style_strides_in_the_first_convolution(self) -> None:
        torch.manual_seed(0)
        kept = {"name": "resnet50", "stem_width": 4, "blocks": (1, 1, 1, 1)}
        pytorch, caffe = build_body(ResNet(**kept)), build_body(ResNet(**kept, stride_in="1x1"))
        caffe.module.load_state_dict(pytorch.module.state_dict())
        block = caffe.module.get_submodule("layer2.0")
        assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
        images = torch.randn(1, 3, 64, 64)
        ours, theirs = outputs(caffe, images), outputs(pytorch, images)
        assert [each.shape for each in ours] == [each.shape for each in theirs]
        torch.testing.assert_close(ours[0], theirs[0])  # the first stage does not stride
        assert not torch.allclose(ours[1], theirs[1])


class TestDeformableStages:
    @pytest.mark.parametrize(("version", "channels"), [("v1", 18), ("v2", 27)])
    def test_only_the_3x3_convolutions_of_these_stages_are_deformable(
        self, version: Literal["v1", "v2"], channels: int
    ) -> None:
        settings = ResNet(
            name="resnet50", stem_width=4, blocks=(1, 1, 2, 1), deformable_stages=(4, 5), deformable_version=version
        )
        body = build_body(settings).module
        deforms = [name for name, module in body.named_modules() if isinstance(module, SelfDeformingConv2d)]
        assert deforms == ["layer3.0.conv2", "layer3.1.conv2", "layer4.0.conv2"]
        assert body.state_dict()["layer3.0.conv2.conv_offset.weight"].shape == (channels, 16, 3, 3)

    def test_initial_offsets_do_not_change_the_network(self) -> None:
        kept: dict[str, object] = {"name": "resnext50_32x4d", "stem_width": 16, "blocks": (1, 1, 1, 1)}
        torch.manual_seed(0)
        plain, deformable = build_body(ResNet(**kept)), build_body(ResNet(**kept, deformable_stages=(3, 4, 5)))
        deformable.module.load_state_dict(plain.module.state_dict(), strict=False)
        images = torch.randn(1, 3, 64, 64)
        for one, other in zip(outputs(deformable, images), outputs(plain, images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    def test_the_offsets_get_a_gradient(self) -> None:
        settings = ResNet(name="resnet50", stem_width=4, blocks=(1, 1, 1, 1), deformable_stages=(3, 4, 5))
        body = build_body(settings)
        outputs(body, torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
        gradient = body.module.get_parameter("layer2.0.conv2.conv_offset.weight").grad
        assert gradient is not None and gradient.abs().sum() > 0


class TestFrozenStages:
    @pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
    def test_of_a_mobilenet_get_no_gradient_and_keep_their_statistics(self, name: MobileNetName) -> None:
        settings = MobileNet(name=name, width_factor=0.25, frozen_stages=2)
        pyramid = Pyramid(settings, width=8, strides=(8, 16, 32), top="P5").train()
        frozen = {name for stage in build_body(settings).stages[:2] for name in stage}
        before = {key: value.clone() for key, value in pyramid.body.state_dict().items()}
        torch.stack([each.sum() for each in pyramid.maps(torch.randn(2, 3, 64, 64))]).sum().backward()
        for key, parameter in pyramid.body.named_parameters():
            assert (parameter.grad is None) == (key.split(".")[0] in frozen), key
        moved = {key for key, value in pyramid.body.state_dict().items() if not torch.equal(value, before[key])}
        assert moved and not {key.split(".")[0] for key in moved} & frozen


class TestSpec:
    def test_every_backbone_of_the_spec_is_built(self) -> None:
        assert members(BackboneSpec) == set(BODIES)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (
                {"name": "resnet18", "deformable_stages": [3, 4, 5]},
                "deformable_stages needs bottleneck blocks.*choose resnet50",
            ),
            ({"name": "resnet34", "stride_in": "1x1"}, "stride_in needs bottleneck blocks"),
            ({"name": "resnext50_32x4d", "stem_width": 8}, "set stem_width to at least 16"),
        ],
    )
    def test_incompatible_fields_are_refused_with_the_cure(self, fields: dict[str, object], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            BACKBONE.validate_python(fields)
