"""Names and versions of models over the files of jobs, and where they come from."""

import asyncio
from typing import Any

import pytest
from control_plane import ControlPlane, evaluate_spec, train_spec


async def trained(plane: ControlPlane, name: str = "a training") -> str:
    job_id, run = await plane.started_job(train_spec(name=name))
    await run.saves_checkpoint()
    await run.succeeds()
    await plane.tick()
    return job_id


async def added(plane: ControlPlane, job_id: str, name: str = "signs") -> dict[str, Any]:
    answer = await plane.http.post(f"/v1/models/{name}/versions", json={"job_id": job_id})
    assert answer.status_code == 201, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def test_versions_count_within_a_model_and_an_alias_names_one_of_them(plane: ControlPlane) -> None:
    first, second = await trained(plane), await trained(plane)
    assert [(await added(plane, job))["version"] for job in (first, second)] == [1, 2]
    assert (await added(plane, first, "cars"))["version"] == 1
    for version in (1, 2):
        answer = await plane.http.put("/v1/models/signs/aliases/production", json={"version": version})
        assert answer.status_code == 200, answer.text
    newest, oldest = answer.json()["versions"]
    assert (newest["version"], newest["aliases"], newest["job_id"]) == (2, ["production"], second)
    assert oldest["aliases"] == [] and oldest["sha256"] == "0" * 64
    assert [model["name"] for model in (await plane.http.get("/v1/models")).json()["items"]] == ["cars", "signs"]
    answer = await plane.http.delete("/v1/models/signs/aliases/production")
    assert answer.status_code == 200 and answer.json()["versions"][0]["aliases"] == []
    assert (await plane.http.get("/v1/models/signs")).json() == answer.json()


async def test_the_lineage_leads_from_the_data_over_the_training_to_those_that_used_it(plane: ControlPlane) -> None:
    job_id = await trained(plane)
    await added(plane, job_id)
    export = {"kind": "export", "name": "shipped", "checkpoint": f"job:{job_id}/best", "data": train_spec()["data"]}
    shipped, scored = await plane.submit(export), await plane.submit(evaluate_spec(f"job:{job_id}/best"))
    lineage = (await plane.http.get("/v1/models/signs/versions/1/lineage")).json()
    assert [(job["job_id"], job["kind"], job["data"]) for job in lineage["made_by"]] == [(job_id, "train", "shapes")]
    assert {job["job_id"]: job["needs"] for job in lineage["used_by"]} == {shipped: [job_id], scored: [job_id]}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models/signs", None),
        ("POST", "/v1/models/signs/versions", {"job_id": "nothing"}),
        ("PUT", "/v1/models/signs/aliases/production", {"version": 3}),
        ("DELETE", "/v1/models/signs/aliases/production", None),
        ("GET", "/v1/models/signs/versions/3/lineage", None),
    ],
)
async def test_what_does_not_exist_is_not_found(plane: ControlPlane, method: str, path: str, body: object) -> None:
    assert (await plane.http.request(method, path, json=body)).status_code == 404


async def test_a_file_that_the_job_lacks_is_refused_with_those_that_it_has(plane: ControlPlane) -> None:
    body = {"job_id": await trained(plane), "artifact": "detector.onnx"}
    answer = await plane.http.post("/v1/models/signs/versions", json=body)
    assert answer.status_code == 404 and "it has: best.pt" in answer.json()["detail"]


async def test_a_job_whose_file_has_an_alias_is_deleted_by_force_alone(plane: ControlPlane) -> None:
    job_id = await trained(plane)
    await added(plane, job_id)
    await plane.http.put("/v1/models/signs/aliases/production", json={"version": 1})
    refused = await plane.http.delete(f"/v1/jobs/{job_id}")
    assert refused.status_code == 409 and "signs@production" in refused.json()["detail"]
    assert (await plane.http.delete(f"/v1/jobs/{job_id}", params={"force": True})).status_code == 204
    assert (await plane.http.get("/v1/models")).json()["items"] == []


async def test_no_number_is_given_to_two_files(plane: ControlPlane) -> None:
    first, second = await trained(plane), await trained(plane)
    for job_id in (first, second):
        await added(plane, job_id)
    assert (await plane.http.delete(f"/v1/jobs/{second}")).status_code == 204
    third = await trained(plane)
    assert (await added(plane, third))["version"] == 3
    await plane.http.put("/v1/models/signs/aliases/production", json={"version": 3})
    newest, oldest = (await plane.http.get("/v1/models/signs")).json()["versions"]
    assert (newest["version"], newest["aliases"], newest["job_id"]) == (3, ["production"], third)
    assert (oldest["version"], oldest["aliases"]) == (1, [])


async def test_versions_that_are_added_at_once_get_different_numbers(plane: ControlPlane) -> None:
    job_id = await trained(plane)
    views = await asyncio.gather(*(added(plane, job_id) for _ in range(5)))
    assert sorted(view["version"] for view in views) == [1, 2, 3, 4, 5]


async def test_a_file_that_may_still_change_is_no_version(plane: ControlPlane) -> None:
    job_id, run = await plane.started_job(train_spec())
    await run.saves_checkpoint()
    answer = await plane.http.post("/v1/models/signs/versions", json={"job_id": job_id})
    assert answer.status_code == 409 and "wait until it is over" in answer.json()["detail"]
