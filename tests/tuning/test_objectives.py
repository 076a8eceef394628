"""The objectives of a trial are computed from its scores."""

from fgd_core.spec.results import ClassScore, KeypointScores, MaskScores, Scores
from fgd_core.spec.search import Objective
from workers.tuning.objectives import of_scores

NONE = dict.fromkeys(name for name in Scores.model_fields if name not in ("per_class", "masks"))
MASKS = MaskScores(ap=0.3, ap50=0.5, ap75=0.25, ap_small=0.1, ap_medium=0.2, ap_large=None)


def values(scores: Scores, *metrics: str) -> list[float | None]:
    return of_scores([Objective(metric=metric) for metric in metrics], scores)


def test_boxes_classes_and_masks_have_their_own_metrics() -> None:
    per_class = {"cat": ClassScore(ap=0.7, ap50=0.9, num_boxes=5)}
    scores = Scores(**(NONE | {"ap": 0.6, "ap50": 0.8}), per_class=per_class, masks=MASKS)
    metrics = ("ap", "mask_ap", "ap50", "mask_ap50", "mask_ap_small", "mask_ap_large", "class:cat", "class50:dog")
    assert values(scores, *metrics) == [0.6, 0.3, 0.8, 0.5, 0.1, None, 0.7, None]


def test_keypoints_have_their_own_metrics() -> None:
    keypoints = KeypointScores(ap=0.4, ap50=0.7, ap75=None, ap_medium=0.5, ap_large=None, sigmas="0.05")
    scores = Scores(**(NONE | {"ap": 0.6}), masks=MASKS).model_copy(update={"keypoints": keypoints})
    assert values(scores, "keypoint_ap", "keypoint_ap_medium", "mask_ap", "ap") == [0.4, 0.5, 0.3, 0.6]
    assert values(Scores(**NONE, masks=MASKS), "keypoint_ap") == [None]


def test_without_mask_scores_a_mask_metric_is_unknown() -> None:
    assert values(Scores(**NONE), "mask_ap") == [None]
