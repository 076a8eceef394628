"""Computes precision and recall with hotcoco, a compiled evaluator whose numbers equal those of pycocotools."""

import os
from typing import TypeAlias, cast

import hotcoco
import numpy as np
import torch

from fgd_core.evaluation.columns import Columns, Curves, Objects, as_annotations

_Shapes: TypeAlias = list[dict[str, object] | list[list[float]]] | None
"""Run lengths or polygons, as hotcoco takes them."""


_with_threads: set[int] = set()
"""Ids of the processes that have started hotcoco's thread pool: this one, or one that it was forked from."""


def is_usable() -> bool:
    """Return whether hotcoco works in this process.

    It does not in a process that was forked after an evaluation: the pool's threads are not copied, and an evaluation
    would wait for them for ever.
    """
    return not _with_threads or os.getpid() in _with_threads


def curves(columns: Columns) -> Curves:
    """Match and accumulate; see `fgd_core.evaluation.engine.curves`."""
    _with_threads.add(os.getpid())
    # Its thread pool starts at the first evaluation, with a thread for each core of the machine unless told otherwise.
    os.environ.setdefault("RAYON_NUM_THREADS", str(torch.get_num_threads()))
    truth, found = _annotated(columns) if columns.overlap == "keypoints" else _arrays(columns)
    evaluation = hotcoco.COCOeval(truth, found, columns.overlap)
    if columns.keypoint_sigmas is not None:
        evaluation.params.kpt_oks_sigmas = columns.keypoint_sigmas.tolist()
    evaluation.evaluate()
    evaluation.accumulate()
    result = evaluation.eval
    assert result is not None, "accumulate() sets it"
    return Curves(result["precision"], result["recall"])


def _arrays(columns: Columns) -> tuple[hotcoco.COCO, hotcoco.COCO]:
    truth, found = columns.truth, columns.found
    indexed = hotcoco.COCO.from_arrays(
        _images(columns),
        _categories(columns),
        truth.image,
        truth.label,
        truth.boxes_xywh_px,
        ids=np.arange(1, len(truth.label) + 1),
        area=truth.areas_px2,
        iscrowd=truth.is_crowd.astype(np.int64),
        segmentation=cast(_Shapes, truth.masks),
    )
    rows = np.column_stack([found.image, found.boxes_xywh_px, found.scores, found.label])
    results = indexed.load_res(rows, segmentation=cast(_Shapes, found.masks))
    if found.masks is not None:
        # Rows are numbered from 1, and have the areas of their boxes.
        results.update_anns(ids=np.arange(1, len(rows) + 1), area=found.areas_px2)
    return indexed, results


def _annotated(columns: Columns) -> tuple[hotcoco.COCO, hotcoco.COCO]:
    """Return the objects as annotations, because the arrays have no keypoints."""
    parts = {"images": _images(columns), "categories": _categories(columns)}

    def indexed(objects: Objects) -> hotcoco.COCO:
        return hotcoco.COCO({**parts, "annotations": as_annotations(objects)})

    return indexed(columns.truth), indexed(columns.found)


def _images(columns: Columns) -> list[dict[str, object]]:
    sizes = enumerate(columns.image_sizes_px)
    return [{"id": place, "height": height, "width": width} for place, (height, width) in sizes]


def _categories(columns: Columns) -> list[dict[str, object]]:
    return [{"id": label, "name": str(label)} for label in range(columns.num_classes)]
