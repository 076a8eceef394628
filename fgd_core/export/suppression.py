"""Non-maximum suppression as one operator, which each kind of export translates to its own."""

from typing import Any

import torch
from onnxscript import opset20
from torch import Tensor
from torchvision.ops import nms

OPSET = 20
"""The version of ONNX's operators that exports use; the first with all that deformable convolutions need."""
_OP: Any = opset20  # Its functions have the types of tensors, and here they get the symbols of a graph.
_ALL = 2**31 - 1
_BOOL = 9


def suppressed(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Find the boxes that non-maximum suppression keeps, in each group and class on its own.

    All shapes are known before the values are, so a graph with this step has a fixed number of outputs.

    Args:
        boxes: (G, n, 4) float32 xyxy.
        scores: (G, C, n) float32; boxes of score 0 or less are left out.
        iou_threshold: of two boxes whose IoU is above this, the better one is kept.
    Returns:
        (G, C, n) bool
    """
    group, label, index = (scores > 0).nonzero(as_tuple=True)
    # In float64, shifting each group and class to a place of its own leaves every overlap as it is.
    chosen = boxes[group, index].double()
    number = (group * scores.shape[1] + label)[:, None]
    span = torch.nn.functional.pad(boxes.flatten().double(), (0, 1)).abs().amax() * 2 + 1
    keep = nms(chosen + number * span, scores[group, label, index].double(), iou_threshold)
    nothing = torch.zeros_like(scores, dtype=torch.bool)
    # Not in place: a decomposition of an operator changes no tensor.
    return nothing.index_put((group[keep], label[keep], index[keep]), torch.ones_like(keep, dtype=torch.bool))


_suppressed = torch.library.custom_op("fgd::suppressed", suppressed, mutates_args=())


@_suppressed.register_fake
def _like(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


SUPPRESSED = torch.ops.fgd.suppressed.default
"""`suppressed` as one operator of a graph."""


def suppressed_in_onnx(boxes: object, scores: object, iou_threshold: float) -> object:
    """Translate the operator: the indices that `NonMaxSuppression` returns become a mask."""
    chosen = _OP.NonMaxSuppression(
        boxes,
        scores,
        _OP.Constant(value_ints=[_ALL]),
        _OP.Constant(value_floats=[iou_threshold]),
        _OP.Constant(value_floats=[0.0]),
    )
    count = _OP.Slice(_OP.Shape(chosen), _OP.Constant(value_ints=[0]), _OP.Constant(value_ints=[1]))
    nothing = _OP.Expand(_OP.Constant(value_ints=[0]), _OP.Shape(scores))
    return _OP.Cast(_OP.ScatterND(nothing, chosen, _OP.Expand(_OP.Constant(value_ints=[1]), count)), to=_BOOL)
