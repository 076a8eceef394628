"""Finished runs with the evidence that comparisons need: real evaluations of synthetic detections."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from control_plane import ControlPlane, train_spec

from fgd_core.data.samples import DetectionDataset
from tests.compare.evaluations import DrawnDataset, detections, evidence


def dataset(seed: int = 7, *, num_images: int = 60) -> DetectionDataset:
    return DrawnDataset(seed, num_images=num_images)


def left(plane: ControlPlane, folder: str, seed: int, *, skill: float, on: DetectionDataset | None) -> dict[str, Any]:
    """Write the evidence of a run, and return the event that reports it."""
    ground, path = on or dataset(), f"{folder}/evaluation.npz"
    with TemporaryDirectory() as place:
        evidence(ground, detections(ground, seed, skill=skill), Path(place))
        content = (Path(place) / "evaluation.npz").read_bytes()
    plane.storage.write(path, content)
    saved = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    named = {"name": "evaluation.npz", "uri": plane.storage.uri_of(path), "media_type": "application/octet-stream"}
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
    """Run a job to success, with an evaluation on `on` by pycocotools, and return its id."""
    job_id, run = await plane.started_job(train_spec(seed=seed, **spec))
    if leaves_evidence:
        await run.reports(left(plane, f"jobs/{job_id}", seed, skill=skill, on=on))
    await run.succeeds()
    await plane.tick()
    return job_id
