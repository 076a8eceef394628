"""Non-maximum suppression as one operator, which each kind of export translates to its own."""

import torch
from onnxscript import opset20
from torch import Tensor
from torchvision.ops import nms

OPSET = 20
"""The version of ONNX's operators that exports use; the first with all that deformable convolutions need."""
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
    limits = (_numbers(_ALL), _node("Constant", value_floats=[iou_threshold]), _node("Constant", value_floats=[0.0]))
    chosen = _node("NonMaxSuppression", boxes, scores, *limits)
    count = _node("Slice", _node("Shape", chosen), _numbers(0), _numbers(1))
    nothing = _node("Expand", _numbers(0), _node("Shape", scores))
    return _node("Cast", _node("ScatterND", nothing, chosen, _node("Expand", _numbers(1), count)), to=_BOOL)


def _numbers(value: int) -> object:
    return _node("Constant", value_ints=[value])


def _node(name: str, *inputs: object, **attributes: object) -> object:
    """Add a node to the graph. onnxscript's own functions have the types of tensors, and here they get symbols."""
    return getattr(opset20, name)(*inputs, **attributes)
