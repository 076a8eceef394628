"""In a step, the host does not wait for the device. On a CPU nothing waits, so operations are counted that would."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fgd_core.data import open_dataset
from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.detectors import build_detector
from fgd_core.detectors.parts import proposals
from fgd_core.methods.base import Moment
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import AdamW, Ema, OptimizerSpec, Sgd, TrainingSpec
from fgd_core.training.averaging import Averages
from fgd_core.training.distiller import Distiller
from fgd_core.training.machine import Machine
from fgd_core.training.optimisation import Optimisation
from tests.library import TINY_DETECTOR, train_spec

SPEC = train_spec()
NUM_CLASSES = len(open_dataset(SPEC.data, "train").categories)
READING = (
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim", "equal"),
    *("bincount", "repeat_interleave", "nms"),
)
"""Operations whose result, or its shape, depends on values."""
COPYING = ("tensor", "as_tensor", "new_tensor", "tolist")
"""Functions that copy numbers to a device, or from it."""


class Operations(TorchDispatchMode):
    """Counts operations that read values on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READING or (name in ("index", "index_put_", "index_put") and _by_mask(args[1])):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    """Counts functions that copy numbers between the host and the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        # `torch.where` copies a number to the device, too.
        if name in COPYING or (name == "where" and any(isinstance(each, int | float) for each in args)):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def _by_mask(indices: list[Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


def waits(call: Callable[[], object]) -> Counter[str]:
    with Functions() as functions, Operations() as operations:
        call()
    return functions.found + operations.found


def tiny(fields: dict[str, str]) -> AnyDetector:
    adapter: TypeAdapter[AnyDetector] = TypeAdapter(DetectorSpec)
    return adapter.validate_python({**fields, "backbone": TINY_DETECTOR["backbone"], "fpn_width": 8})


def batch() -> Batch:
    loader = TrainLoader(open_dataset(SPEC.data, "train", with_masks=True), SPEC.input, batch_size=4, seed=0, workers=0)
    return next(loader.epoch(0)).to("cpu")


def step_of(detector: AnyDetector, optimizer: OptimizerSpec) -> Callable[[], object]:
    """Return a step that distils and keeps a moving average; one step has been taken."""
    torch.manual_seed(0)
    student, teacher = build_detector(detector, NUM_CLASSES).train(), build_detector(detector, NUM_CLASSES)
    settings = TrainingSpec(optimizer=optimizer, ema=Ema())
    machine = Machine(torch.device("cpu"), None)
    optimisation = Optimisation(student, Distiller(Fgd(), student, teacher), settings, machine)
    averages, own = Averages(student, settings), batch()

    def step() -> None:
        optimisation.step(own.to("cpu"), Moment(1, 100, 1), 1e-3)
        averages.after_step()

    step()
    return step


@pytest.mark.parametrize("optimizer", [AdamW(), Sgd()], ids=["adamw", "sgd"])
@pytest.mark.parametrize(
    "detector",
    [
        {"type": "retinanet"},
        {"type": "retinanet", "convention": "mmdetection"},
        {"type": "fcos"},
        {"type": "fcos", "convention": "mmdetection"},
        {"type": "gfl"},
    ],
    ids=lambda fields: " ".join(fields.values()),
)
def test_a_step_of_a_one_stage_detector_reads_nothing_on_the_host(
    detector: dict[str, str], optimizer: OptimizerSpec
) -> None:
    assert waits(step_of(tiny(detector), optimizer)) == Counter()


@pytest.mark.parametrize(
    ("detector", "reads"),
    [
        # The numbers of sampled anchors, of sampled regions, and of regions of each level.
        ({"type": "faster_rcnn"}, 3),
        ({"type": "faster_rcnn", "convention": "mmdetection"}, 3),
        # The masks are pooled as well.
        ({"type": "mask_rcnn"}, 4),
        # Each stage samples and pools; after two stages, the true boxes are removed.
        ({"type": "cascade_rcnn"}, 1 + 3 * 2 + 2),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else None,
)
def test_a_step_of_a_two_stage_detector_reads_the_numbers_of_its_samples(
    detector: dict[str, str], reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "_TOGETHER", 10**6)  # as on an accelerator
    # The operation itself waits, once for each image.
    assert waits(step_of(tiny(detector), Sgd())) == Counter(tolist=reads, nms=4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.ones(()).item(),
        lambda: torch.ones(3).tolist(),
        lambda: torch.ones(3).nonzero(),
        lambda: torch.ones(3)[torch.tensor([True, False, True])],
        lambda: torch.ones(3).new_tensor(2.0),
        lambda: bool(torch.ones(()) > 0),
        lambda: torch.where(torch.ones(3) > 0, torch.ones(3), 0.0),
    ],
)
def test_what_waits_is_counted(call: Callable[[], object]) -> None:
    assert waits(call).total() >= 1
