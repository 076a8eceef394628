"""What exports promise: every detector exports, and detects what it detects in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from torch.export import ExportedProgram

from fgd_core.data.samples import Category
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record
from fgd_core.errors import SpecError
from fgd_core.export.checking import TOLERANCE, largest_difference
from fgd_core.export.checkpoint_engine import CheckpointEngine
from fgd_core.export.description import describe
from fgd_core.export.graph import DetectionGraph
from fgd_core.export.program_engine import ProgramEngine, open_program
from fgd_core.export.writing import trace, write_onnx, write_program
from fgd_core.prediction.model import Engine, RawDetections
from fgd_core.prediction.onnx_engine import OnnxEngine, inputs_of
from fgd_core.prediction.pixels import ImageBatch, prepare
from fgd_core.spec import detectors as spec
from fgd_core.spec.data import InputSpec
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.exports import ExportDescription, ExportFormat
from tests.contract.test_detectors import SMALL, TINY_SWIN, VARIANTS, described
from tests.tiers import slow

INPUT = InputSpec(shorter_px=64, longer_px=96)
FACTORS = {spec.Fcos: 4, spec.Gfl: 4, spec.RepPoints: 4, spec.RetinaNet: 2}
"""Of the weights: so large that scores differ, and not so large that they are all 1."""
CPU = torch.device("cpu")
CLASSES = tuple(Category(number, name) for number, name in enumerate(("cat", "dog", "bird"), start=1))
# An export takes ten seconds, so each operator is exported once: the graphs of the mask detectors contain those of the
# first two; RetinaNet has a Swin here, and a ResNet in `test_runs`; FCOS has a graph for any size, in both formats.
ELSEWHERE = {spec.FasterRcnn, spec.CascadeRcnn, spec.RetinaNet, spec.Fcos}
WITH_SWIN = [each for each in VARIANTS if each.backbone == TINY_SWIN and isinstance(each, spec.RetinaNet)]
KEPT = slow("tests/test_export.py::test_detections_of_exported_files_are_those_of_pytorch[MaskRcnn onnx]")
EXPORTED: list[tuple[DetectorSpec, ExportFormat]] = [
    *((settings, "onnx") for kind, settings in SMALL.items() if kind not in ELSEWHERE),
    *((settings, "onnx") for settings in WITH_SWIN),
    *((SMALL[kind], "torch_export") for kind in (spec.Gfl, spec.MaskRcnn)),
]


def trained_like(settings: DetectorSpec, num_classes: int = len(CLASSES)) -> Detector:
    """Build a detector whose scores differ: those of a new one are nearly equal, and their order is chance."""
    torch.manual_seed(0)
    low = settings.model_copy(update={"score_threshold": 0.02})
    detector = build_detector(low, num_classes).eval().requires_grad_(requires_grad=False)
    for name, values in detector.named_parameters():
        if values.dim() > 1 and not name.startswith("backbone.body"):
            values.mul_(FACTORS.get(type(settings), 1.5))
        elif bool((values < -2).any()):
            values.fill_(0 if isinstance(settings, spec.Solo) else -2)  # A new classifier expects nothing.
    return detector


def prepared(
    settings: DetectorSpec, *, size_px: tuple[int, int] | None = (64, 96), normalise: bool = True
) -> tuple[DetectionGraph, CheckpointEngine]:
    """Return the graph of a detector that is exported, and PyTorch's engine."""
    detector = trained_like(settings)
    checkpoint = DetectorCheckpoint(
        detector=detector.settings, categories=CLASSES, input=INPUT, record=Record(), state=detector.state_dict()
    )
    description = describe(checkpoint, detector, source="test", sha256="0", size_px=size_px, normalises=normalise)
    return DetectionGraph(detector, normalises=normalise), CheckpointEngine(detector, description, CPU)


def written(program: ExportedProgram, description: ExportDescription, folder: Path, form: ExportFormat) -> Engine:
    if form == "torch_export":
        write_program(folder / "detector.pt2", program, description)
        return open_program(folder / "detector.pt2", "cpu")
    write_onnx(folder / "detector.onnx", program, description)
    return OnnxEngine(folder / "detector.onnx", threads=1)


def pictures(*sizes: tuple[int, int], size_px: tuple[int, int] | None = (64, 96)) -> ImageBatch:
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    return prepare(images, INPUT, size_px)


def difference(engine: Engine, eager: Engine, batch: ImageBatch) -> float:
    found, wanted = engine.detect(batch), eager.detect(batch)
    assert any(len(each.scores) > 2 for each in wanted), "the test compares something"
    return max(
        largest_difference(a, b, eager.description, side_px=max(size))
        for a, b, size in zip(found, wanted, batch.sizes.tolist(), strict=True)
    )


def detections(*scores: float, shift_px: float = 0) -> RawDetections:
    boxes = np.array([[0, 0, 9, 9]] * len(scores), np.float32) + shift_px
    return RawDetections(boxes.reshape(-1, 4), np.array(scores, np.float32), np.zeros(len(scores), np.int64))


LIMITS = ExportDescription(
    detector="fcos",
    classes=[],
    input=INPUT,
    score_threshold=0.05,
    max_detections=2,
    checkpoint="",
    checkpoint_sha256="",
    fgd_version="",
)


def between(one: RawDetections, other: RawDetections) -> float:
    return largest_difference(one, other, LIMITS, side_px=100)


def test_keypoints_differ_by_their_scores_and_by_places_beyond_a_neighbouring_pixel() -> None:
    def found(x_px: float, score: float) -> RawDetections:
        return detections(0.9)._replace(keypoints=np.array([[[5, 5, 1], [x_px, 5, score]]], np.float32))

    assert between(found(4, 20), found(5, 20)) == 0
    assert between(found(4, 20), found(14, 20)) == pytest.approx(0.09)
    assert between(found(4, 20), found(4, 21)) == pytest.approx(0.05, abs=0.01)
    assert between(found(4, 0.5), found(4, 0.6)) == pytest.approx(0.1)


def test_only_a_detection_at_the_threshold_or_at_the_limit_of_detections_needs_no_partner() -> None:
    assert between(detections(0.9), detections()) == np.inf
    assert between(detections(0.9), detections(0.9, shift_px=20)) == pytest.approx(0.2)
    assert between(detections(0.05005), detections()) == 0
    assert between(detections(0.9, 0.8), detections(0.9)) == 0
    assert between(detections(0.9, 0.8), detections(0.8)) == pytest.approx(0.1)


BATCHES = (((64, 90),), ((50, 50), (64, 96), (20, 96)))
"""Sizes of the images of two batches."""


@pytest.mark.parametrize("settings", [*SMALL.values(), *WITH_SWIN], ids=described)
def test_the_graph_that_is_exported_detects_as_pytorch_does(settings: DetectorSpec) -> None:
    graph, eager = prepared(settings)
    for sizes in BATCHES:
        batch = pictures(*sizes)
        assert difference(ProgramEngine(graph, eager.description, CPU), eager, batch) <= TOLERANCE


@pytest.mark.parametrize(
    ("settings", "form"),
    [
        pytest.param(
            settings,
            form,
            id=f"{described(settings)} {form}",
            marks=() if (type(settings), form) == (spec.MaskRcnn, "onnx") else KEPT,
        )
        for settings, form in EXPORTED
    ],
)
def test_detections_of_exported_files_are_those_of_pytorch(
    settings: DetectorSpec, form: ExportFormat, tmp_path: Path
) -> None:
    graph, eager = prepared(settings)
    engine = written(trace(graph, eager.description), eager.description, tmp_path, form)
    for sizes in BATCHES:
        assert difference(engine, eager, pictures(*sizes)) <= TOLERANCE


def test_a_graph_for_any_size_takes_batches_of_other_sizes_in_both_formats(tmp_path: Path) -> None:
    graph, eager = prepared(SMALL[spec.Fcos], size_px=None, normalise=False)
    traced = trace(graph, eager.description)
    small, large = pictures((64, 90), size_px=None), pictures((300, 100), (96, 96), size_px=(320, 160))
    onnx, program = (written(traced, eager.description, tmp_path, form) for form in ("onnx", "torch_export"))
    assert difference(onnx, eager, small) <= TOLERANCE
    assert difference(onnx, eager, large) <= TOLERANCE
    # Not the small one: a program refuses maps with a side of one cell.
    assert difference(program, eager, large) <= TOLERANCE


def all_locations() -> tuple[DetectionGraph, CheckpointEngine]:
    """Return a graph without post-processing, and PyTorch's engine."""
    detector = trained_like(SMALL[spec.Fcos])
    checkpoint = DetectorCheckpoint(
        detector=detector.settings, categories=CLASSES, input=INPUT, record=Record(), state=detector.state_dict()
    )
    description = describe(checkpoint, detector, source="test", sha256="0", size_px=(64, 96), postprocesses=False)
    return DetectionGraph(detector, postprocesses=False), CheckpointEngine(detector, description, CPU)


def test_without_postprocessing_the_graph_returns_all_locations_from_which_its_detections_come() -> None:
    (graph, eager), batch = all_locations(), pictures((64, 90), (50, 50))
    with pytest.raises(SpecError, match="postprocess: true"):
        ProgramEngine(graph, eager.description, CPU).detect(batch)
    boxes, scores = graph(torch.from_numpy(batch.images), torch.from_numpy(batch.sizes))
    assert boxes.shape == (*scores.shape[:2], 4)
    for image, detected in enumerate(eager.detect(batch)):
        box, score = detected.boxes[0], detected.scores[0]
        location = (scores[image].amax(1) - score).abs().argmin()
        assert scores[image, location].max() == pytest.approx(score, abs=TOLERANCE)
        assert np.abs(boxes[image, location].numpy() - box).max() <= TOLERANCE * 96


@slow("tests/test_export.py::test_without_postprocessing_the_graph_returns_all_locations")
def test_without_postprocessing_an_exported_file_returns_what_the_graph_returns(tmp_path: Path) -> None:
    (graph, eager), batch = all_locations(), pictures((64, 90), (50, 50))
    description, path = eager.description, tmp_path / "detector.onnx"
    write_onnx(path, trace(graph, description), description)
    with pytest.raises(SpecError, match="postprocess: true"):
        OnnxEngine(path).detect(batch)
    session = InferenceSession(path)
    assert [output.name for output in session.get_outputs()] == ["boxes", "scores"]
    boxes, scores = session.run(None, inputs_of(batch, description))
    wanted_parts = graph(torch.from_numpy(batch.images), torch.from_numpy(batch.sizes))
    for found, wanted in zip((boxes, scores), wanted_parts, strict=True):
        assert np.abs(found - wanted.numpy()).max() <= TOLERANCE * 96
