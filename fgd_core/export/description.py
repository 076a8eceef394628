"""Describes a checkpoint as the files that are exported from it are described."""

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint
from fgd_core.provenance import package_version
from fgd_core.spec.data import InputSpec
from fgd_core.spec.exports import ExportDescription, ExportedClass


def describe(
    checkpoint: DetectorCheckpoint,
    detector: Detector,
    *,
    source: str,
    sha256: str,
    input_spec: InputSpec | None = None,
    size_px: tuple[int, int] | None = None,
    normalises: bool = True,
    postprocesses: bool = True,
) -> ExportDescription:
    """Describe a checkpoint.

    Args:
        detector: built from it.
        source: where it comes from, in words.
        sha256: of its file.
        input_spec: None takes that of the checkpoint.
        size_px, normalises, postprocesses: see `ExportDescription`.
    """
    return ExportDescription(
        detector=checkpoint.detector.name(),
        classes=[ExportedClass(id=category.id, name=category.name) for category in checkpoint.categories],
        input=input_spec or checkpoint.input,
        size_px=size_px,
        normalises=normalises,
        postprocesses=postprocesses,
        score_threshold=checkpoint.detector.score_threshold,
        max_detections=checkpoint.detector.max_detections,
        has_masks=detector.has_masks,
        has_keypoints=detector.has_keypoints,
        mask_offset_px=detector.mask_offset_px,
        checkpoint=source,
        checkpoint_sha256=sha256,
        fgd_version=package_version(),
    )
