"""The registry of data sets: register by name, check with a job, refer to from specs."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, ManualClock, Run, evaluate_spec, train_spec
from httpx import Response
from memory_cluster import MemoryCluster
from PIL import Image
from pydantic import SecretStr
from sweeps import sweep_spec

from service.server.first_token import ensure_admin_token
from service.settings import Settings

SHAPES = {"type": "shapes", "num_train": 40, "num_val": 10}
COCO = {
    "type": "coco",
    "train": {"images": "/data/train", "annotations": "/data/train.json"},
    "val": {"images": "/data/val", "annotations": "/data/val.json"},
}
NAMED = {"type": "registered", "name": "blood"}
TRAIN, VAL = "a" * 64, "b" * 64

PRINTS: dict[str, Any] = {"train": TRAIN, "val": VAL, "pictures": {}, "pool": None}


def counted(*, train: str = TRAIN, findings: Any = ()) -> dict[str, Any]:
    """Return the event with the counts of a check."""
    counts = {"num_images": 40, "num_images_without_boxes": 2, "num_boxes": 90, "num_crowd": 0}
    profile = {"num_small": 10, "num_medium": 50, "num_large": 30, "num_sizes": 1}
    profile |= {"images_per_category": {"cell": 38}, "objects_per_image": [{"first": 0, "last": 0, "count": 2}]}
    profile |= {"longer_sides_px": [{"first": 0, "last": 256, "count": 40}]}
    profile |= {"common_sizes": [{"width_px": 128, "height_px": 128, "num_images": 40}]}
    splits = [
        counts
        | {"split": split, "fingerprint": fingerprint, "boxes_per_category": {"cell": 90}, "findings": [*findings]}
        for split, fingerprint in (("train", train), ("val", VAL))
    ]
    profiles = [profile | {"split": split} for split in ("train", "val")]
    return {"kind": "data_set_checked", "splits": splits, "profiles": profiles}


async def add(plane: ControlPlane, name: str = "blood", data: Any = SHAPES, **fields: Any) -> dict[str, Any]:
    answer = await plane.http.post("/v1/datasets", json={"name": name, "data": data} | fields)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/v1/datasets/{answer.json()['dataset_id']}"
    created: dict[str, Any] = answer.json()
    return created


async def begin_check(plane: ControlPlane, key: str = "blood") -> tuple[str, Run]:
    answer = await plane.http.post(f"/v1/datasets/{key}/check")
    assert answer.status_code == 202, answer.text
    await plane.tick()
    run = plane.run()
    plane.cluster.say(run.submission_id, "RUNNING")
    await run.starts()
    return answer.json()["job_id"], run


async def checked(plane: ControlPlane, key: str = "blood", **fields: Any) -> str:
    job_id, run = await begin_check(plane, key)
    await run.reports(counted(**fields), {"kind": "run_finished", "outcome": "succeeded"})
    plane.cluster.say(run.submission_id, "SUCCEEDED")
    await plane.tick()
    return job_id


async def shown(plane: ControlPlane, key: str = "blood") -> dict[str, Any]:
    answer = await plane.http.get(f"/v1/datasets/{key}")
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


class TestRegistering:
    async def test_a_new_data_set_is_unchecked_and_found_by_id_and_name(self, plane: ControlPlane) -> None:
        made = await add(plane)
        assert await shown(plane, made["dataset_id"]) == await shown(plane, "blood") == made
        assert (made["state"], made["format"], made["project"]) == ("unchecked", "shapes", "default")
        assert (made["outcome"], made["fingerprints"], made["num_images"]) == (None, None, {})

    async def test_a_name_is_unique_in_a_project(self, plane: ControlPlane) -> None:
        await add(plane)
        await add(plane, project="lab")
        answer = await plane.http.post("/v1/datasets", json={"name": "blood", "data": SHAPES})
        assert (answer.status_code, "already" in answer.json()["detail"]) == (409, True)
        ambiguous = await plane.http.get("/v1/datasets/blood")
        assert (ambiguous.status_code, ambiguous.json()["details"]["projects"]) == (409, ["default", "lab"])
        assert (await plane.http.get("/v1/datasets/blood?project=lab")).json()["project"] == "lab"

    @pytest.mark.one_database
    @pytest.mark.parametrize(
        "changes",
        [{"name": "two words"}, {"name": "x", "data": {"type": "zip"}}, {"name": "x", "data": NAMED}, {"size": 3}],
    )
    async def test_an_invalid_data_set_is_refused(self, plane: ControlPlane, changes: dict[str, Any]) -> None:
        answer = await plane.http.post("/v1/datasets", json={"name": "blood", "data": SHAPES} | changes)
        assert answer.status_code == 422

    @pytest.mark.one_database
    async def test_paths_are_confined_as_in_jobs(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock, tmp_path: Path
    ) -> None:
        plane = ControlPlane(settings.model_copy(update={"data_roots": (tmp_path,)}), cluster, clock)
        yolo = {"type": "yolo", "data_yaml": "data.yaml", "root": "/etc"}
        answer = await plane.http.post("/v1/datasets", json={"name": "b", "data": yolo})
        codes = {reason["loc"]: reason["code"] for reason in answer.json()["reasons"]}
        assert codes == {"data.data_yaml": "relative_path", "data.root": "outside_data_roots"}
        answer = await plane.http.post("/v1/datasets", json={"name": "b", "data": {"type": "voc", "folder": "/etc"}})
        assert answer.json()["reasons"][0]["code"] == "outside_data_roots"
        await plane.close()

    async def test_the_list_has_pages_newest_first_and_filters(self, plane: ControlPlane) -> None:
        for name in ("one", "two", "three"):
            await add(plane, name)
        await add(plane, "four", project="lab")
        first = (await plane.http.get("/v1/datasets?limit=3")).json()
        assert [item["name"] for item in first["items"]] == ["four", "three", "two"]
        second = (await plane.http.get(f"/v1/datasets?limit=3&cursor={first['next_cursor']}")).json()
        assert ([item["name"] for item in second["items"]], second["next_cursor"]) == (["one"], None)
        for query, names in (("project=lab", ["four"]), ("q=O", ["four", "two", "one"]), ("q=nothing", [])):
            listed = (await plane.http.get(f"/v1/datasets?{query}")).json()["items"]
            assert [item["name"] for item in listed] == names


def derive_spec(**fields: Any) -> dict[str, Any]:
    base = {"kind": "derive_data", "name": "copies", "data": SHAPES, "teacher": {"checkpoint": "/data/teacher.pt"}}
    return base | {"dataset": "blood-adversarial", "folder": "/data/copies"} | fields


async def submit(plane: ControlPlane, spec: dict[str, Any]) -> Response:
    return await plane.http.post("/v1/jobs", json=spec)


class TestDeriving:
    async def test_registers_the_data_with_its_pictures_and_checks_it(self, plane: ControlPlane) -> None:
        await add(plane)
        answer = await submit(plane, derive_spec(data=NAMED))
        assert answer.status_code == 202, answer.text
        view = await shown(plane, "blood-adversarial")
        assert (view["state"], view["check_job_id"]) == ("checking", answer.json()["job_id"])
        assert view["data"] == (await shown(plane))["data"] | {
            "pictures": {"adversarial": {"train": "/data/copies/train", "val": None}}
        }
        await plane.tick()
        run = plane.run()
        plane.cluster.say(run.submission_id, "RUNNING")
        await run.starts()
        pictures = {"adversarial.train": "c" * 64}
        await run.reports(counted() | {"pictures": pictures}, {"kind": "run_finished", "outcome": "succeeded"})
        view = await shown(plane, "blood-adversarial")
        assert (view["state"], view["fingerprints"]["pictures"]) == ("checked", pictures)

    async def test_a_job_that_reads_the_pictures_is_refused_until_they_are_made(self, plane: ControlPlane) -> None:
        deriving = (await submit(plane, derive_spec())).json()["job_id"]
        data = {"type": "registered", "name": "blood-adversarial"}
        detector = {"type": "retinanet"}
        student = {"kind": "distill", "name": "student", "student": detector, "data": data}
        student["teacher"] = {"checkpoint": "/data/teacher.pt", "detector": detector}
        refused = await submit(plane, student | {"method": {"type": "ikd"}})
        [reason] = refused.json()["reasons"]
        assert (reason["loc"], reason["code"]) == ("data.name", "unfinished_data")
        assert f"fgd watch {deriving}" in reason["message"]
        await plane.tick()
        run = plane.run()
        # A method that reads no pictures need not wait for them.
        assert (await submit(plane, student | {"method": {"type": "pkd"}})).status_code == 202
        plane.cluster.say(run.submission_id, "RUNNING")
        await run.starts()
        counts = counted() | {"pictures": {"adversarial.train": "c" * 64}}
        await run.reports(counts, {"kind": "run_finished", "outcome": "succeeded"})
        assert (await submit(plane, student | {"method": {"type": "ikd"}})).status_code == 202

    async def test_again_continues_under_the_same_name(self, plane: ControlPlane) -> None:
        first, second = [await submit(plane, derive_spec(name=name)) for name in ("one", "two")]
        assert (first.status_code, second.status_code) == (202, 202)
        assert (await shown(plane, "blood-adversarial"))["check_job_id"] == second.json()["job_id"]

    async def test_does_not_take_the_name_of_other_data(self, plane: ControlPlane) -> None:
        await add(plane, "blood-adversarial")
        answer = await submit(plane, derive_spec())
        assert [(each["loc"], each["code"]) for each in answer.json()["reasons"]] == [("dataset", "name_taken")]

    async def test_keeps_its_data_sets_from_being_removed(self, plane: ControlPlane) -> None:
        await add(plane)
        await submit(plane, derive_spec(data=NAMED))
        for name in ("blood", "blood-adversarial"):
            assert (await plane.http.delete(f"/v1/datasets/{name}")).status_code == 409

    async def test_may_write_only_where_jobs_may_read(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock, tmp_path: Path
    ) -> None:
        plane = ControlPlane(settings.model_copy(update={"data_roots": (tmp_path,)}), cluster, clock)
        answer = await submit(plane, derive_spec(folder="/etc/copies"))
        assert {each["loc"]: each["code"] for each in answer.json()["reasons"]}["folder"] == "outside_data_roots"
        await plane.close()


class TestChecking:
    async def test_a_check_stores_its_counts_and_fingerprints(self, plane: ControlPlane) -> None:
        await add(plane)
        job_id, run = await begin_check(plane)
        assert (await plane.job(job_id))["spec"]["data"]["resolved"]["data"]["type"] == "shapes"
        assert ((await shown(plane))["state"], (await shown(plane))["check_job_id"]) == ("checking", job_id)
        await run.reports(counted(), {"kind": "run_finished", "outcome": "succeeded"})
        view = await shown(plane)
        assert (view["state"], view["fingerprints"]) == ("checked", PRINTS)
        assert (view["num_images"], view["num_categories"]) == ({"train": 40, "val": 40}, 1)
        assert view["num_boxes"] == {"train": 90, "val": 90}
        assert view["outcome"]["profiles"][0]["num_medium"] == 50
        assert view["checked_at"] is not None
        for form in ("html", "csv", "json"):
            report = await plane.http.get(f"/v1/jobs/{job_id}/report?format={form}")
            assert (report.status_code, "check blood" in report.text) == (200, True)

    async def test_a_second_check_returns_the_running_one(self, plane: ControlPlane) -> None:
        await add(plane)
        job_id, _ = await begin_check(plane)
        assert (await plane.http.post("/v1/datasets/blood/check")).json()["job_id"] == job_id

    async def test_bad_data_is_refused_with_its_counts(self, plane: ControlPlane) -> None:
        await add(plane)
        await checked(plane)
        _, run = await begin_check(plane)
        finding = {"problem": "missing_image", "action": "refused", "count": 3}
        await run.reports(counted(findings=[finding]))
        await run.fails("data")
        await plane.tick()
        view = await shown(plane)
        assert (view["state"], view["fingerprints"]) == ("refused", None)
        assert view["error"]["message"] == "there was data"
        assert view["outcome"]["splits"][0]["findings"][0]["problem"] == "missing_image"

    async def test_data_that_cannot_be_opened_keeps_no_old_counts(self, plane: ControlPlane) -> None:
        await add(plane)
        await checked(plane)
        _, run = await begin_check(plane)
        await run.fails("data")
        view = await shown(plane)
        assert (view["state"], view["outcome"], view["fingerprints"]) == ("refused", None, None)

    async def test_a_check_that_fails_for_another_reason_keeps_the_old_counts(self, plane: ControlPlane) -> None:
        await add(plane)
        await checked(plane)
        _, run = await begin_check(plane)
        await run.fails("storage")
        view = await shown(plane)
        assert (view["state"], view["fingerprints"]) == ("failed", PRINTS)
        await checked(plane, train="c" * 64)
        view = await shown(plane)
        assert (view["state"], view["error"], view["fingerprints"]["train"]) == ("checked", None, "c" * 64)

    async def test_the_counts_outlive_the_job_of_the_check(self, plane: ControlPlane) -> None:
        await add(plane)
        job_id = await checked(plane)
        for _ in range(3):
            plane.clock.forward(60)
            await plane.tick()
        answer = await plane.http.delete(f"/v1/jobs/{job_id}")
        assert answer.status_code == 204, answer.text
        view = await shown(plane)
        assert (view["state"], view["check_job_id"]) == ("checked", None)

    async def test_a_pool_has_its_own_fingerprint(self, plane: ControlPlane) -> None:
        await add(plane)
        _, run = await begin_check(plane)
        pool = {"kind": "pool_checked", "num_images": 3, "fingerprint": "d" * 64}
        await run.reports(counted() | {"pool": pool}, {"kind": "run_finished", "outcome": "succeeded"})
        assert (await shown(plane))["fingerprints"]["pool"] == "d" * 64


class TestPage:
    @pytest.fixture
    def settings(self, settings: Settings, stored: dict[str, Any]) -> Settings:
        return settings.model_copy(update=stored)

    async def test_the_page_shows_counts_findings_and_samples(self, plane: ControlPlane) -> None:
        await add(plane)
        unchecked = await plane.http.get("/v1/datasets/blood/page")
        assert "fgd data check blood" in unchecked.text
        _, run = await begin_check(plane)
        picture = BytesIO()
        Image.new("RGB", (4, 4)).save(picture, "PNG")
        uri = run.writes("attempts/1/samples_train.png", picture.getvalue())
        saved = {"sha256": "0" * 64, "size_bytes": 1, "media_type": "image/png"}
        outside = plane.settings.storage.dir.parent / "secret.png"
        Image.new("RGB", (4, 4)).save(outside)
        finding = {"problem": "missing_image", "action": "dropped", "count": 3, "examples": ["<gone>.png"]}
        findings = [finding | {"meaning": "there is no such file"}]
        await run.reports(
            {"kind": "artifact_saved", "name": "samples_train.png", "uri": uri} | saved,
            {"kind": "artifact_saved", "name": "samples_val.png", "uri": outside.as_uri()} | saved,
            counted(findings=findings),
        )
        page = await plane.http.get("/v1/datasets/blood/page")
        assert page.headers["content-type"].startswith("text/html")
        assert page.text.count("data:image/png;base64,") == 1
        assert "missing image" in page.text
        assert "&lt;gone&gt;.png" in page.text
        assert "there is no such file" in page.text
        assert page.text.index("Findings") < page.text.index("Contents")

    async def test_the_page_of_an_empty_data_set_shows_the_findings(self, plane: ControlPlane) -> None:
        await add(plane)
        _, run = await begin_check(plane)
        finding = {"problem": "missing_image", "action": "refused", "count": 3, "examples": ["gone.png"]}
        empty = counted(findings=[finding])
        for split in empty["splits"]:
            split |= {"num_images": 0, "num_boxes": 0, "boxes_per_category": {}}
        for each in empty["profiles"]:
            each |= {"objects_per_image": [{"first": 0, "last": 0, "count": 0}], "longer_sides_px": [], "num_sizes": 0}
        await run.reports(empty)
        await run.fails("data")
        page = await plane.http.get("/v1/datasets/blood/page")
        assert (page.status_code, "gone.png" in page.text) == (200, True)


class TestReferences:
    async def test_the_job_stores_the_location_and_the_fingerprint(self, plane: ControlPlane) -> None:
        made = await add(plane)
        await checked(plane)
        job_id, run = await plane.started_job(train_spec(data=NAMED))
        resolved = {"dataset_id": made["dataset_id"], "fingerprints": PRINTS}
        data = (await plane.job(job_id))["spec"]["data"]
        assert data["resolved"] | {"data": None} == resolved | {"data": None}
        assert data["resolved"]["data"]["num_train"] == 40
        assignment = await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=run.headers)
        assert assignment.json()["spec"]["data"] == data

    async def test_a_check_without_keypoints_refuses_a_detector_of_keypoints(self, plane: ControlPlane) -> None:
        await add(plane, data=COCO)
        await checked(plane)
        answer = await submit(plane, train_spec(data=NAMED, detector={"type": "keypoint_rcnn"}))
        reasons = [reason for reason in answer.json()["reasons"] if reason["code"] == "no_keypoints"]
        assert [reason["loc"] for reason in reasons] == ["detector.type"]
        assert "'blood'" in reasons[0]["message"]

    async def test_an_unchecked_data_set_can_be_used(self, plane: ControlPlane) -> None:
        await add(plane)
        data = (await plane.job(await plane.submit(train_spec(data=NAMED))))["spec"]["data"]
        assert data["resolved"]["fingerprints"] is None

    async def test_a_sweep_resolves_it_in_its_base(self, plane: ControlPlane) -> None:
        await add(plane)
        spec = sweep_spec()
        spec["base"]["data"] = NAMED
        data = (await plane.job(await plane.submit(spec)))["spec"]["base"]["data"]
        assert data["resolved"]["data"]["type"] == "shapes"

    async def test_an_unknown_name_is_refused_with_a_suggestion(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(data=NAMED))
        assert (answer.status_code, "fgd data add" in answer.json()["detail"]) == (422, True)
        await add(plane, "blood-cells")
        await add(plane, "blood", project="lab")
        answer = await plane.http.post("/v1/jobs", json=train_spec(data=NAMED))
        (reason,) = answer.json()["reasons"]
        assert (reason["loc"], reason["code"]) == ("data.name", "unknown_dataset")
        assert "did you mean 'blood-cells'?" in reason["message"]
        spec = train_spec(data=NAMED, project="lab")
        assert (await plane.http.post("/v1/jobs", json=spec)).status_code == 202

    async def test_an_evaluation_may_name_each_of_its_data_sets(self, plane: ControlPlane) -> None:
        made = await add(plane)
        weights = "FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1"
        spec = evaluate_spec(weights, data=NAMED, more_data={"again": NAMED, "drawn": SHAPES})
        job_id = await plane.submit(spec)
        more = (await plane.job(job_id))["spec"]["more_data"]
        assert more["again"]["resolved"]["dataset_id"] == made["dataset_id"] and more["drawn"]["type"] == "shapes"
        assert (await plane.http.delete("/v1/datasets/blood")).json()["details"]["jobs"] == [job_id]
        answer = await plane.http.post("/v1/jobs", json={**spec, "more_data": {"again": NAMED | {"name": "none"}}})
        (reason,) = answer.json()["reasons"]
        assert (reason["loc"], reason["code"]) == ("more_data.again.name", "unknown_dataset")

    async def test_a_location_sent_by_a_client_is_replaced(self, plane: ControlPlane) -> None:
        await add(plane)
        forged = {"dataset_id": "x", "data": COCO, "fingerprints": None}
        job = await plane.job(await plane.submit(train_spec(data=NAMED | {"resolved": forged})))
        assert job["spec"]["data"]["resolved"]["data"]["type"] == "shapes"
        answer = await plane.http.post("/v1/jobs", json=train_spec(data=NAMED | {"name": "none", "resolved": forged}))
        assert answer.json()["reasons"][0]["code"] == "unknown_dataset"

    async def test_data_that_its_check_refused_is_refused_on_submission(self, plane: ControlPlane) -> None:
        await add(plane)
        _, run = await begin_check(plane)
        await run.fails("data")
        answer = await plane.http.post("/v1/jobs", json=train_spec(data=NAMED))
        assert answer.json()["reasons"][0]["code"] == "refused_data"
        await checked(plane)
        assert (await plane.http.post("/v1/jobs", json=train_spec(data=NAMED))).status_code == 202

    async def test_a_repeated_request_is_one_job_despite_a_check_in_between(self, plane: ControlPlane) -> None:
        await add(plane)
        key = {"Idempotency-Key": "one"}
        first = await plane.http.post("/v1/jobs", json=train_spec(data=NAMED), headers=key)
        await checked(plane)
        second = await plane.http.post("/v1/jobs", json=train_spec(data=NAMED), headers=key)
        assert first.json()["job_id"] == second.json()["job_id"]


class TestDeletion:
    async def test_deletion_is_refused_while_an_unfinished_job_uses_it(self, plane: ControlPlane) -> None:
        await add(plane)
        job_id = await plane.submit(train_spec(data=NAMED))
        answer = await plane.http.delete("/v1/datasets/blood")
        assert (answer.status_code, answer.json()["details"]["jobs"]) == (409, [job_id])
        await plane.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (await plane.http.delete("/v1/datasets/blood")).json()["name"] == "blood"
        assert (await plane.http.get("/v1/datasets/blood")).status_code == 404
        assert (await plane.job(job_id))["spec"]["data"]["resolved"]["data"]["type"] == "shapes"

    async def test_deletion_and_submission_at_the_same_time_agree(self, plane: ControlPlane) -> None:
        """Either both the job and the data set exist afterwards, or neither."""
        for _ in range(5):
            await add(plane)
            submitted, removed = await asyncio.gather(
                plane.http.post("/v1/jobs", json=train_spec(data=NAMED)), plane.http.delete("/v1/datasets/blood")
            )
            assert (submitted.status_code, removed.status_code) in {(202, 409), (422, 200)}
            if submitted.status_code == 202:
                await plane.http.post(f"/v1/jobs/{submitted.json()['job_id']}/cancel")
                assert (await plane.http.delete("/v1/datasets/blood")).status_code == 200


class TestAccess:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        root = SecretStr("an-admin-token-for-tests-of-enough-length")
        tokens = {"auth": "tokens", "admin_token": root, "data_roots": (Path("/"),)}
        return Settings(home=settings.home, database=settings.database, **tokens)  # type: ignore[arg-type]

    @pytest.fixture
    async def plane(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> AsyncIterator[ControlPlane]:
        plane = ControlPlane(settings, cluster, clock)
        await ensure_admin_token(settings, plane.services.database, clock)
        assert settings.admin_token is not None
        plane.http.headers["Authorization"] = f"Bearer {settings.admin_token.get_secret_value()}"
        yield plane
        await plane.close()

    async def _as(self, plane: ControlPlane, role: str, project: str | None) -> dict[str, str]:
        body = {"name": "x", "role": role, "project": project}
        return {"Authorization": f"Bearer {(await plane.http.post('/v1/tokens', json=body)).json()['token']}"}

    async def test_data_sets_of_another_project_are_not_found(self, plane: ControlPlane) -> None:
        made = await add(plane, project="lab")
        other = await self._as(plane, "submit", "other")
        for key in ("blood", made["dataset_id"]):
            assert (await plane.http.get(f"/v1/datasets/{key}", headers=other)).status_code == 404
            assert (await plane.http.post(f"/v1/datasets/{key}/check", headers=other)).status_code == 404
            assert (await plane.http.get(f"/v1/datasets/{key}/page", headers=other)).status_code == 404
            assert (await plane.http.delete(f"/v1/datasets/{key}", headers=other)).status_code == 404
        assert (await plane.http.get("/v1/datasets", headers=other)).json()["items"] == []
        assert (await plane.http.get("/v1/datasets/blood?project=lab", headers=other)).status_code == 403

    async def test_the_own_data_set_is_found_by_name_and_used_by_a_job(self, plane: ControlPlane) -> None:
        mine = await self._as(plane, "submit", "lab")
        body = {"name": "blood", "data": SHAPES}
        assert (await plane.http.post("/v1/datasets", json=body, headers=mine)).json()["project"] == "lab"
        await add(plane)
        assert (await plane.http.get("/v1/datasets/blood", headers=mine)).json()["project"] == "lab"
        answer = await plane.http.post("/v1/jobs", json=train_spec(data=NAMED), headers=mine)
        assert answer.status_code == 202

    async def test_a_reader_may_not_change_anything(self, plane: ControlPlane) -> None:
        await add(plane)
        reader = await self._as(plane, "read", None)
        assert (await plane.http.get("/v1/datasets/blood", headers=reader)).status_code == 200
        for method, path in (("POST", ""), ("POST", "/blood/check"), ("DELETE", "/blood")):
            body = {"name": "y", "data": SHAPES} if not path else None
            answer = await plane.http.request(method, f"/v1/datasets{path}", json=body, headers=reader)
            assert answer.status_code == 403

    async def test_changes_are_in_the_audit_trail(self, plane: ControlPlane) -> None:
        await add(plane, project="lab")
        entries = (await plane.http.get("/v1/audit?action=create_dataset")).json()["items"]
        assert [(entry["project"], entry["details"]["name"]) for entry in entries] == [("lab", "blood")]
