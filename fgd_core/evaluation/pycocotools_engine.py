"""Computes precision and recall with pycocotools, the reference of COCO's evaluation.

pycocotools prints while it works. Redirecting stdout would also hide what other threads print, such as a progress bar.
A name in a module's globals hides the built-in from that module only.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import coco, cocoeval
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fgd_core.evaluation.columns import Columns, Curves, Objects, as_annotations
from fgd_core.stopping import raise_if_stopped

for _module in (coco, cocoeval):
    vars(_module)["print"] = lambda *_args, **_options: None

_CALLS_PER_STOP_CHECK = 5_000


class ImageResult(TypedDict):
    """An entry of `COCOeval.evalImgs`: one image, one class, one area range. D detections, G true boxes, T IoUs."""

    image_id: int
    dtScores: list[float]
    dtMatches: npt.NDArray[np.float64]
    """(T, D) id of the matched true box, or 0"""
    dtIgnore: npt.NDArray[np.bool_]
    """(T, D)"""
    gtIgnore: npt.NDArray[np.int64]
    """(G,)"""


class StoppableEval(COCOeval):  # type: ignore[misc]
    """Runs COCOeval and checks regularly whether the run must stop.

    COCOeval calls the overridden methods about 2 million times for 5,000 images of 80 classes.
    """

    _calls = 0

    def computeIoU(self, image_id: int, category_id: int) -> object:
        """Compute the IoUs of one image and class; raises Stopped."""
        self._check_stop()
        return super().computeIoU(image_id, category_id)

    def computeOks(self, image_id: int, category_id: int) -> object:
        """Compute the similarities of the keypoints of one image and class; raises Stopped."""
        self._check_stop()
        return super().computeOks(image_id, category_id)

    def evaluateImg(
        self, image_id: int, category_id: int, area_range: Sequence[float], max_detections: int
    ) -> ImageResult | None:
        """Match the detections of one image and class; raises Stopped."""
        self._check_stop()
        result: ImageResult | None = super().evaluateImg(image_id, category_id, area_range, max_detections)
        return result

    def _check_stop(self) -> None:
        self._calls += 1
        if self._calls % _CALLS_PER_STOP_CHECK == 0:
            raise_if_stopped()


def curves(columns: Columns) -> Curves:
    """Match and accumulate; see `fgd_core.evaluation.engine.curves`."""
    evaluation = evaluated(columns)
    evaluation.accumulate()
    return Curves(evaluation.eval["precision"], evaluation.eval["recall"])


def evaluated(columns: Columns) -> COCOeval:
    """Match each image; raises Stopped."""
    evaluation = StoppableEval(_indexed(columns, columns.truth), _indexed(columns, columns.found), columns.overlap)
    if columns.keypoint_sigmas is not None:
        evaluation.params.kpt_oks_sigmas = columns.keypoint_sigmas
    evaluation.evaluate()
    return evaluation


def _indexed(columns: Columns, objects: Objects) -> COCO:
    """Build COCO's index from memory; its constructor reads files only."""
    indexed = COCO()
    sizes = enumerate(columns.image_sizes_px)
    indexed.dataset = {
        "images": [{"id": place, "height": height, "width": width} for place, (height, width) in sizes],
        "categories": [{"id": label, "name": str(label)} for label in range(columns.num_classes)],
        "annotations": as_annotations(objects),
    }
    indexed.createIndex()
    return indexed
