"""Scores detectors on one validation split, and writes the last page of a run."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detections, Detector, num_parameters
from fgd_core.evaluation.coco import coco_scores
from fgd_core.evaluation.evaluate import detect_all, images_per_second
from fgd_core.evaluation.samples import draw_samples
from fgd_core.spec.data import InputSpec
from fgd_core.spec.events import ArtifactSaved, EvaluationProgress, RunEvent
from fgd_core.spec.results import RunResult, Scores
from fgd_core.storage import write_atomically

_PROGRESS_EVERY_S = 1.0


class Judge:
    """
    Args:
        device: that the detectors are on.
        autocast_dtype: of the forward passes; None is float32.
        emit: is told how far a long evaluation is.
        what: names the work for a person who watches.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        input_spec: InputSpec,
        *,
        batch_size: int,
        device: torch.device,
        autocast_dtype: torch.dtype | None,
        emit: Callable[[RunEvent], None],
        what: str = "the validation split",
    ) -> None:
        self._dataset, self._input, self._batch_size = dataset, input_spec, batch_size
        self._device, self._autocast_dtype = device, autocast_dtype
        self._emit, self._what = emit, what
        self._reported_s = time.monotonic()

    def scores(self, detector: Detector) -> Scores:
        """Of a detector in eval mode."""
        return coco_scores(self._dataset, self._detect(detector))

    def result(self, detector: Detector, scores: Scores, *, folder: Path, device_name: str) -> RunResult:
        """What the detector is worth and costs, and a picture of what it finds, written into `folder`.

        Raises:
            StorageError: the picture could not be written.
        """
        picture = draw_samples(self._dataset, self._detect(detector))
        written = write_atomically(folder / "samples.png", lambda file: file.write(picture))
        self._emit(
            ArtifactSaved(
                name=written.path.name,
                uri=written.path.resolve().as_uri(),
                media_type="image/png",
                sha256=written.sha256,
                size_bytes=written.size_bytes,
            )
        )
        return RunResult(
            scores=scores,
            num_parameters=num_parameters(detector),
            images_per_s=images_per_second(detector, self._dataset, self._input, device=self._device),
            num_images=len(self._dataset.samples),
            device=device_name,
        )

    def _detect(self, detector: Detector) -> dict[int, Detections]:
        return detect_all(
            detector,
            self._dataset,
            self._input,
            batch_size=self._batch_size,
            device=self._device,
            autocast_dtype=self._autocast_dtype,
            on_progress=self._report_progress,
        )

    def _report_progress(self, done: int, total: int) -> None:
        if time.monotonic() - self._reported_s > _PROGRESS_EVERY_S:
            self._reported_s = time.monotonic()
            self._emit(EvaluationProgress(what=self._what, done=done, total=total))
