"""GET /v1/jobs/{id}/worst-images."""

from control_plane import ControlPlane

from fgd_core.spec.worst_images import WORST_IMAGES
from tests.reports.recorded_jobs import worst_images


class TestWorstImages:
    async def test_boxes_are_judged_for_each_detector(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        content = worst_images("a teacher").model_dump_json().encode()
        saved = {"name": WORST_IMAGES, "uri": run.writes(WORST_IMAGES, content), "media_type": "application/json"}
        await run.reports({"kind": "artifact_saved", "sha256": "0" * 64, "size_bytes": len(content)} | saved)
        job = (await plane.http.get(f"/v1/jobs/{job_id}")).json()
        answer = (await plane.http.get(f"/v1/jobs/{job_id}/worst-images")).json()
        image = answer["images"][0]
        assert image["panels"][0]["name"] == job["name"]
        assert {box["verdict"] for panel in image["panels"] for box in panel["boxes"]} <= {"right", "wrong", "missed"}
        assert any(panel["boxes"] for panel in image["panels"])

    async def test_a_job_without_images_has_an_empty_list(self, plane: ControlPlane) -> None:
        job_id, _ = await plane.started_job()
        assert (await plane.http.get(f"/v1/jobs/{job_id}/worst-images")).json() == {"images": []}
