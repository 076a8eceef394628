"""Writes a detector as an ONNX file or as a program of `torch.export`."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
import torch
from onnxscript.optimizer import fold_constants_ir
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule
from torch.export import Dim, ExportedProgram

from fgd_core.errors import ExportError
from fgd_core.export.graph import DetectionGraph, output_names
from fgd_core.export.suppression import OPSET, SUPPRESSED, suppressed, suppressed_in_onnx
from fgd_core.spec.exports import DESCRIPTION_KEY, ExportDescription
from fgd_core.storage import Written, write_atomically

_TRACED_PX = (256, 320)
"""(height, width) of the images that a graph for any size is traced with: large enough that no map has a side of one
cell, which the tracer would take for a constant."""
_TRACED_IMAGES = 2


def trace(graph: DetectionGraph, description: ExportDescription) -> ExportedProgram:
    """Trace the graph for any number of images, and for any size unless the description has one.

    Raises:
        ExportError: PyTorch cannot trace the detector.
    """
    height, width = description.size_px or _TRACED_PX
    images = torch.rand(_TRACED_IMAGES, 3, height, width) * 255
    sizes = torch.tensor([[height, width - 20], [height - 9, width]])
    multiple = description.input.pad_to_px
    any_size = {2: multiple * Dim("height"), 3: multiple * Dim("width")}
    batch: dict[int, object] = {0: Dim("batch")}
    shapes = (batch if description.size_px else {**batch, **any_size}, batch)
    try:
        with torch.no_grad(), _quietly():
            return torch.export.export(graph, (images, sizes), dynamic_shapes=shapes, strict=False)
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"PyTorch cannot trace {description.detector} for any size; set size_px to the one size that you need",
            detector=description.detector,
            cause=str(error)[:500],
        ) from error


def write_onnx(path: Path, program: ExportedProgram, description: ExportDescription) -> Written:
    """Write a program as an ONNX file that holds its description.

    Raises:
        ExportError: an operator of the detector has no translation.
        StorageError: the disk is full, or the folder is not writable.
    """
    try:
        with _quietly():
            translated = torch.onnx.export(
                program,
                dynamo=True,
                # Rewriting all patterns takes more than half of an export, and runtimes do it when they load the file.
                optimize=False,
                opset_version=OPSET,
                verbose=False,
                custom_translation_table={SUPPRESSED: suppressed_in_onnx},
                input_names=["images", "image_sizes"],
                output_names=output_names(description),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"PyTorch's exporter cannot translate {description.detector} to ONNX; use the format torch_export",
            detector=description.detector,
            cause=str(error)[:500],
        ) from error
    assert translated is not None
    fold_constants_ir(translated.model)
    # Quantisation would otherwise convert to 8 bits and back between a convolution and its normalisation.
    rewrite(translated.model, [fuse_batchnorm_into_conv_rule])
    model = translated.model_proto
    # The exporter notes for each operator from which lines of which files it comes: as much again as a small detector.
    for part in (model.graph, *model.functions):
        for node in part.node:
            node.ClearField("metadata_props")
    set_description(model, description)
    return write_atomically(path, lambda file: file.write(model.SerializeToString()))


def set_description(model: onnx.ModelProto, description: ExportDescription) -> None:
    """Store a description in an ONNX model, in place of the one that it has."""
    kept = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, DESCRIPTION_KEY: description.model_dump_json()})


def write_program(path: Path, program: ExportedProgram, description: ExportDescription) -> Written:
    """Write a program of `torch.export` that holds its description and needs no operator of fgd.

    Raises:
        StorageError: the disk is full, or the folder is not writable.
    """
    with _quietly():
        plain = program.run_decompositions({SUPPRESSED: suppressed})

    def save(file: BinaryIO) -> None:
        buffer = io.BytesIO()
        torch.export.save(plain, buffer, extra_files={DESCRIPTION_KEY: description.model_dump_json()})
        file.write(buffer.getbuffer())

    return write_atomically(path, save)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what the exporters print about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
