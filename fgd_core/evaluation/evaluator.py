"""Scores detectors on one validation split and computes the result of a run."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch

from fgd_core.data.samples import DetectionDataset, has_keypoints, has_masks
from fgd_core.detectors.base import Detector, num_parameters
from fgd_core.detectors.weights.digests import state_digest
from fgd_core.errors import StorageError
from fgd_core.evaluation.altered import altered_scores
from fgd_core.evaluation.coco import Evaluation, coco_scores, keypoint_scores, mask_scores, match_detections
from fgd_core.evaluation.detections_file import write_detections
from fgd_core.evaluation.diagnosis import diagnose
from fgd_core.evaluation.diagnosis.matching import MatchedImage, match_images
from fgd_core.evaluation.evidence import write_evidence
from fgd_core.evaluation.inference import ImageDetections, detect_all
from fgd_core.evaluation.samples import draw_samples, drawn_images
from fgd_core.evaluation.speed import device_lock_for, measure_speed
from fgd_core.evaluation.worst_images import Looking, ShownTeacher, save_worst_images
from fgd_core.ranks import from_first, is_first
from fgd_core.spec.data import InputSpec
from fgd_core.spec.evaluation import AlteredImages
from fgd_core.spec.events import Diagnosed, EvaluationProgress, RunEvent, Warned
from fgd_core.spec.results import RunResult, Scores
from fgd_core.storage import write_atomically

_PROGRESS_EVERY_S = 1.0
_WAIT_S, _WAIT_SHARE = 20.0, 0.1
"""The limits of the wait for exclusive use of the device: seconds, and share of the run's time so far."""


class _Best(NamedTuple):
    """Holds the detections of the evaluation with the highest AP so far."""

    ap: float
    digest: str
    """Of the detector's weights."""
    detections: Mapping[int, ImageDetections]
    """With masks and keypoints only on the images that are drawn, which saves memory."""


class Evaluator:
    """Evaluates detectors; holds the lock of its device inside a `with` block, see `device_lock`.

    Keeps the detections of the best evaluation, because a run ends with the result of its best weights.

    Args:
        device: the device of the detectors.
        autocast_dtype: of the forward passes; None is float32.
        emit: receives the progress of a long evaluation.
        what: the name of the evaluated data in progress events.
        loader_workers: number of processes that read images; 0 reads in this process.
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
        loader_workers: int = 0,
    ) -> None:
        self._dataset, self._input, self._batch_size = dataset, input_spec, batch_size
        self._device, self._autocast_dtype = device, autocast_dtype
        self._emit, self._what = emit, what
        self._loader_workers = loader_workers
        self._began_s = self._reported_s = time.monotonic()
        self._lock = device_lock_for(device)
        self._best: _Best | None = None

    def __enter__(self) -> "Evaluator":
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        # Also if the run stops: its process may live on idle, and no other run would ever get exclusive use.
        self._lock.release()

    def scores(self, detector: Detector, *, beside: bool = False) -> Scores:
        """Score the boxes of a detector in eval mode, and its masks or keypoints if it and the data have these.

        Several ranks detect together, and rank 0 scores; all return the same.

        Args:
            beside: whether a training goes on meanwhile, in another thread. It reports its own progress, and it uses
                the device, so no other run may measure now.
        """
        detections = self._detect(detector, with_progress=False) if beside else self.detections(detector)
        scores = from_first(lambda: self._score(detector, detections))
        if is_first():
            self._keep_if_best(detector, scores, detections)
        return scores

    def detections(self, detector: Detector) -> Mapping[int, ImageDetections]:
        """Detect the objects of all images, by image id; of several ranks, only rank 0 gets them."""
        self._lock.yield_device()
        return self._detect(detector)

    def _score(self, detector: Detector, detections: Mapping[int, ImageDetections]) -> Scores:
        scores = coco_scores(self._dataset, detections)
        if self._has_masks(detector):
            scores = scores.model_copy(update={"masks": mask_scores(self._dataset, detections)})
        if detector.has_keypoints and has_keypoints(self._dataset.samples):
            scores = scores.model_copy(update={"keypoints": keypoint_scores(self._dataset, detections)})
        return scores

    def result(
        self,
        detector: Detector,
        scores: Scores,
        *,
        folder: Path,
        device_name: str,
        teachers: Sequence[ShownTeacher] | None = (),
        altered: AlteredImages | None = None,
        groups: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
    ) -> RunResult:
        """Collect the scores, errors, size and speed of a detector; writes pictures and comparison data to `folder`.

        Detects again only if these weights did not have the highest AP of all that were scored here, as after a resume.
        Several ranks detect together, and rank 0 does the rest; all return the same.

        Args:
            teachers: shown beside the detector on its worst images; None shows no such images.
            altered: also detect on such copies of the images; one pass for each.
            groups: of the images by attribute, for the comparison data; see `write_evidence`.
        Raises:
            StorageError: a picture could not be written.
        """
        detections = self._found(detector)

        def collect() -> RunResult:
            images = self._save(detections, folder, groups)
            if teachers is not None:
                self._show(detector, teachers, images, folder)
            return self._collect(detector, scores, device_name)

        result = from_first(collect)
        if altered is None:
            return result
        on_copies = altered_scores(self._dataset, detections, altered, detect=partial(self._detect_on, detector))
        return result.model_copy(update={"altered": on_copies})

    def _found(self, detector: Detector) -> Mapping[int, ImageDetections]:
        """Return the detections of the detector, on rank 0; detects only if they are not kept."""
        best = self._best
        if not from_first(lambda: best is not None and best.digest == state_digest(detector)):
            return self._detect(detector)
        return best.detections if best is not None else {}

    def _keep_if_best(self, detector: Detector, scores: Scores, detections: Mapping[int, ImageDetections]) -> None:
        ap = scores.ap or 0.0
        if self._best is not None and ap <= self._best.ap:
            return
        drawn = {self._dataset.samples[index].image_id for index in drawn_images(self._dataset)}
        kept = {
            image_id: found if image_id in drawn else found._replace(masks=None, keypoints=None)
            for image_id, found in detections.items()
        }
        self._best = _Best(ap, state_digest(detector), kept)

    def _save(
        self, detections: Mapping[int, ImageDetections], folder: Path, groups: Mapping[str, Mapping[int, str]]
    ) -> list[MatchedImage]:
        """Save samples, comparison data and the diagnosis; returns the matched detections of all images."""
        picture = draw_samples(self._dataset, detections)
        written = write_atomically(folder / "samples.png", lambda file: file.write(picture))
        self._emit(written.artifact("image/png"))
        evaluation = match_detections(self._dataset, detections)
        self._write_evidence(evaluation, folder, groups)
        images = match_images(self._dataset.samples, detections)
        self._emit(Diagnosed(diagnosis=diagnose(self._dataset, images, evaluation)))
        return images

    def _show(
        self, detector: Detector, teachers: Sequence[ShownTeacher], images: Sequence[MatchedImage], folder: Path
    ) -> None:
        self._emit(write_detections(self._dataset, images, folder))
        looking = Looking(self._dataset, self._input, self._device, self._autocast_dtype)
        for saved in save_worst_images(looking, detector, teachers, images, folder):
            self._emit(saved)

    def _collect(self, detector: Detector, scores: Scores, device_name: str) -> RunResult:
        wait_s = min(_WAIT_S, _WAIT_SHARE * (time.monotonic() - self._began_s))
        speed = measure_speed(detector, self._dataset, self._input, device=self._device, wait_s=wait_s)
        return RunResult(
            scores=scores,
            num_parameters=num_parameters(detector),
            images_per_s=1000 / speed.latency_ms,
            speed=speed,
            num_images=len(self._dataset.samples),
            device=device_name,
        )

    def _write_evidence(self, evaluation: Evaluation, folder: Path, groups: Mapping[str, Mapping[int, str]]) -> None:
        names = [category.name for category in self._dataset.categories]
        try:
            saved = write_evidence(
                evaluation,
                fingerprint=self._dataset.fingerprint,
                class_names=names,
                folder=folder,
                groups=groups,
            )
        except StorageError as error:
            # The detector is trained and scored. The run must not fail because image-by-image comparison is missing.
            self._emit(Warned(code="evidence_not_written", message=f"`fgd compare` cannot use this run: {error}"))
        else:
            self._emit(saved)

    def _detect(self, detector: Detector, *, with_progress: bool = True) -> dict[int, ImageDetections]:
        what = self._what if with_progress else None
        return self._detect_on(detector, self._dataset, what, with_masks=self._has_masks(detector))

    def _detect_on(
        self, detector: Detector, dataset: DetectionDataset, what: str | None, *, with_masks: bool = False
    ) -> dict[int, ImageDetections]:
        """Detect on a data set; reports progress under the name `what`, if there is one."""
        return detect_all(
            detector,
            dataset,
            self._input,
            batch_size=self._batch_size,
            device=self._device,
            autocast_dtype=self._autocast_dtype,
            with_masks=with_masks,
            loader_workers=self._loader_workers,
            on_progress=partial(self._report_progress, what),
        )

    def _has_masks(self, detector: Detector) -> bool:
        return detector.has_masks and has_masks(self._dataset.samples)

    def _report_progress(self, what: str | None, done: int, total: int) -> None:
        if what is not None and time.monotonic() - self._reported_s > _PROGRESS_EVERY_S:
            self._reported_s = time.monotonic()
            self._emit(EvaluationProgress(what=what, done=done, total=total))
