"""The contract of detectors; each row of the table is tested."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from fgd_core.data.samples import Category
from fgd_core.data.targets import Targets
from fgd_core.data.transforms import move_keypoints
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detections, Detector
from fgd_core.detectors.folding import fold_norms
from fgd_core.detectors.rescaled import RescaledDetector, at_input_scale
from fgd_core.detectors.solo import Solo
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, read_checkpoint, save_checkpoint
from fgd_core.outputs import BACKGROUND, IGNORED, DenseOutputs, DistributionOutputs, RegionOutputs
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import Norm, ResNet, Swin
from fgd_core.spec.data import InputSpec
from fgd_core.spec.detectors import AnyDetector, Capability, DetectorSpec
from fgd_core.spec.training import Ema, TrainingSpec
from fgd_core.training.averaging import Average
from fgd_core.training.optimizers import parameter_groups
from tests.detectors.steps import detections_of, losses_of

TINY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
TINY_SWIN = Swin(embed_dim=12, blocks=(1, 1, 2, 1), window_size=4)

SMALL: dict[type[AnyDetector], DetectorSpec] = {
    spec.RetinaNet: spec.RetinaNet(backbone=TINY, fpn_width=8),
    spec.FasterRcnn: spec.FasterRcnn(backbone=TINY, fpn_width=8),
    spec.MaskRcnn: spec.MaskRcnn(backbone=TINY, fpn_width=8),
    spec.KeypointRcnn: spec.KeypointRcnn(backbone=TINY, fpn_width=8, num_keypoints=4),
    spec.CascadeRcnn: spec.CascadeRcnn(backbone=TINY, fpn_width=8),
    spec.CascadeMaskRcnn: spec.CascadeMaskRcnn(backbone=TINY, fpn_width=8),
    spec.Fcos: spec.Fcos(backbone=TINY, fpn_width=8),
    spec.Gfl: spec.Gfl(backbone=TINY, fpn_width=8),
    spec.RepPoints: spec.RepPoints(backbone=TINY, fpn_width=8),
    spec.Solo: spec.Solo(backbone=TINY, fpn_width=8, num_grids=(8, 7, 6, 5, 4), tower_depth=2),
}
# Other settings that change the network or its losses.
VARIANTS: tuple[DetectorSpec, ...] = (
    spec.RetinaNet(backbone=TINY, fpn_width=8, version="v2"),
    spec.RetinaNet(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.FasterRcnn(backbone=TINY, fpn_width=8, version="v2"),
    spec.FasterRcnn(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.MaskRcnn(backbone=TINY, fpn_width=8, version="v2"),
    spec.MaskRcnn(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.Fcos(backbone=TINY, fpn_width=8, convention="mmdetection"),
    spec.Fcos(backbone=TINY, fpn_width=8, convention="mmdetection", version="v1"),
    spec.RepPoints(backbone=TINY, fpn_width=8, norm="none"),
    spec.RetinaNet(backbone=TINY_SWIN, fpn_width=8),
    spec.MaskRcnn(backbone=TINY_SWIN, fpn_width=8),
)
ALL_SETTINGS = [*SMALL.values(), *VARIANTS]
NUM_CLASSES = 3
SIZES = [(64, 64), (64, 64)]
BOXES = torch.tensor([[8.0, 8, 40, 40], [20, 4, 60, 30]])
LABELS = torch.tensor([0, 2])
KEYPOINTS = torch.tensor(
    [[[9.0, 9, 2], [30, 12, 1], [39, 39, 2], [0, 0, 0]], [[21, 5, 2], [60, 30, 2], [0, 0, 0], [40, 17, 1]]]
)
"""Of each of the two objects, inside its box; two are not labelled."""


def described(settings: DetectorSpec) -> str:
    changed = settings.model_dump(include={"version", "convention", "norm"}, exclude_defaults=True)
    backbone = [] if settings.backbone == TINY else [settings.backbone.name]
    return " ".join([type(settings).__name__, *changed.values(), *backbone])


@pytest.fixture(params=ALL_SETTINGS, ids=described)
def settings(request: pytest.FixtureRequest) -> DetectorSpec:
    torch.manual_seed(0)
    chosen: DetectorSpec = request.param
    return chosen


def test_maps_stay_the_same_if_norms_are_folded(settings: DetectorSpec) -> None:
    detector = build_detector(settings, NUM_CLASSES).eval()
    for layer in detector.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = detector.features(images)
        fold_norms(detector)
        for ours, theirs in zip(detector.features(images), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_folding_removes_the_norms_and_changes_no_weight_that_others_hold(norm: Norm) -> None:
    detector = build_detector(spec.RetinaNet(backbone=TINY.model_copy(update={"norm": norm})), NUM_CLASSES).eval()
    kinds = nn.BatchNorm2d, FrozenBatchNorm2d
    assert any(isinstance(each, kinds) for each in detector.modules())
    held = detector.state_dict()
    before, size = {name: value.clone() for name, value in held.items()}, size_of(detector)
    fold_norms(detector)
    assert not any(isinstance(each, kinds) for each in detector.modules())
    assert all(torch.equal(value, before[name]) for name, value in held.items())
    assert size_of(detector) <= size


def size_of(module: nn.Module) -> int:
    return sum(each.numel() for each in module.state_dict().values())


def test_every_detector_in_the_table_is_tested() -> None:
    assert set(SMALL) == set(DETECTORS)


def batch_targets(detector: Detector, *counts: int) -> Targets:
    """Return targets of images of 64 x 64 px.

    Args:
        counts: for each image, how many of the two objects it has; masks fill their boxes.
    """
    masks = torch.zeros(len(BOXES), 64, 64, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, BOXES.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return Targets(
        [BOXES[:n] for n in counts],
        [LABELS[:n] for n in counts],
        [(64, 64)] * len(counts),
        [masks[:n] for n in counts] if detector.has_masks else None,
        [KEYPOINTS[:n] for n in counts] if detector.has_keypoints else None,
    )


def of_classes(losses: dict[str, Tensor]) -> Tensor:
    """Return the sum of the loss terms that background cells contribute to, a scalar."""
    return torch.stack([value for name, value in losses.items() if _is_of_classes(name)]).sum()


def of_objects(losses: dict[str, Tensor]) -> Tensor:
    """Return the sum of the loss terms of objects only, a scalar: boxes, centres, masks."""
    return torch.stack([value for name, value in losses.items() if not _is_of_classes(name)]).sum()


def _is_of_classes(name: str) -> bool:
    return "class" in name or "objectness" in name


def find(detector: Detector, images: Tensor, *sizes: tuple[int, int]) -> list[Detections]:
    with torch.no_grad():
        return detections_of(detector, detector.features(images), sizes)


def finding(settings: DetectorSpec) -> Detector:
    """Return a new detector in eval mode; the masks of a new SOLO would be empty, and its detections with them."""
    detector = build_detector(settings, NUM_CLASSES).eval()
    if isinstance(detector, Solo):
        for name, parameter in detector.head.conv_mask_list.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
    return detector


def test_strides_and_channels_are_as_declared(settings: DetectorSpec) -> None:
    detector = build_detector(settings, NUM_CLASSES).eval()
    maps = detector.features(torch.zeros(2, 3, 128, 256))
    assert len(maps) == len(detector.levels)
    for level, features in zip(detector.levels, maps, strict=True):
        assert features.shape == (2, level.channels, 128 // level.stride, 256 // level.stride)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_maps_of_the_backbone_follow_those_of_the_pyramid(settings: DetectorSpec, scale: float) -> None:
    detector = at_input_scale(build_detector(settings, NUM_CLASSES).eval(), scale)
    images = torch.randn(1, 3, 64, 128)
    pyramid, maps = detector.features(images), detector.all_maps(images)
    assert all(map(torch.equal, pyramid, maps))
    assert detector.stages and [each.stride for each in detector.stages] == [
        level.stride for level, _ in zip(detector.levels, detector.stages, strict=False)
    ]
    for stage, features in zip(detector.stages, maps[len(pyramid) :], strict=True):
        stride = stage.stride / scale
        assert features.shape == (1, stage.channels, 64 / stride, 128 / stride)


def test_the_spec_knows_whether_it_has_masks_or_keypoints(settings: DetectorSpec) -> None:
    detector = build_detector(settings, NUM_CLASSES)
    assert settings.has_masks == detector.has_masks
    assert settings.has_keypoints == detector.has_keypoints


def offering(capability: Capability) -> list[DetectorSpec]:
    return [settings for settings in ALL_SETTINGS if capability in settings.offers]


def built(settings: DetectorSpec) -> tuple[Detector, list[Tensor]]:
    """Return a detector in eval mode, and its maps of two images of 64 x 64 px."""
    torch.manual_seed(0)
    detector = build_detector(settings, NUM_CLASSES).eval()
    return detector, detector.features(torch.randn(2, 3, 64, 64))


class TestOutputs:
    def test_are_those_that_the_spec_offers(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        out = detector.predict(maps, SIZES)
        found: set[Capability] = set()
        if isinstance(out, DenseOutputs):
            found.add("class_scores")
        if isinstance(out, DistributionOutputs):
            found.add("distributions")
        if detector.dense_head is not None:
            found.add("towers")
        if isinstance(out, RegionOutputs) and detector.region_head is not None:
            found.add("regions")
        assert found == settings.offers

    def test_are_all_that_losses_need(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        targets = batch_targets(detector, 2, 0)
        out = detector.predict(maps, SIZES, targets)
        state, run = torch.get_rng_state(), layers_run(detector)
        detector.losses(out, targets)
        assert run == []
        assert torch.equal(torch.get_rng_state(), state)

    def test_are_computed_once_for_detections(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        run = layers_run(detector)
        out = detector.predict(maps, SIZES)
        in_predict = set(run)
        run.clear()
        detector.detect(out, SIZES)
        assert in_predict.isdisjoint(run)
        assert (run != []) == isinstance(out, RegionOutputs)

    def test_are_passed_on_at_another_input_scale(self, settings: DetectorSpec) -> None:
        detector, _ = built(settings)
        wrapped = RescaledDetector(detector, 0.5)
        assert wrapped.dense_head is detector.dense_head
        assert wrapped.region_head is detector.region_head
        images = torch.randn(2, 3, 128, 128)
        targets = batch_targets(detector, 2, 0)
        doubled = targets._replace(
            boxes=[2 * boxes for boxes in targets.boxes],
            image_sizes=[(128, 128)] * 2,
            masks=None if targets.masks is None else [_doubled(masks) for masks in targets.masks],
            keypoints=None if targets.keypoints is None else [move_keypoints(own, (2, 2)) for own in targets.keypoints],
        )
        torch.manual_seed(1)
        ours = wrapped.predict(wrapped.features(images), doubled.image_sizes, doubled)
        torch.manual_seed(1)
        expected = detector.predict(wrapped.features(images), SIZES, targets)
        assert type(ours) is type(expected)
        if isinstance(ours, DenseOutputs):
            assert torch.equal(ours.boxes(), expected.boxes()) and torch.equal(ours.assigned, expected.assigned)
        if isinstance(ours, RegionOutputs):
            assert all(map(torch.equal, ours.regions.boxes, expected.regions.boxes))
        assert wrapped.losses(ours, doubled) == detector.losses(expected, targets)


def layers_run(detector: Detector) -> list[str]:
    """Return a list to which each layer with weights adds its name whenever it runs."""
    run: list[str] = []
    for name, layer in detector.named_modules():
        if next(layer.parameters(recurse=False), None) is not None:
            layer.register_forward_hook(lambda *_, name=name: run.append(name))
    return run


def _doubled(masks: Tensor) -> Tensor:
    """Enlarge masks (n, height, width) to twice the size."""
    return masks.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


@pytest.mark.parametrize("settings", offering("class_scores"), ids=described)
class TestDenseOutputs:
    def test_have_a_row_for_every_anchor(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        targets = batch_targets(detector, 2, 0)
        out = detector.predict(maps, SIZES, targets)
        assert out.grids == [(level.shape[2], level.shape[3]) for level in maps]
        assert [level.shape for level in out.logits] == [(2, count, NUM_CLASSES) for count in out.counts]
        assert out.boxes().shape == (2, sum(out.counts), 4)
        assert out.assigned.shape == (2, sum(out.counts))
        assert set(out.assigned[0].unique().tolist()) <= {IGNORED, BACKGROUND, 0, 1}
        assert set(out.assigned[1].unique().tolist()) <= {IGNORED, BACKGROUND}
        assert (out.assigned[0] >= 0).any()

    def test_do_not_depend_on_targets(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        out = detector.predict(maps, SIZES)
        assert out.matches is None
        trained = detector.predict(maps, SIZES, batch_targets(detector, 2, 0))
        assert all(map(torch.equal, out.logits, trained.logits))
        assert torch.equal(out.boxes(), trained.boxes())

    def test_decode_some_boxes_as_all(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        out = detector.predict(maps, SIZES)
        for level, boxes in enumerate(out.boxes()[1].split_with_sizes(out.counts)):
            rows = torch.arange(len(boxes)).flip(0)[::2]
            torch.testing.assert_close(out.boxes_at(1, level, rows), boxes[rows])

    def test_boxes_and_logits_have_gradients_to_the_maps(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        leaves = [level.detach().requires_grad_() for level in maps]
        out = detector.predict(leaves, SIZES)
        for output in (out.boxes(), torch.cat([*out.logits], dim=1)):
            gradients = torch.autograd.grad(output.square().sum(), leaves, retain_graph=True)
            assert all(gradient.isfinite().all() for gradient in gradients)
            assert any(gradient.any() for gradient in gradients)

    def test_can_be_arranged_as_maps(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        out = detector.predict(maps, SIZES)
        for logits, arranged, (height, width) in zip(out.logits, out.logit_maps(), out.grids, strict=True):
            assert arranged.shape == (2, out.anchors_per_cell * NUM_CLASSES, height, width)
            row, column, anchor, label = height - 1, width // 2, out.anchors_per_cell - 1, 1
            location = (row * width + column) * out.anchors_per_cell + anchor
            assert torch.equal(arranged[:, anchor * NUM_CLASSES + label, row, column], logits[:, location, label])


@pytest.mark.parametrize("settings", offering("towers"), ids=described)
class TestDenseHead:
    @pytest.mark.parametrize("depth", [1, 3, 4])
    def test_cut_in_two_gives_the_same_outputs_to_the_bit(self, settings: DetectorSpec, depth: int) -> None:
        detector, maps = built(settings)
        head = detector.dense_head
        assert head is not None and head.tower_depth == 4
        whole = detector.predict(maps, SIZES)
        towers = head.tower(maps, depth)
        before = [level.clone() for level in (*towers.classes, *towers.boxes)]
        rest = head.rest(towers, depth)
        assert all(map(torch.equal, rest.logits, whole.logits))
        assert torch.equal(rest.boxes(), whole.boxes())
        if whole.centreness is not None:
            assert rest.centreness is not None and all(map(torch.equal, rest.centreness, whole.centreness))
        assert all(map(torch.equal, (*towers.classes, *towers.boxes), before))

    def test_is_cut_before_an_activation(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        assert detector.dense_head is not None
        towers = detector.dense_head.tower(maps, 2)
        assert all(level.shape == features.shape for level, features in zip(towers.classes, maps, strict=True))
        assert towers.classes[0].min() < 0 and towers.boxes[0].min() < 0

    def test_has_no_depth_beyond_its_towers(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        assert detector.dense_head is not None
        for depth in (0, 5):
            with pytest.raises(ValueError, match="choose from 1 to its 4"):
                detector.dense_head.tower(maps, depth)


@pytest.mark.parametrize("settings", offering("regions"), ids=described)
class TestRegionHead:
    def test_reads_given_boxes_as_the_detector_reads_its_sample(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        out = detector.predict(maps, SIZES, batch_targets(detector, 2, 0))
        assert detector.region_head is not None
        reading = detector.region_head.on(maps, out.regions.boxes)
        assert all(map(torch.equal, reading, out.reading))
        num_regions = sum(map(len, out.regions.boxes))
        assert reading.pooled.shape == (num_regions, 8, 7, 7)
        assert reading.vectors.shape == (num_regions, 32)
        assert reading.logits.shape == (num_regions, 1 + NUM_CLASSES)
        assert detector.region_head.class_columns(reading.deltas).shape == (num_regions, NUM_CLASSES, 4)

    def test_samples_proposals_of_another_detector(self, settings: DetectorSpec) -> None:
        detector, _ = built(settings)
        targets = batch_targets(detector, 2, 0)
        assert detector.region_head is not None
        regions = detector.region_head.sample([torch.tensor([[8.0, 8, 41, 40]]), torch.zeros(0, 4)], targets)
        assert regions.labels[0].tolist() == [1, 1, 3]
        assert regions.objects[0].tolist() == [0, 0, 1]
        assert regions.is_ground_truth[0].tolist() == [False, True, True]
        assert len(regions.boxes[1]) == 0

    def test_reads_no_boxes(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        assert detector.region_head is not None
        reading = detector.region_head.on(maps, [torch.zeros(0, 4)] * 2)
        assert reading.pooled.shape == (0, 8, 7, 7)
        assert reading.vectors.shape == (0, 32)
        assert reading.logits.shape == (0, 1 + NUM_CLASSES)
        assert detector.region_head.class_columns(reading.deltas).shape == (0, NUM_CLASSES, 4)

    def test_proposals_alone_need_no_heads(self, settings: DetectorSpec) -> None:
        detector, maps = built(settings)
        out = detector.predict(maps, SIZES)
        assert out.regions is None and out.reading is None
        assert all(len(boxes) > 0 and boxes.shape[1] == 4 for boxes in out.proposals)


class TestTraining:
    @pytest.mark.parametrize("counts", [(0, 0), (0, 2)], ids=["no objects", "some"])
    def test_a_step_is_finite_and_only_objects_have_boxes(
        self, settings: DetectorSpec, counts: tuple[int, int]
    ) -> None:
        detector = build_detector(settings, NUM_CLASSES).train()
        optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
        losses = losses_of(detector, detector.features(torch.randn(2, 3, 64, 64)), batch_targets(detector, *counts))
        assert all(value.shape == () and value.isfinite() for value in losses.values())
        assert of_classes(losses) > 0
        assert (of_objects(losses) > 0) == (sum(counts) > 0)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        assert any(p.grad is not None and p.grad.any() for p in detector.parameters())
        assert all(p.isfinite().all() for p in detector.parameters())

    def test_every_parameter_gets_a_gradient(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings, NUM_CLASSES).train()
        # The image is large enough for every level, and there are objects of all sizes, so each level gets one.
        sides = torch.tensor([12.0, 24, 48, 96, 180, 250])
        boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], dim=1) + 3
        masks = [torch.ones(6, 256, 256, dtype=torch.uint8)] * 2 if detector.has_masks else None
        keypoints = [torch.tensor([8.0, 8, 2]).expand(6, 4, 3)] * 2 if detector.has_keypoints else None
        targets = Targets([boxes] * 2, [torch.zeros(6, dtype=torch.int64)] * 2, [(256, 256)] * 2, masks, keypoints)
        losses = losses_of(detector, detector.features(torch.randn(2, 3, 256, 256)), targets)
        torch.stack(list(losses.values())).sum().backward()
        trained = [(name, p) for name, p in detector.named_parameters() if p.requires_grad]
        assert [name for name, p in trained if p.grad is None] == []

    def test_weights_can_be_averaged_and_the_backbone_has_a_rate_of_its_own(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings, NUM_CLASSES)
        average = Average(detector, Ema(decay=0.5, warmup_steps=0))
        first = {name: value.clone() for name, value in detector.state_dict().items() if value.is_floating_point()}
        for factor in (1, 3):
            with torch.no_grad():
                for value in detector.state_dict().values():
                    value.mul_(factor)
            average.add(detector)
        for name, value in first.items():
            torch.testing.assert_close(average.detector.state_dict()[name], 2 * value, msg=name)
        groups = parameter_groups(TrainingSpec(backbone_rate=0.1), detector)
        body = [each for name, each in detector.named_parameters() if name.startswith("backbone.body")]
        assert {group.rate: len(group.parameters) for group in groups}[0.1] == len(body) > 0

    def test_labels_count_from_zero(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings, 1).train()
        targets = batch_targets(detector, 2, 2)._replace(labels=[torch.zeros(2, dtype=torch.int64)] * 2)
        losses = losses_of(detector, detector.features(torch.randn(2, 3, 64, 64)), targets)
        assert torch.stack(list(losses.values())).isfinite().all()


class TestDetections:
    def test_boxes_are_inside_the_image_and_scores_are_sorted(self, settings: DetectorSpec) -> None:
        detector = finding(settings.model_copy(update={"score_threshold": 0.0}))
        for found, (height, width) in zip(
            find(detector, torch.randn(2, 3, 64, 96), (50, 70), (64, 96)), [(50, 70), (64, 96)], strict=True
        ):
            assert 0 < len(found.scores) <= settings.max_detections
            assert found.boxes_xyxy_px.shape == (len(found.scores), 4)
            assert (found.scores.diff() <= 0).all()
            assert found.scores.min() >= 0 and found.scores.max() <= 1
            assert found.boxes_xyxy_px.min() >= 0
            assert found.boxes_xyxy_px[:, 2].max() <= width and found.boxes_xyxy_px[:, 3].max() <= height
            assert found.labels.dtype == torch.int64
            assert set(found.labels.tolist()) <= set(range(NUM_CLASSES))
            assert (found.masks is not None) == detector.has_masks
            assert (found.keypoints is not None) == detector.has_keypoints
            if found.masks is not None:
                assert found.masks.shape == (len(found.scores), *found.masks.shape[1:])
                assert found.masks.shape[1] == found.masks.shape[2]
                assert found.masks.min() >= 0 and found.masks.max() <= 1
            if found.keypoints is not None:
                assert found.keypoints.shape == (len(found.scores), 4, 3)
                places, boxes = found.keypoints[..., :2], found.boxes_xyxy_px[:, None]
                assert (places >= boxes[..., :2]).all()
                # Regions below a pixel are stretched to a pixel.
                assert (places <= boxes[..., 2:].maximum(boxes[..., :2] + 1)).all()

    def test_an_image_without_detections_gives_empty_tensors(self, settings: DetectorSpec) -> None:
        detector = build_detector(settings.model_copy(update={"score_threshold": 0.999}), NUM_CLASSES).eval()
        (found,) = find(detector, torch.randn(1, 3, 64, 64), (64, 64))
        assert found.boxes_xyxy_px.shape == (0, 4)
        assert found.scores.shape == found.labels.shape == (0,)
        assert found.masks is None or found.masks.shape[0] == 0
        assert found.keypoints is None or found.keypoints.shape == (0, 4, 3)

    def test_a_saved_and_loaded_detector_gives_the_same_detections(
        self, settings: DetectorSpec, tmp_path: Path
    ) -> None:
        settings = settings.model_copy(update={"score_threshold": 0.0})
        saved = finding(settings)
        categories = tuple(Category(i, f"kind {i}") for i in range(NUM_CLASSES))
        save_checkpoint(
            tmp_path / "best.pt",
            DetectorCheckpoint(
                detector=settings, categories=categories, input=InputSpec(), record=Record(), state=saved.state_dict()
            ),
        )
        checkpoint, _ = read_checkpoint(tmp_path / "best.pt")
        assert checkpoint.detector == settings
        loaded, _ = checkpoint.build("detector", "best.pt")
        images = torch.randn(1, 3, 64, 64)
        (before,), (after,) = find(saved, images, (64, 64)), find(loaded.eval(), images, (64, 64))
        for one, other in zip(before, after, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
