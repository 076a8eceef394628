"""Exports a checkpoint, compares each file with PyTorch, and writes a model card."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch.export import ExportedProgram

from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, read_checkpoint
from fgd_core.detectors.weights.digests import weights_digest
from fgd_core.evaluation.predicted import score_model
from fgd_core.export.checking import compare
from fgd_core.export.checkpoint_engine import CheckpointEngine
from fgd_core.export.description import describe
from fgd_core.export.graph import DetectionGraph
from fgd_core.export.model_card import MODEL_CARD, model_card
from fgd_core.export.program_engine import open_program
from fgd_core.export.quantising import quantise
from fgd_core.export.writing import trace, write_onnx, write_program
from fgd_core.prediction.model import Engine, Model
from fgd_core.prediction.onnx_engine import OnnxEngine
from fgd_core.prediction.pixels import ImageBatch, prepare, read_pixels
from fgd_core.runs.opening import check_classes, open_split
from fgd_core.spec.events import ArtifactSaved, Exported, RunFinished
from fgd_core.spec.exports import ExportDescription, ExportedFile, ExportFormat
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.results import Scores
from fgd_core.stopping import stoppable
from fgd_core.storage import Written, write_atomically
from fgd_core.training.context import RunContext
from fgd_core.training.machine import choose_machine, seed_everything

ONNX, INT8, PROGRAM = "detector.onnx", "detector.int8.onnx", "detector.pt2"


class _Format(NamedTuple):
    """Says how a format is written and opened."""

    name: str
    media_type: str
    write: Callable[[Path, ExportedProgram, ExportDescription], Written]
    open: Callable[[Path], Engine]


# In this order: translating a program to ONNX uses up its sizes that are only known when it runs, and PyTorch could
# then not decompose it again.
_FORMATS: dict[ExportFormat, _Format] = {
    "torch_export": _Format(PROGRAM, "application/zip", write_program, open_program),
    "onnx": _Format(ONNX, "application/onnx", write_onnx, OnnxEngine),
}


def export(spec: ExportSpec, context: RunContext) -> RunFinished:
    """Export a checkpoint in each of the job's formats.

    Raises:
        ExportDiffersError: a file detects something else than PyTorch.
        WeightsError: the classes of the checkpoint and of the data differ.
        FgdError: see `fgd_core.errors`.
    """
    seed_everything(spec.seed)
    context.emit(choose_machine(spec.resources, "float32").describe())
    path = context.resolve_checkpoint(spec.checkpoint)
    checkpoint, _ = read_checkpoint(path)
    dataset = open_split(spec.data, "val", context, checkpoint.detector)
    check_classes(checkpoint, dataset, spec.checkpoint)
    detector, loaded = checkpoint.build("detector", spec.checkpoint)
    context.emit(loaded)
    # Exported on the CPU, so that the constants of the graph are, and a machine without a GPU can run it.
    detector.eval().requires_grad_(requires_grad=False)
    description = describe(
        checkpoint,
        detector,
        source=spec.checkpoint,
        sha256=weights_digest(spec.checkpoint, context.resolve_checkpoint),
        input_spec=spec.input,
        size_px=spec.size_px,
        normalises=spec.normalise,
        postprocesses=spec.postprocess,
    )
    export = _Export(spec, context, dataset, checkpoint, description)
    program = trace(DetectionGraph(detector, normalises=spec.normalise, postprocesses=spec.postprocess), description)
    eager = CheckpointEngine(detector, description, torch.device("cpu"))
    files = [export.write(form, program, eager) for form in _FORMATS if form in spec.formats]
    files += [export.write_int8()] if spec.int8 else []
    export.write_card(files)
    return RunFinished(outcome="succeeded")


class _Export(NamedTuple):
    """Holds what all files of an export share."""

    spec: ExportSpec
    context: RunContext
    dataset: DetectionDataset
    checkpoint: DetectorCheckpoint
    description: ExportDescription

    def write(self, form: ExportFormat, program: ExportedProgram, eager: CheckpointEngine) -> ExportedFile:
        """Write a file of a format and compare it with PyTorch."""
        began_s, how = time.monotonic(), _FORMATS[form]
        written = how.write(self.context.job_dir / how.name, program, self.description)
        file = _described(written, form)
        if self.description.postprocesses:
            number = min(self.spec.num_checked_images, len(self.dataset.samples))
            difference = compare(how.open(written.path), eager, self.batches(number))
            file = file.model_copy(update={"num_checked": number, "max_difference": difference})
        return self._reported(file, written.artifact(how.media_type), began_s)

    def write_int8(self) -> ExportedFile:
        """Quantise the ONNX file, and score it and the float32 file."""
        began_s, folder = time.monotonic(), self.context.job_dir
        number = min(self.spec.num_calibration_images, len(self.dataset.samples))
        written = quantise(folder / ONNX, folder / INT8, self.batches(number), self.description)
        exact, scores = self._scores(folder / ONNX), self._scores(written.path)
        change = None if exact.ap is None or scores.ap is None else scores.ap - exact.ap
        facts = {"precision": "int8", "scores": scores, "ap_change": change}
        file = _described(written, "onnx").model_copy(update=facts)
        return self._reported(file, written.artifact(_FORMATS["onnx"].media_type), began_s)

    def write_card(self, files: list[ExportedFile]) -> None:
        """Write the model card beside the files."""
        source, sha256 = self.description.checkpoint, self.description.checkpoint_sha256
        text = model_card(self.checkpoint, source=source, sha256=sha256, files=files, data=self.dataset.checked)
        written = write_atomically(self.context.job_dir / MODEL_CARD, lambda file: file.write(text.encode()))
        self.context.emit(written.artifact("text/markdown"))

    def batches(self, number: int) -> Iterator[ImageBatch]:
        """Prepare the first images of the validation split, one a batch."""
        for index in stoppable(range(number)):
            pixels = read_pixels(self.dataset.load_image(index))
            yield prepare([pixels], self.description.input, self.description.size_px)

    def _scores(self, path: Path) -> Scores:
        return score_model(
            Model(OnnxEngine(path, threads=torch.get_num_threads())), self.dataset, batch_size=self.spec.batch_size
        )

    def _reported(self, file: ExportedFile, artifact: ArtifactSaved, began_s: float) -> ExportedFile:
        finished = file.model_copy(update={"took_s": time.monotonic() - began_s})
        self.context.emit(artifact)
        self.context.emit(Exported(file=finished))
        return finished


def _described(written: Written, form: ExportFormat) -> ExportedFile:
    return ExportedFile(
        name=written.path.name,
        format=form,
        precision="float32",
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        took_s=0.0,
        num_checked=0,
    )
