"""Chooses the engine of COCO's evaluation: hotcoco, or pycocotools where hotcoco is not installed or cannot work.

Both compute the same precision and recall, to the bit; hotcoco is about 50 times as fast.
"""

from collections.abc import Callable
from typing import TypeAlias

from fgd_core.evaluation import pycocotools_engine
from fgd_core.evaluation.columns import Columns, Curves

try:
    from fgd_core.evaluation import hotcoco_engine
except ImportError:
    hotcoco_engine = None  # type: ignore[assignment]

Engine: TypeAlias = Callable[[Columns], Curves]


def curves(columns: Columns) -> Curves:
    """Compute precision and recall as COCO does.

    Raises:
        Stopped: the run was asked to stop; hotcoco is too fast to check.
    """
    engine: Engine = pycocotools_engine.curves
    if hotcoco_engine is not None and hotcoco_engine.is_usable():
        engine = hotcoco_engine.curves
    return engine(columns)
