"""Cascade R-CNN: three stages, each on the refined boxes of the stage before."""

import math

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from fgd_core.data.targets import Targets
from fgd_core.detectors.cascade_rcnn import CascadeMaskRcnn
from fgd_core.detectors.parts.cascade import STAGES, Cascade
from fgd_core.detectors.parts.regions import RegionHeads
from fgd_core.outputs import Regions
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from tests.detectors.steps import detections_of, losses_of
from tests.tiers import slow

NUM_CLASSES = 2
SIZE = (200, 200)
STRIDES = (4, 8, 16, 32)


def cascade(*, has_masks: bool = False) -> Cascade:
    torch.manual_seed(0)
    return Cascade(spec.CascadeRcnn(fpn_width=8), NUM_CLASSES, has_masks=has_masks)


def stages(heads: Cascade) -> list[RegionHeads]:
    return [stage for stage in heads.stages if isinstance(stage, RegionHeads)]


def set_outputs(stage: RegionHeads, *, logits: tuple[float, ...], deltas: tuple[float, float, float, float]) -> None:
    """Make the stage predict the same for every region."""
    for layer, answer in ((stage.box_predictor.cls_score, logits), (stage.box_predictor.bbox_pred, deltas)):
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.weight)
        with torch.no_grad():
            layer.bias.copy_(torch.tensor(answer))


def maps() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(1, 8, 256 // stride, 256 // stride) for stride in STRIDES]


def one_object(*box: float) -> Targets:
    return Targets([torch.tensor([box])], [torch.tensor([1])], [SIZE], [torch.ones(1, *SIZE, dtype=torch.uint8)])


def no_object() -> Targets:
    return Targets([torch.zeros(0, 4)], [torch.zeros(0).long()], [SIZE], [torch.zeros(0, *SIZE, dtype=torch.uint8)])


def stage_losses(
    heads: Cascade, features: list[Tensor], proposals: list[Tensor], targets: Targets
) -> list[dict[str, Tensor]]:
    return heads.losses_of_stages(heads.predict(features, proposals, targets), targets)


class Recorder:
    """Records the proposals of each stage and its sample."""

    def __init__(self, heads: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[Tensor] = []
        self.chosen: list[Regions] = []
        for stage in stages(heads):
            monkeypatch.setattr(stage, "sample", self._recorded(stage))

    def _recorded(self, stage: RegionHeads) -> object:
        real = stage.sample

        def sample(proposals: list[Tensor], targets: Targets) -> Regions:
            self.given.append(proposals[0])
            self.chosen.append(real(proposals, targets))
            return self.chosen[-1]

        return sample


class TestStages:
    def test_are_the_published_three(self) -> None:
        assert [stage.iou_threshold for stage in STAGES] == [0.5, 0.6, 0.7]
        assert [stage.loss_weight for stage in STAGES] == [1, 0.5, 0.25]
        deviations = [tuple(round(1 / weight, 3) for weight in stage.coder_weights) for stage in STAGES]
        assert deviations == [(0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067)]

    def test_each_requires_a_larger_overlap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heads = cascade()
        for stage in stages(heads):
            set_outputs(stage, logits=(0, 0, 0), deltas=(0, 0, 0, 0))  # boxes stay where they are
        recorder = Recorder(heads, monkeypatch)
        # Of the object's width and 55, 65 and 75 % of its height, so that this is their overlap.
        proposals = torch.tensor([[0.0, 0, 100, height] for height in (55, 65, 75)])
        heads.predict(maps(), [proposals], one_object(0, 0, 100, 100))
        found = [regions.labels[0][~regions.is_ground_truth[0]].tolist() for regions in recorder.chosen]
        assert found == [[2, 2, 2], [0, 2, 2], [0, 0, 2]]

    @pytest.mark.parametrize("index", [0, 1, 2])
    def test_each_encodes_boxes_with_its_own_weights(self, index: int) -> None:
        stage = stages(cascade())[index]
        weights = STAGES[index].coder_weights
        # The centre moves 10 to the right and 30 down, the height grows by 1.2.
        deltas = torch.tensor([0.1, 0.3, 0, math.log(1.2)]) * torch.tensor(weights)
        (better,) = stage.decode(deltas[None, None], [torch.tensor([[0.0, 0, 100, 100]])])
        torch.testing.assert_close(better[0, 0], torch.tensor([10.0, 20, 110, 140]))
        encoded = stage._coder.encode(torch.tensor([[10.0, 20, 110, 140]]), torch.tensor([[0.0, 0, 100, 100]]))
        torch.testing.assert_close(encoded[0], deltas)

    def test_losses_are_the_weighted_sum_of_the_stages(self) -> None:
        heads = cascade(has_masks=True)
        proposals = [torch.tensor([[0.0, 0, 100, 80], [10, 10, 90, 100], [100, 100, 180, 190]])]
        targets = one_object(0, 0, 100, 100)
        total = heads.losses(heads.predict(maps(), proposals, targets), targets)
        first, second, third = stage_losses(heads, maps(), proposals, targets)
        assert total.keys() == {"classification", "box", "mask"}
        for name, value in total.items():
            assert first[name] > 0
            torch.testing.assert_close(value, first[name] + second[name] / 2 + third[name] / 4)

    def test_box_loss_is_smooth_l1_with_beta_one(self) -> None:
        heads = cascade()
        for stage in stages(heads):
            # Differs by 0.5 and by 2 from the object's box, the only region to train on.
            set_outputs(stage, logits=(0, 0, 0), deltas=(0.5, 0, 2, 0))
        terms = stage_losses(heads, maps(), [torch.zeros(0, 4)], one_object(50, 50, 100, 100))
        assert [term["box"].item() for term in terms] == pytest.approx([0.5**2 / 2 + 1.5] * 3)
        assert [term["classification"].item() for term in terms] == pytest.approx([math.log(3)] * 3)


class TestRefining:
    def test_a_stage_starts_from_the_clipped_boxes_of_the_stage_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heads = cascade()
        first, second, _ = stages(heads)
        set_outputs(first, logits=(0, 0, 0), deltas=(1, 0, 0, 0))  # a tenth of the width to the right
        set_outputs(second, logits=(0, 0, 0), deltas=(0, 4, 0, 0))  # a fifth of the height down
        recorder = Recorder(heads, monkeypatch)
        heads.predict(maps(), [torch.tensor([[40.0, 40, 60, 80], [100, 150, 200, 200]])], no_object())
        assert recorder.given[0].tolist() == [[40, 40, 60, 80], [100, 150, 200, 200]]
        torch.testing.assert_close(recorder.given[1], torch.tensor([[42.0, 40, 62, 80], [110, 150, 200, 200]]))
        torch.testing.assert_close(recorder.given[2], torch.tensor([[42.0, 48, 62, 88], [110, 160, 200, 200]]))

    def test_passes_no_gradient_to_the_stage_before(self) -> None:
        heads = cascade(has_masks=True)
        terms = stage_losses(heads, maps(), [torch.tensor([[0.0, 0, 90, 100]])], one_object(0, 0, 100, 100))
        own = list(stages(heads)[0].parameters())
        for later in terms[1:]:
            loss = torch.stack(list(later.values())).sum()
            assert all(g is None for g in torch.autograd.grad(loss, own, allow_unused=True, retain_graph=True))

    def test_each_stage_adds_the_true_boxes_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heads = cascade()
        recorder = Recorder(heads, monkeypatch)
        heads.predict(maps(), [torch.tensor([[0.0, 0, 90, 100]])], one_object(0, 0, 100, 100))
        assert [len(given) for given in recorder.given] == [1, 1, 1]
        for regions in recorder.chosen:
            assert regions.is_ground_truth[0].tolist() == [False, True]
            assert regions.boxes[0][1].tolist() == [0, 0, 100, 100]

    def test_losses_are_zero_without_proposals_and_objects(self) -> None:
        heads = cascade(has_masks=True)
        losses = heads.losses(heads.predict(maps(), [torch.zeros(0, 4)], no_object()), no_object())
        assert {name: value.item() for name, value in losses.items()} == {"classification": 0, "box": 0, "mask": 0}
        torch.stack(list(losses.values())).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in heads.parameters())

    def test_no_proposals_give_no_detections(self) -> None:
        (found,) = cascade(has_masks=True).detections(maps(), [torch.zeros(0, 4)], [SIZE])
        assert found.boxes_xyxy_px.shape == (0, 4)
        assert found.masks is not None and found.masks.shape == (0, 28, 28)


class TestDetections:
    def test_boxes_are_from_the_last_stage_and_scores_from_mean_logits(self) -> None:
        heads = cascade()
        first, second, third = stages(heads)
        set_outputs(first, logits=(0, 3, -2), deltas=(1, 0, 0, 0))
        set_outputs(second, logits=(0, 0, 1), deltas=(2, 0, 0, 0))
        set_outputs(third, logits=(0, 6, 1), deltas=(0.1 / 0.033, 0, 0, 0))
        with torch.no_grad():
            (found,) = heads.detections(maps(), [torch.tensor([[40.0, 40, 60, 60]])], [SIZE])
        # Each stage moved it by a tenth of its width.
        torch.testing.assert_close(found.boxes_xyxy_px[0], torch.tensor([46.0, 40, 66, 60]))
        probabilities = torch.tensor([0.0, 3, 0]).softmax(0)[1:]
        # The other class has the same box; its score below 0.05 excludes it.
        assert probabilities[1] < 0.05
        assert found.labels.tolist() == [0]
        torch.testing.assert_close(found.scores, probabilities[:1])

    def test_masks_are_the_mean_of_the_three_stages(self) -> None:
        heads = cascade(has_masks=True)
        for stage, of_class_1 in zip(stages(heads), (-1.0, 0.0, 4.0), strict=True):
            set_outputs(stage, logits=(0, 0, 5), deltas=(0, 0, 0, 0))
            layer = stage.mask_predictor.mask_fcn_logits
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.zeros_(layer.weight)
            with torch.no_grad():
                layer.bias.copy_(torch.tensor([9.0, of_class_1]))
        with torch.no_grad():
            (found,) = heads.detections(maps(), [torch.tensor([[40.0, 40, 60, 60]])], [SIZE])
        assert found.labels.tolist() == [1]
        assert found.masks is not None
        expected = torch.tensor([-1.0, 0, 4]).sigmoid().mean()
        torch.testing.assert_close(found.masks, expected.expand(1, 28, 28))


class TestDetector:
    @slow("tests/acceptance/test_overfit.py::test_overfits_eight_images")
    def test_overfits_one_image(self) -> None:
        torch.manual_seed(0)
        backbone = ResNet(name="resnet18", stem_width=8, blocks=(1, 1, 1, 1), norm="group")
        settings = spec.CascadeMaskRcnn(backbone=backbone, fpn_width=16, rois_per_image=16)
        detector = CascadeMaskRcnn(settings, NUM_CLASSES).train()
        image = torch.zeros(1, 3, 64, 64)
        image[:, :, 12:44, 20:52] = 1
        image[:, :, 12:28, 20:36] = 0  # an L that lacks the upper left quarter of its box
        mask = image[0, :1].to(torch.uint8)
        targets = Targets([torch.tensor([[20.0, 12, 52, 44]])], [torch.tensor([1])], [(64, 64)], [mask])
        optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
        for _ in range(40):
            losses = losses_of(detector, detector.features(image), targets)
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
        with torch.no_grad():
            (found,) = detections_of(detector.eval(), detector.features(image), [(64, 64)])
        assert found.labels[0] == 1
        assert box_iou(found.boxes_xyxy_px[:1], targets.boxes[0]) > 0.8
        assert found.masks is not None
        quarters = found.masks[0, 2:12, 2:12], found.masks[0, 16:26, 2:12], found.masks[0, 16:26, 16:26]
        assert [bool(quarter.mean() > 0.5) for quarter in quarters] == [False, True, True]
