"""What the page shows as results: GET /v1/jobs/{id}/worst-images, and the sentences of a report."""

from control_plane import ControlPlane, scores

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


async def test_a_report_says_what_to_do_about_skipped_steps(plane: ControlPlane) -> None:
    job_id, run = await plane.started_job()
    result = {"scores": scores(0.5), "num_parameters": 1, "images_per_s": 1.0, "num_images": 10, "device": "cpu"}
    await run.reports({"kind": "run_finished", "outcome": "succeeded", "result": result | {"skipped_steps": 3}})
    cost, sentence = (await plane.http.get(f"/v1/jobs/{job_id}/report?format=json")).json()["sentences"]
    assert "Nothing like it had run before; it took 0:00 of running time" in cost
    assert "3 steps" in sentence
    assert "smaller learning rate" in sentence
