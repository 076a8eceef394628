"""Compares Keypoint R-CNN with torchvision's, weight by weight; heat maps with torchvision's functions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import KeypointRCNN, keypointrcnn_resnet50_fpn
from torchvision.models.detection.keypoint_rcnn import (
    KeypointRCNN_ResNet50_FPN_Weights,
    KeypointRCNNHeads,
    KeypointRCNNPredictor,
)
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypointrcnn_loss, keypoints_to_heatmap

from fgd_core.data.targets import Targets
from fgd_core.detectors.keypoint_rcnn import KeypointRcnn
from fgd_core.detectors.parts.keypoint_maps import KeypointOutputs, cells_of_keypoints, keypoint_loss, locate
from fgd_core.detectors.rescaled import RescaledDetector
from fgd_core.detectors.weights.torchvision import torchvision_classes
from fgd_core.errors import DataError
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.pretrained import implied_detector, misfits
from tests.detectors.steps import detections_of, losses_of
from tests.detectors.torchvision_comparison import (
    NUM_CLASSES,
    SIZES,
    WIDTH,
    Pair,
    assert_same_detections,
    assert_same_losses,
    images,
    narrow_parts,
    objects,
    shapes,
)

NUM_KEYPOINTS = 4
WEIGHTS = "KeypointRCNN_ResNet50_FPN_Weights.COCO_V1"


def narrow() -> KeypointRcnn:
    torch.manual_seed(0)
    settings = spec.KeypointRcnn(backbone=ResNet(name="resnet18"), fpn_width=WIDTH, num_keypoints=NUM_KEYPOINTS)
    return KeypointRcnn(settings, NUM_CLASSES)


@pytest.fixture(scope="module")
def pair() -> Pair:
    theirs = KeypointRCNN(
        **narrow_parts("v1"),
        keypoint_head=KeypointRCNNHeads(WIDTH, [2 * WIDTH] * 8),
        keypoint_predictor=KeypointRCNNPredictor(2 * WIDTH, NUM_KEYPOINTS),
    )
    return Pair(narrow(), theirs)


def without_labels(targets: Targets) -> Targets:
    """Return the same objects with keypoints that are not labelled."""
    assert targets.keypoints is not None
    return targets._replace(keypoints=[torch.zeros_like(own) for own in targets.keypoints])


def nothing_of(targets: Targets) -> Targets:
    """Return the same images without objects."""
    assert targets.keypoints is not None
    return targets._replace(
        boxes=[own[:0] for own in targets.boxes],
        labels=[own[:0] for own in targets.labels],
        keypoints=[own[:0] for own in targets.keypoints],
    )


class TestAgainstTorchvision:
    def test_losses_are_equal(self, pair: Pair) -> None:
        assert_same_losses(pair)

    def test_detections_and_their_keypoints_are_equal(self, pair: Pair) -> None:
        assert_same_detections(pair)

    def test_the_published_weights_fit(self) -> None:
        with torch.device("meta"):
            theirs = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
            ours = KeypointRcnn(spec.KeypointRcnn(), 1)
        assert shapes(ours) == shapes(theirs)

    def test_the_published_weights_imply_the_settings(self) -> None:
        implied = spec.KeypointRcnn.model_validate(implied_detector(WEIGHTS))
        assert implied == spec.KeypointRcnn(backbone=ResNet(name="resnet50"))
        assert misfits(implied, WEIGHTS) == []
        other = implied.model_copy(update={"num_keypoints": 5})
        assert [str(each) for each in misfits(other, WEIGHTS)] == ["set num_keypoints to 17 (it is 5)"]
        assert torchvision_classes(WEIGHTS) == ("person",)
        assert len(KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["keypoint_names"]) == implied.num_keypoints


class TestLosses:
    @pytest.mark.parametrize("changed", [without_labels, nothing_of])
    def test_without_labelled_keypoints_are_zero_with_zero_gradients(
        self, changed: Callable[[Targets], Targets]
    ) -> None:
        detector = narrow().train()
        losses = losses_of(detector, detector.features(images()), changed(objects(NUM_KEYPOINTS)))
        assert losses["keypoint"] == 0
        torch.stack(list(losses.values())).sum().backward()
        for part in (detector.roi_heads.keypoint_head, detector.roi_heads.keypoint_predictor):
            for parameter in part.parameters():
                assert parameter.grad is not None and not parameter.grad.any()
        assert all(p.grad.isfinite().all() for p in detector.parameters() if p.grad is not None)

    def test_of_one_image_without_labels_are_those_of_the_others(self) -> None:
        logits = torch.randn(4, 3, 8, 8)
        cells = torch.randint(64, (4, 3))
        cells[2:] = -1
        alone = keypoint_loss(KeypointOutputs(logits[:2], cells[:2]))
        torch.testing.assert_close(keypoint_loss(KeypointOutputs(logits, cells)), alone)

    def test_missing_in_the_data_are_an_error(self) -> None:
        detector = narrow()
        with pytest.raises(DataError, match="the detector trains keypoints, but the data has none"):
            losses_of(detector, detector.features(images()), objects())


def regions() -> Tensor:
    """Return (4, 4) regions: also one with its corners on keypoints, and one below a pixel."""
    return torch.tensor([[10.0, 20, 60, 90], [12.5, 21.25, 59.75, 88], [0, 0, 30, 40], [5, 5, 5.5, 5.25]])


def keypoints() -> Tensor:
    """Return (4, 5, 3) keypoints of the regions: inside, on edges, outside, and not labelled."""
    points = torch.tensor([[30.0, 40, 2], [60, 90, 1], [10, 20, 2], [200, 3, 2], [30, 40, 0]])
    return points.expand(4, 5, 3).clone()


class TestHeatMaps:
    def test_have_the_true_cells_of_torchvision(self) -> None:
        cells = cells_of_keypoints(keypoints(), regions(), 56)
        expected, valid = keypoints_to_heatmap(keypoints(), regions(), 56)
        assert torch.equal(cells >= 0, valid > 0)
        assert torch.equal(cells[cells >= 0], expected[valid > 0])
        assert cells[0].tolist() == [16 * 56 + 22, 55 * 56 + 55, 0, -1, -1]

    def test_give_the_loss_of_torchvision(self) -> None:
        logits = torch.randn(4, 5, 56, 56, generator=torch.Generator().manual_seed(3))
        found = keypoint_loss(KeypointOutputs(logits, cells_of_keypoints(keypoints(), regions(), 56)))
        expected = keypointrcnn_loss(logits, [regions()], [keypoints()], [torch.arange(4)])
        torch.testing.assert_close(found, expected)

    def test_give_the_keypoints_of_torchvision(self) -> None:
        logits = torch.randn(4, 5, 56, 56, generator=torch.Generator().manual_seed(3))
        found = locate(logits, regions())
        places, scores = heatmaps_to_keypoints(logits, regions())
        torch.testing.assert_close(found[..., :2], places[..., :2])
        torch.testing.assert_close(found[..., 2], scores)

    def test_give_back_the_keypoints_of_their_cells(self) -> None:
        region, place = torch.tensor([[10.0, 20, 66, 132]]), torch.tensor([[[31.5, 77.0, 2]]])
        logits = torch.full((1, 1, 56 * 56), -9.0)
        logits[0, 0, cells_of_keypoints(place, region, 56)] = 9
        found = locate(logits.unflatten(2, (56, 56)), region)
        assert (found[..., :2] - place[..., :2]).abs().max() <= 1.5


def test_keypoints_are_in_pixels_of_the_given_image_at_another_input_scale() -> None:
    detector = narrow().eval()
    wrapped = RescaledDetector(detector, 0.5)
    assert wrapped.has_keypoints
    larger = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        (own,) = detections_of(detector, wrapped.features(larger), [SIZES[0]])
        (found,) = detections_of(wrapped, wrapped.features(larger), [(SIZES[0][0] * 2, SIZES[0][1] * 2)])
    assert own.keypoints is not None and found.keypoints is not None
    torch.testing.assert_close(found.keypoints[..., :2], own.keypoints[..., :2] * 2)
    torch.testing.assert_close(found.keypoints[..., 2], own.keypoints[..., 2])
