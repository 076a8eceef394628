"""Runs exported programs of `torch.export` in PyTorch."""

import json
import zipfile
from pathlib import Path

import torch

from fgd_core.errors import SpecError, WeightsError
from fgd_core.export.checkpoint_engine import device_named, normalised_batch
from fgd_core.export.graph import output_names
from fgd_core.prediction.graph_outputs import split
from fgd_core.prediction.model import RawDetections
from fgd_core.prediction.pixels import ImageBatch
from fgd_core.spec.exports import DESCRIPTION_KEY, ExportDescription


class ProgramEngine:
    """Runs one program on `device`."""

    def __init__(self, program: torch.nn.Module, description: ExportDescription, device: torch.device) -> None:
        self._program, self._device = program, device
        self.description = description

    @torch.no_grad()
    def detect(self, batch: ImageBatch) -> list[RawDetections]:
        """Detect the objects of each image.

        Raises:
            SpecError: the file has no post-processing.
        """
        if not self.description.postprocesses:
            raise SpecError("the file was exported without post-processing; export it with postprocess: true")
        images = torch.from_numpy(batch.images) if self.description.normalises else normalised_batch(batch)
        outputs = self._program(images.to(self._device), torch.from_numpy(batch.sizes).to(self._device))
        return split(output_names(self.description), [each.cpu().numpy() for each in outputs])


def open_program(path: Path, device: str = "cpu") -> ProgramEngine:
    """Open a program of `torch.export` that an `export` job wrote.

    Raises:
        WeightsError: the file is damaged, or another program wrote it.
        DeviceError: PyTorch has no such device.
    """
    texts = {DESCRIPTION_KEY: ""}
    try:
        program = torch.export.load(path, extra_files=texts)
        description = ExportDescription.model_validate(json.loads(texts[DESCRIPTION_KEY]))
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(
            "the file is no program of an `export` job of this version; export it again", path=str(path)
        ) from error
    chosen = device_named(device)
    return ProgramEngine(program.module().to(chosen), description, chosen)
