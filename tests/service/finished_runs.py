"""Runs that are over and left what comparisons need: real evaluations of made-up detections."""

import hashlib
from typing import Any

from control_plane import ControlPlane, train_spec

from fgd_core.data.samples import DetectionDataset
from tests.compare.evaluations import DrawnDataset, detections, evidence


def dataset(seed: int = 7, *, num_images: int = 60) -> DetectionDataset:
    return DrawnDataset(seed, num_images=num_images)


def left(plane: ControlPlane, folder: str, seed: int, *, skill: float, on: DetectionDataset | None) -> dict[str, Any]:
    """The event that tells of the evidence, which is written."""
    ground, place = on or dataset(), plane.settings.storage_dir / folder
    evidence(ground, detections(ground, seed, skill=skill), place)
    written = place / "evaluation.npz"
    saved = {"sha256": hashlib.sha256(written.read_bytes()).hexdigest(), "size_bytes": written.stat().st_size}
    named = {"name": written.name, "uri": written.as_uri(), "media_type": "application/octet-stream"}
    return {"kind": "artifact_saved"} | named | saved


async def finished(
    plane: ControlPlane,
    seed: int,
    *,
    skill: float = 0.7,
    on: DetectionDataset | None = None,
    leaves_evidence: bool = True,
    **spec: Any,
) -> str:
    """A job that succeeded, scored by pycocotools on `on`."""
    job_id, run = await plane.started_job(train_spec(seed=seed, **spec))
    if leaves_evidence:
        await run.reports(left(plane, f"jobs/{job_id}", seed, skill=skill, on=on))
    await run.succeeds()
    await plane.tick()
    return job_id
