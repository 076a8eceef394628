"""Checkpoints of mmdetection load completely, compute the same as in mmdetection, and run no code."""

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional

from fgd_core.data import loading
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.classes import COCO_CLASSES
from fgd_core.detectors.weights.files import WeightsFile, read_weights
from fgd_core.detectors.weights.matching import LoadResult, load_weights
from fgd_core.detectors.weights.mmdetection import mmdetection_weights
from fgd_core.detectors.weights.mmdetection.pixels import CAFFE, OURS, pixels_from_config
from fgd_core.detectors.weights.outputs import identify_outputs
from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet, Swin
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from tests.detectors import mmdetection_layouts as layouts
from tests.detectors.mmdetection_layouts import Layout, Sizes, SwinSizes, filled

CLASSES = ("cat", "dog", "bird")
SMALL = Sizes(blocks=(1, 1, 1, 1), stem=4, is_basic=True, width=8, representation=32, classes=3)
SMALL_BODY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))

# By detector: its layout, its settings, the sizes that belong to these settings.
KINDS: dict[str, tuple[Callable[[Sizes], Layout], type[AnyDetector], dict[str, object], dict[str, object]]] = {
    "retinanet": (layouts.retinanet, spec.RetinaNet, {"convention": "mmdetection"}, {}),
    "fcos": (layouts.fcos, spec.Fcos, {"convention": "mmdetection", "version": "v1"}, {"tower_norm": True}),
    "fcos improved": (
        layouts.fcos,
        spec.Fcos,
        {"convention": "mmdetection", "version": "v2"},
        {"tower_norm": True, "tower_bias": True},
    ),
    "gfl": (layouts.gfl, spec.Gfl, {}, {"tower_norm": True}),
    "reppoints": (layouts.reppoints, spec.RepPoints, {"norm": "none"}, {}),
    "reppoints with norms": (
        layouts.reppoints,
        spec.RepPoints,
        {"norm": "group"},
        {"tower_norm": True, "neck_norm": True},
    ),
    "faster_rcnn": (layouts.faster_rcnn, spec.FasterRcnn, {"convention": "mmdetection"}, {}),
    "mask_rcnn": (layouts.mask_rcnn, spec.MaskRcnn, {"convention": "mmdetection"}, {}),
    "cascade_rcnn": (layouts.cascade_rcnn, spec.CascadeRcnn, {}, {}),
    "cascade_mask_rcnn": (layouts.cascade_mask_rcnn, spec.CascadeMaskRcnn, {}, {}),
    "solo": (layouts.solo, spec.Solo, {}, {}),
}

# By backbone: its settings and its sizes.
BODIES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "resnet18": ({"name": "resnet18"}, {"blocks": (2, 2, 2, 2), "is_basic": True}),
    "resnet34": ({"name": "resnet34"}, {"blocks": (3, 4, 6, 3), "is_basic": True}),
    "resnet50": ({"name": "resnet50"}, {"blocks": (3, 4, 6, 3)}),
    "resnet50 with group norm": ({"name": "resnet50", "norm": "group"}, {"body_norm": "gn"}),
    "resnet101": ({"name": "resnet101"}, {"blocks": (3, 4, 23, 3)}),
    "resnext101_64x4d": (
        {"name": "resnext101_64x4d"},
        {"blocks": (3, 4, 23, 3), "groups": 64, "base_width": 4},
    ),
    "resnext101_32x4d, deformed": (
        {"name": "resnext101_32x4d", "deformable_stages": [3, 4, 5]},
        {"blocks": (3, 4, 23, 3), "groups": 32, "base_width": 4, "deformed": (2, 3, 4)},
    ),
    "resnet50, modulated": (
        {"name": "resnet50", "deformable_stages": [3, 4, 5], "deformable_version": "v2"},
        {"deformed": (2, 3, 4), "numbers_per_point": 3},
    ),
    "swin_t": ({"name": "swin_t"}, {"swin": SwinSizes()}),
    "swin_s": ({"name": "swin_s"}, {"swin": SwinSizes(blocks=(2, 2, 18, 2))}),
}


def small(kind: str) -> tuple[DetectorSpec, Layout]:
    layout, settings, fields, sizes = KINDS[kind]
    width = {"representation_size": 32} if issubclass(settings, spec.TwoStage) else {}
    return settings(backbone=SMALL_BODY, fpn_width=8, **fields, **width), layout(replace(SMALL, **sizes))  # type: ignore[return-value]


def a_file(state: dict[str, Tensor], config: str = "", **fields: object) -> WeightsFile:
    given = {"path": Path("epoch_12.pth"), "classes": CLASSES, "version": "2.28.0", **fields}
    return WeightsFile(state=state, config=config, **given)


def load(
    settings: DetectorSpec, file: WeightsFile, own_classes: tuple[str, ...] = CLASSES
) -> tuple[Detector, LoadResult]:
    detector = build_detector(settings, len(own_classes)).eval()
    weights = mmdetection_weights(file, settings, file.classes or CLASSES)
    return detector, load_weights(detector, weights, classes=own_classes, role="teacher", source="epoch_12.pth")


def layer(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestNamesAndShapes:
    def test_a_small_checkpoint_loads_completely(self, kind: str) -> None:
        settings, layout = small(kind)
        _, loaded = load(settings, a_file(filled(layout)))
        assert loaded.is_complete, (loaded.event.missing, loaded.event.mismatched, loaded.event.unexpected)
        named = {key.key for key in loaded.keys}
        assert named == {key for key in layout if "num_batches" not in key}

    def test_a_published_checkpoint_loads_completely(self, kind: str) -> None:
        layout, settings, fields, sizes = KINDS[kind]
        with torch.device("meta"):
            _, loaded = load(
                settings(backbone=ResNet(), **fields),  # type: ignore[arg-type]
                a_file(filled(layout(Sizes(**sizes)), device="meta"), classes=COCO_CLASSES),
                COCO_CLASSES,
            )
        assert loaded.is_complete, (loaded.event.missing, loaded.event.mismatched, loaded.event.unexpected)

    @pytest.mark.parametrize("body", BODIES)
    def test_every_backbone_loads_completely(self, body: str) -> None:
        backbone, sizes = BODIES[body]
        settings = spec.FasterRcnn.model_validate({"backbone": backbone, "convention": "mmdetection"})
        with torch.device("meta"):
            state = filled(layouts.faster_rcnn(Sizes(**sizes)), device="meta")
            _, loaded = load(settings, a_file(state, classes=COCO_CLASSES), COCO_CLASSES)
        assert loaded.is_complete, (loaded.event.missing, loaded.event.mismatched, loaded.event.unexpected)

    def test_renamed_misshapen_and_missing_keys_are_reported(self, kind: str) -> None:
        settings, layout = small(kind)
        state = filled(layout)
        weights = [key for key in layout if not key.startswith("backbone") and key.endswith("weight")]
        renamed, misshapen, missing = weights[0], weights[1], weights[-1]
        state["neck.of_another.weight"] = state.pop(renamed)
        state[misshapen] = state[misshapen][:-1]
        del state[missing]
        _, loaded = load(settings, a_file(state))
        event = loaded.event
        assert not loaded.is_complete
        assert event.unexpected == ["neck.of_another.weight"]
        assert len(event.missing) == 2
        (mismatch,) = event.mismatched
        assert misshapen in mismatch and str(tuple(state[misshapen].shape)) in mismatch
        assert event.num_total - event.num_matched == 3

    def test_every_detector_has_a_layout(self) -> None:
        # mmdetection has no Keypoint R-CNN.
        assert {settings for _, settings, _, _ in KINDS.values()} == set(DETECTORS) - {spec.KeypointRcnn}

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("neck.fpn_convs.0.weight", "neck.fpn_convs.0.conv.weight"),
            ("bbox_head.cls_convs.1.bias", "bbox_head.cls_convs.1.conv.bias"),
        ],
    )
    def test_names_of_older_releases_load(self, old: str, new: str) -> None:
        settings, layout = small("retinanet")
        state = filled(layout)
        state[old] = state.pop(new)
        assert load(settings, a_file(state))[1].is_complete

    def test_two_names_for_one_parameter_are_not_merged(self) -> None:
        settings, layout = small("retinanet")
        state = filled(layout)
        state["neck.fpn_convs.0.weight"] = state["neck.fpn_convs.0.conv.weight"] + 1
        _, loaded = load(settings, a_file(state))
        assert loaded.event.unexpected == ["neck.fpn_convs.0.weight"]

    def test_constants_are_left_out_and_reported(self) -> None:
        settings, layout = small("gfl")
        _, loaded = load(settings, a_file(filled(layout)))
        assert [key.key for key in loaded.keys if key.status == "left out"] == ["bbox_head.integral.project"]


class TestClasses:
    def test_boxes_scores_and_masks_keep_their_class(self) -> None:
        settings, layout = small("mask_rcnn")
        state = filled(layout)
        detector, loaded = load(settings, a_file(state), ("bird", "cow", "cat"))
        assert loaded.event.classes_fresh == ["cow"]
        heads: Any = detector.get_submodule("roi_heads")
        features = torch.randn(2, 32)
        logits, deltas = heads.box_predictor(features)
        theirs = functional.linear(
            features, state["roi_head.bbox_head.fc_cls.weight"], state["roi_head.bbox_head.fc_cls.bias"]
        )
        boxes = functional.linear(
            features, state["roi_head.bbox_head.fc_reg.weight"], state["roi_head.bbox_head.fc_reg.bias"]
        )
        # There: cat, dog, bird, background. Here: background, bird, cow, cat.
        assert torch.allclose(logits[:, [0, 1, 3]], theirs[:, [3, 2, 0]])
        assert torch.allclose(deltas.view(2, -1, 4)[:, [0, 2]], boxes.view(2, -1, 4)[:, [2, 0]])
        maps = torch.randn(1, 8, 14, 14)
        masks = heads.mask_predictor(maps)
        upsample = layer(state, "roi_head.mask_head.upsample")
        doubled = functional.conv_transpose2d(maps, *upsample, stride=2).relu()
        drawn = functional.conv2d(doubled, *layer(state, "roi_head.mask_head.conv_logits"))
        assert torch.allclose(masks[:, [0, 2]], drawn[:, [2, 0]], atol=1e-6)

    def test_logits_of_all_anchors_keep_their_class(self) -> None:
        settings, layout = small("retinanet")
        state = filled(layout)
        detector, _ = load(settings, a_file(state), ("bird", "cat"))
        maps = torch.randn(1, 8, 2, 3)
        head: Any = detector.get_submodule("head")
        ours = head([maps])["cls_logits"]  # (1, 54, 2)
        tower = maps
        for index in range(4):
            tower = functional.conv2d(tower, *layer(state, f"bbox_head.cls_convs.{index}.conv"), padding=1).relu()
        logits = functional.conv2d(tower, *layer(state, "bbox_head.retina_cls"), padding=1)
        # mmdetection reads the channels of a cell as 9 anchors of 3 classes.
        theirs = logits.permute(0, 2, 3, 1).reshape(1, -1, 3)
        assert torch.allclose(ours, theirs[..., [2, 0]], atol=1e-5)

    def test_a_file_without_names_has_cocos_unless_the_user_names_them(self) -> None:
        file = a_file(filled(layouts.retinanet(replace(SMALL, classes=80))), classes=None)
        assert identify_outputs(file, None).names == COCO_CLASSES
        cells = a_file(filled(layouts.retinanet(replace(SMALL, classes=1))), classes=None)
        assert identify_outputs(cells, ["cell"]).names == ("cell",)

    def test_boxes_for_all_classes_are_not_class_rows(self) -> None:
        settings, _ = small("cascade_rcnn")
        state = filled(layouts.cascade_rcnn(replace(SMALL, classes=1)))
        _, loaded = load(settings, a_file(state, classes=("cat",)), ("cat", "dog"))
        assert loaded.is_complete


class TestPixels:
    CAFFE_CONFIG = "mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False"

    def test_our_normalisation_is_the_loaders(self) -> None:
        assert np.allclose(OURS.mean, loading.MEAN.ravel()) and np.allclose(OURS.std, loading.STD.ravel())

    def test_the_normalisation_is_read_from_a_configuration(self) -> None:
        assert pixels_from_config(f"img_norm_cfg = dict({self.CAFFE_CONFIG})") == CAFFE
        newer = "data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)"
        assert pixels_from_config(newer) == OURS
        other = "bbox_coder=dict(target_means=[0.0, 0.0, 0.0, 0.0]), init_cfg=dict(std=0.01, mean=[0]), "
        assert pixels_from_config(f"{other} {self.CAFFE_CONFIG}") == CAFFE
        assert pixels_from_config("model = dict()") is None

    def test_a_bgr_network_computes_the_same_maps_from_our_images(self) -> None:
        settings, layout = small("retinanet")
        state = filled(layout)
        imported, _ = load(settings, a_file(state, self.CAFFE_CONFIG))
        theirs, _ = load(settings, a_file(state))  # nothing folded: it expects mmdetection's images
        rgb = torch.randint(0, 256, (1, 3, 60, 50)).float()
        bgr = rgb.flip(1) - torch.tensor(CAFFE.mean)[:, None, None]
        ours = (rgb - torch.tensor(OURS.mean)[:, None, None]) / torch.tensor(OURS.std)[:, None, None]
        pad = (0, 14, 0, 4)  # zeros after normalisation, in both
        with torch.no_grad():
            for map_here, map_there in zip(
                imported.features(functional.pad(ours, pad)), theirs.features(functional.pad(bgr, pad)), strict=True
            ):
                assert torch.allclose(map_here, map_there, rtol=1e-4, atol=1e-4 * float(map_there.abs().max()))

    def test_other_means_are_corrected_inside_the_image(self) -> None:
        settings, layout = small("retinanet")
        state = filled(layout)
        config = "mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0], to_rgb=False"
        file = a_file(state, config)
        imported, _ = load(settings, file)
        assert "except at the outermost pixels" in mmdetection_weights(file, settings, CLASSES).notes[-1]
        rgb = torch.randint(0, 256, (1, 3, 64, 64)).float()
        bgr = rgb.flip(1) - torch.tensor([102.9801, 115.9465, 122.7717])[:, None, None]
        ours = (rgb - torch.tensor(OURS.mean)[:, None, None]) / torch.tensor(OURS.std)[:, None, None]
        norm = {name: state[f"backbone.bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")}
        there = functional.batch_norm(
            functional.conv2d(bgr, state["backbone.conv1.weight"], stride=2, padding=3), **norm
        )
        body: Any = imported.get_submodule("backbone.body")
        here = body.bn1(body.conv1(ours))
        assert torch.allclose(here[..., 2:-2, 2:-2], there[..., 2:-2, 2:-2], atol=1e-3)

    def test_the_style_of_the_backbone_is_the_fallback(self) -> None:
        sizes = replace(SMALL, is_basic=False)
        body = ResNet(name="resnet50", stem_width=4, blocks=(1, 1, 1, 1), stride_in="1x1")
        settings = spec.RetinaNet(backbone=body, fpn_width=8, convention="mmdetection")
        state = filled(layouts.retinanet(sizes))
        detector, _ = load(settings, a_file(state))
        expected = state["backbone.conv1.weight"].flip(1) * torch.tensor(OURS.std)[:, None, None]
        assert torch.allclose(detector.get_parameter("backbone.body.conv1.weight"), expected)


class TestSettings:
    @pytest.mark.parametrize(
        ("kind", "fields", "sizes", "details"),
        [
            ("retinanet", {"convention": "torchvision"}, {}, {"convention": "mmdetection"}),
            ("retinanet", {"head_norm": "group"}, {}, {"head_norm": "none"}),
            ("fcos", {"version": "v2"}, {}, {"version": "v1"}),
            ("fcos improved", {"version": "v1"}, {}, {"version": "v2"}),
            ("reppoints with norms", {"norm": "none"}, {}, {"norm": "group"}),
            ("faster_rcnn", {"backbone": ResNet(name="resnet101")}, {}, {"backbone.name": "resnet50"}),
            (
                "faster_rcnn",
                {"backbone": ResNet(name="resnext101_64x4d")},
                {
                    "blocks": (3, 4, 23, 3),
                    "groups": 32,
                    "base_width": 4,
                    "deformed": (2, 3, 4),
                },
                {"backbone.name": "resnext101_32x4d", "backbone.deformable_stages": [3, 4, 5]},
            ),
            ("mask_rcnn", {"backbone": ResNet()}, {"swin": SwinSizes()}, {"backbone.name": "swin_t"}),
            ("mask_rcnn", {"backbone": Swin()}, {}, {"backbone.name": "resnet50"}),
            (
                "mask_rcnn",
                {"backbone": Swin(embed_dim=48, window_size=8)},
                {"swin": SwinSizes(blocks=(2, 2, 18, 2))},
                {"backbone.name": "swin_s", "backbone.embed_dim": 96, "backbone.window_size": 7},
            ),
            (
                "faster_rcnn",
                {"backbone": ResNet(deformable_stages=(5,))},
                {"deformed": (4,), "numbers_per_point": 3},
                {"backbone.deformable_version": "v2"},
            ),
        ],
    )
    def test_every_field_that_the_file_contradicts_is_named(
        self, kind: str, fields: dict[str, object], sizes: dict[str, object], details: dict[str, object]
    ) -> None:
        layout, settings, own_fields, own_sizes = KINDS[kind]
        state = filled(layout(Sizes(**own_sizes, **sizes)), device="meta")
        with pytest.raises(SpecError) as caught:
            mmdetection_weights(a_file(state), settings(**{**own_fields, **fields}), COCO_CLASSES)
        assert caught.value.details == {"path": "epoch_12.pth", **details}
        assert all(field in caught.value.message for field in details)

    def test_the_style_of_the_file_is_named(self) -> None:
        state = filled(layouts.retinanet(Sizes()), device="meta")
        settings = spec.RetinaNet(convention="mmdetection")
        with pytest.raises(SpecError) as caught:
            mmdetection_weights(a_file(state, "backbone=dict(type='ResNet', style='caffe')"), settings, COCO_CLASSES)
        assert caught.value.details["backbone.stride_in"] == "1x1"

    def test_heads_of_mmdetection_1_are_refused(self) -> None:
        settings, layout = small("faster_rcnn")
        state = {key.removeprefix("roi_head."): value for key, value in filled(layout).items()}
        with pytest.raises(WeightsError, match="mmdetection 2 or 3"):
            mmdetection_weights(a_file(state), settings, CLASSES)

    def test_a_file_of_an_old_version_loads_with_a_note(self) -> None:
        settings, layout = small("retinanet")
        weights = mmdetection_weights(a_file(filled(layout), version="1.1.0"), settings, CLASSES)
        assert "1.1.0" in weights.notes[0]


class Marker:
    """Unpickling it would make a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def a_class(monkeypatch: pytest.MonkeyPatch, module: str, name: str, base: type = object) -> Any:
    """Create a class in a module that exists until `monkeypatch` is undone."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        there = types.ModuleType(".".join(parts[:end]))
        monkeypatch.setitem(sys.modules, there.__name__, there)
    made = type(name, (base,), {"min": lambda self: None, "__module__": module})
    made.min.__qualname__, made.min.__module__ = f"{name}.min", module  # type: ignore[attr-defined]
    setattr(there, name, made)
    return made


class TestFiles:
    def save(self, path: Path, **content: object) -> Path:
        torch.save({"state_dict": {"backbone.conv1.weight": torch.ones(4, 3, 7, 7)}, **content}, path)
        return path

    def test_weights_classes_and_settings_are_read(self, tmp_path: Path) -> None:
        meta = {"CLASSES": ("cat", "dog"), "config": "style='caffe'", "mmdet_version": "2.3.0"}
        file = read_weights(self.save(tmp_path / "a.pth", meta=meta))
        assert file.classes == ("cat", "dog")
        assert (file.config, file.version) == ("style='caffe'", "2.3.0")
        assert file.state["backbone.conv1.weight"].shape == (4, 3, 7, 7)

    @pytest.mark.parametrize("key", ["CLASSES", "classes"])
    def test_classes_of_newer_releases_are_read(self, key: str, tmp_path: Path) -> None:
        meta = {"dataset_meta": {key: ["cat"]}, "cfg": "x = 1"}
        file = read_weights(self.save(tmp_path / "a.pth", meta=meta))
        assert (file.classes, file.config) == (("cat",), "x = 1")

    def test_a_bare_state_dict_is_read(self, tmp_path: Path) -> None:
        torch.save({"module.backbone.conv1.weight": torch.ones(1)}, tmp_path / "a.pth")
        file = read_weights(tmp_path / "a.pth")
        assert list(file.state) == ["backbone.conv1.weight"]
        assert file.classes is None

    def test_the_student_is_read_from_a_file_of_fgds_authors(self, tmp_path: Path) -> None:
        names = ("student.backbone.conv1.weight", "distill_losses.loss_fgd_fpn_0.conv_mask_s.weight")
        torch.save({"state_dict": {name: torch.ones(1) for name in names}}, tmp_path / "a.pth")
        file = read_weights(tmp_path / "a.pth")
        assert list(file.state) == ["backbone.conv1.weight"]
        assert tuple(file.left_out) == names[1:]

    @pytest.mark.parametrize("is_new", [True, False], ids=["present format", "before PyTorch 1.6"])
    def test_numpy_numbers_are_ignored(self, is_new: bool, tmp_path: Path) -> None:
        content = {
            "state_dict": {"backbone.conv1.weight": torch.ones(2)},
            "meta": {"CLASSES": ("cat",), "best": np.float64(0.4), "epochs": np.int64(12), "curve": np.arange(3.0)},
        }
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_new)
        assert read_weights(tmp_path / "a.pth").classes == ("cat",)

    def test_mmengine_objects_are_ignored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        buffer = a_class(monkeypatch, "mmengine.logging.history_buffer", "HistoryBuffer")
        config = a_class(monkeypatch, "mmengine.config.config", "ConfigDict", dict)
        log = buffer()
        log.__dict__.update(_log_history=np.ones(3), max_length=7, methods={"min": buffer.min})
        path = self.save(tmp_path / "a.pth", message_hub={"loss": log}, meta={"cfg": "", "extra": config(a=1)})
        monkeypatch.undo()
        assert "mmengine" not in sys.modules
        assert list(read_weights(path).state) == ["backbone.conv1.weight"]

    @pytest.mark.parametrize("is_new", [True, False], ids=["present format", "before PyTorch 1.6"])
    def test_code_is_refused_by_name_and_not_run(self, is_new: bool, tmp_path: Path) -> None:
        content = {"state_dict": {"a": torch.ones(1)}, "meta": {"config": Marker(tmp_path / "was run")}}
        torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=is_new)
        with pytest.raises(WeightsError, match=r"getattr.*touch") as caught:
            read_weights(tmp_path / "evil.pth")
        assert not (tmp_path / "was run").exists()
        assert caught.value.details["asks_for"]

    def test_an_unknown_class_is_refused_by_name(self, tmp_path: Path) -> None:
        self.save(tmp_path / "a.pth", meta={"config": Sizes()})
        with pytest.raises(WeightsError, match=r"mmdetection_layouts\.Sizes"):
            read_weights(tmp_path / "a.pth")

    @pytest.mark.parametrize(
        "content", [b"no checkpoint", b"", {"epoch": 3}, [1, 2], {"state_dict": {}}], ids=lambda value: repr(value)[:20]
    )
    def test_a_file_without_weights_is_refused(self, content: object, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(WeightsError) as caught:
            read_weights(path)
        assert caught.value.details["path"] == str(path)
        assert "asks_for" not in caught.value.details


RECIPES = sorted((Path(__file__).parents[2] / "examples/paper").glob("*_from_*.yaml"))
# By the start of a teacher's file name: its layout, and its published sizes that differ from R101.
TEACHERS: dict[str, tuple[Callable[[Sizes], Layout], dict[str, object]]] = {
    "cascade_mask_rcnn_x101_32x4d": (
        layouts.cascade_mask_rcnn,
        {"groups": 32, "base_width": 4, "deformed": (2, 3, 4)},
    ),
    "faster_rcnn_r101": (layouts.faster_rcnn, {}),
    "mask_rcnn_r101": (layouts.mask_rcnn, {}),
    "mask_rcnn_swin-s": (layouts.mask_rcnn, {"swin": SwinSizes(blocks=(2, 2, 18, 2))}),
    "Solo_r101": (layouts.solo, {}),
    "fcos_r101_caffe": (layouts.fcos, {"tower_norm": True}),
    "gfl_r101": (layouts.gfl, {"tower_norm": True}),
    "reppoints_moment_r101": (layouts.reppoints, {"tower_norm": True, "neck_norm": True}),
    # 32x4d, as in its configuration; the authors' file name says 64x4d.
    "reppoints_moment_x101": (
        layouts.reppoints,
        {"groups": 32, "base_width": 4, "deformed": (2, 3, 4), "tower_norm": True, "neck_norm": True},
    ),
    "retinanet_r101": (layouts.retinanet, {}),
    "retinanet_x101_64x4d": (layouts.retinanet, {"groups": 64, "base_width": 4}),
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_teacher_settings_of_a_recipe_fit_its_file(recipe: Path) -> None:
    teacher = yaml.safe_load(recipe.read_text())["teacher"]
    name = Path(teacher["checkpoint"]).name
    layout, sizes = next(TEACHERS[start] for start in TEACHERS if name.startswith(start))
    settings: DetectorSpec = TypeAdapter(DetectorSpec).validate_python(teacher["detector"])
    config = "style='caffe'" if "caffe" in name else "style='pytorch'"
    with torch.device("meta"):
        state = filled(layout(Sizes(blocks=(3, 4, 23, 3), **sizes)), device="meta")
        _, loaded = load(settings, a_file(state, config, classes=COCO_CLASSES), COCO_CLASSES)
    assert loaded.is_complete, (loaded.event.missing, loaded.event.mismatched, loaded.event.unexpected)
