"""Predictions of jobs: from which runs they are made, at which moments, and how they held."""

from collections.abc import Sequence
from typing import Any

import pytest
from control_plane import SHAPES, ControlPlane, scores, train_spec

EPOCHS = 10
TRAINING = {"epochs": EPOCHS, "batch_size": 8}
CURVE = [0.3, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0]
"""AP after each epoch as a part of the final one."""


def plain(seed: int, **changes: Any) -> dict[str, Any]:
    return train_spec(seed=seed, training=TRAINING) | changes


def distilled(seed: int, teacher: str, **changes: Any) -> dict[str, Any]:
    student = {"student": {"type": "retinanet"}, "method": {"type": "fgd"}, "inherit": "nothing"}
    taught = student | {"teacher": {"checkpoint": f"job:{teacher}/best"}, "training": TRAINING}
    return {"kind": "distill", "name": "a distillation", "seed": seed, "data": SHAPES} | taught | changes


async def trained(plane: ControlPlane, spec: dict[str, Any], final: float, *, until: int = EPOCHS) -> str:
    """Run a job until an epoch, or until its end, and return its id."""
    job_id, run = await plane.started_job(spec)
    curve = enumerate(CURVE[:until], start=1)
    await run.reports(*(event for epoch, part in curve for event in epoch_and_score(epoch, part * final)))
    if until == EPOCHS:
        plane.clock.forward(600)
        await run.saves_checkpoint(run.writes("best.pt", b"weights"))
        await run.succeeds()
        await plane.tick()
    return job_id


def epoch_and_score(epoch: int, ap: float) -> list[dict[str, Any]]:
    at = {"epoch": epoch, "step": 5 * epoch}
    rest = {
        "epochs": EPOCHS,
        "steps": 5 * EPOCHS,
        "images_per_s": 8.0,
        "eta_s": 3.0,
        "learning_rate": 0.1,
        "values": {},
    }
    return [{"kind": "epoch_finished", **at, **rest}, {"kind": "evaluated", **at, "scores": scores(ap)}]


async def predicted(plane: ControlPlane, job_id: str) -> dict[str, Any]:
    answer = await plane.http.get(f"/v1/jobs/{job_id}/prediction")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def moments(found: dict[str, Any]) -> Sequence[str]:
    return [each["moment"] for each in found["predictions"]]


@pytest.mark.one_database
async def test_a_first_job_has_no_prediction_until_its_first_evaluation(plane: ControlPlane) -> None:
    job_id = await plane.submit(plain(0))
    found = await predicted(plane, job_id)
    assert (found["predictions"], found["reached"]) == ([], None)
    assert found["sentence"].startswith("No prediction yet")


async def test_a_distillation_is_predicted_from_plain_runs_and_its_teacher(plane: ControlPlane) -> None:
    for seed, ap in enumerate((0.30, 0.31, 0.32)):
        await trained(plane, plain(seed), ap)
    teacher = await trained(plane, plain(0, detector={"type": "fcos"}), 0.5)
    await plane.submit(plain(3, project="other", name="unseen"))
    job_id = await plane.submit(distilled(0, teacher))

    found = await predicted(plane, job_id)
    (made,) = found["predictions"]
    assert made["basis"] == {
        "same_configuration": 0,
        "plain": 3,
        "other_methods": 0,
        "same_data": 1,
        "trained": 0.0,
        "ap_so_far": None,
        "teacher_ap": 0.5,
    }
    assert made["plain"]["low"] < 0.31 < made["plain"]["high"]
    assert made["gain"]["mean"] > 0
    assert "3 runs without distillation" in made["sentence"]


@pytest.mark.one_database
async def test_a_run_is_predicted_at_submission_at_its_first_tenth_and_now(plane: ControlPlane) -> None:
    await trained(plane, plain(0), 0.30)
    await trained(plane, plain(1), 0.32)
    job_id = await trained(plane, plain(2), 0.31, until=4)

    found = await predicted(plane, job_id)
    assert moments(found) == ["submission", "first_tenth", "now"]
    widths = [each["own"]["high"] - each["own"]["low"] for each in found["predictions"]]
    assert widths[0] > widths[1] > widths[2]
    assert [each["basis"]["trained"] for each in found["predictions"]] == [0.0, 0.1, 0.4]
    assert found["sentence"] == found["predictions"][-1]["sentence"]


@pytest.mark.one_database
async def test_a_finished_run_shows_what_was_known_before_it_started(plane: ControlPlane) -> None:
    await trained(plane, plain(0), 0.30)
    job_id = await trained(plane, plain(1), 0.31)
    await trained(plane, plain(2), 0.32)

    found = await predicted(plane, job_id)
    assert found["reached"] == pytest.approx(0.31)
    assert moments(found) == ["submission", "first_tenth"]
    assert [each["basis"]["same_configuration"] for each in found["predictions"]] == [1, 1]


@pytest.mark.one_database
async def test_earlier_predictions_are_compared_with_what_came(plane: ControlPlane) -> None:
    for seed, ap in enumerate((0.30, 0.31, 0.30, 0.9)):
        await trained(plane, plain(seed), ap)
    job_id = await plane.submit(plain(4))
    # Nothing was known before the first run, and the last one surprised.
    assert (await predicted(plane, job_id))["track_record"] == {"predictions": 3, "held": 2}


@pytest.mark.one_database
async def test_runs_of_other_projects_are_not_used(plane: ControlPlane) -> None:
    await trained(plane, plain(0, project="other"), 0.30)
    job_id = await plane.submit(plain(1))
    assert (await predicted(plane, job_id))["predictions"] == []


@pytest.mark.one_database
async def test_other_kinds_of_jobs_are_refused(plane: ControlPlane) -> None:
    job_id = await plane.submit({"kind": "check_data", "name": "a check", "data": SHAPES})
    answer = await plane.http.get(f"/v1/jobs/{job_id}/prediction")
    assert (answer.status_code, answer.json()["code"]) == (422, "spec")
    assert "check_data" in answer.json()["detail"]


@pytest.mark.one_database
async def test_a_draft_is_predicted_and_a_report_says_how_it_went(plane: ControlPlane) -> None:
    await trained(plane, plain(0), 0.30)
    text = "kind: train\nname: b\ndetector: {type: retinanet}\ndata: {type: shapes, num_train: 40, num_val: 10}\n"
    answer = await plane.http.post("/v1/drafts", json={"text": text, "changes": {"training": TRAINING, "seed": 5}})
    (made,) = answer.json()["prediction"]["predictions"]
    assert (made["moment"], made["basis"]["same_configuration"]) == ("submission", 1)

    job_id = await trained(plane, plain(1), 0.31)
    report = (await plane.http.get(f"/v1/jobs/{job_id}/report")).json()
    assert moments(report["jobs"][0]["prediction"]) == ["submission", "first_tenth"]
    assert any("it reached 0.310, inside the interval" in each for each in report["sentences"])
