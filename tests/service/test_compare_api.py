"""GET /v1/compare"""

import asyncio
from typing import Any

import httpx
import pytest
from control_plane import ControlPlane
from finished_runs import dataset, finished, left
from sweeps import begun, ended, sweep_spec, trial_event

from fgd_core.evaluation.coco import coco_scores
from fgd_core.spec.comparison import Comparison
from service.compare import process
from service.settings import Settings
from tests.compare.evaluations import DrawnDataset, detections

pytestmark = pytest.mark.one_database

PROBLEM = "application/problem+json"


async def request(plane: ControlPlane, first: list[str], second: list[str], **query: Any) -> httpx.Response:
    return await plane.http.get("/v1/compare", params={"a": first, "b": second, "resamples": 200} | query)


async def compared(plane: ControlPlane, first: list[str], second: list[str], **query: Any) -> Comparison:
    answer = await request(plane, first, second, **query)
    assert answer.status_code == 200, answer.text
    return Comparison.model_validate_json(answer.content)


async def refused(plane: ControlPlane, first: list[str], second: list[str]) -> dict[str, str]:
    """Return the code of each reason, by job."""
    answer = await request(plane, first, second)
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM), answer.text
    assert answer.json()["code"] == "not_comparable"
    return {reason["loc"]: reason["code"] for reason in answer.json()["reasons"]}


class TestTwoRuns:
    async def test_scores_equal_pycocotools_and_the_change_is_first_minus_second(self, plane: ControlPlane) -> None:
        good, bad = await finished(plane, 1, skill=0.95), await finished(plane, 2, skill=0.3)
        comparison = await compared(plane, [good], [bad])
        ground = dataset()
        expected = [coco_scores(ground, detections(ground, seed, skill=skill)) for seed, skill in ((1, 0.95), (2, 0.3))]
        assert (comparison.basis, comparison.resamples, comparison.num_images) == ("images", 200, 60)
        for row in comparison.scores:
            assert row.first == pytest.approx(getattr(expected[0], row.score), abs=1e-12)
            assert row.second == pytest.approx(getattr(expected[1], row.score), abs=1e-12)
        for row in comparison.classes:
            assert row.first == pytest.approx(expected[0].per_class[row.name].ap, abs=1e-12)
            assert row.num_boxes == expected[0].per_class[row.name].num_boxes
        change = comparison.scores[0].change
        assert change is not None and change.finding == "gained"
        assert change.low is not None and 0 < change.low < change.value
        assert "more than chance in the choice of images (p = " in comparison.sentences[0]
        assert [run.job_id for run in comparison.first + comparison.second] == [good, bad]

    async def test_swapping_the_sides_turns_a_gain_into_a_loss(self, plane: ControlPlane) -> None:
        good, bad = await finished(plane, 1, skill=0.95), await finished(plane, 2, skill=0.3)
        there, back = await compared(plane, [good], [bad]), await compared(plane, [bad], [good])
        assert there.scores[0].change is not None and back.scores[0].change is not None
        assert back.scores[0].change.finding == "lost"
        assert back.scores[0].change.low == pytest.approx(-(there.scores[0].change.high or 0))

    async def test_a_class_with_too_few_boxes_gets_no_verdict(self, plane: ControlPlane) -> None:
        comparison = await compared(plane, [await finished(plane, 1)], [await finished(plane, 2)])
        few = [row for row in comparison.classes if row.num_boxes < 20]
        assert few and all(row.change is not None and row.change.finding == "too_little_data" for row in few)

    async def test_the_page_shows_the_comparison_in_one_file(self, plane: ControlPlane) -> None:
        good, bad = await finished(plane, 1, name="the good one"), await finished(plane, 2, name="the bad one")
        answer = await plane.http.get("/v1/compare", params={"a": good, "b": bad}, headers={"Accept": "text/html"})
        assert answer.headers["content-type"].startswith("text/html")
        assert "the good one against the bad one" in answer.text
        assert 'id="forest-classes"' in answer.text
        assert (await request(plane, [good], [bad], format="html")).text.startswith("<!doctype html>")


class TestSeveralSeeds:
    async def test_two_runs_a_side_are_compared_by_welch(self, plane: ControlPlane) -> None:
        first = [await finished(plane, seed, skill=0.9) for seed in (1, 2, 3)]
        second = [await finished(plane, seed, skill=0.4) for seed in (4, 5)]
        comparison = await compared(plane, first, second)
        assert (comparison.basis, comparison.resamples) == ("seeds", 0)
        assert [run.seed for run in comparison.first] == [1, 2, 3]
        assert comparison.scores[0].change is not None and comparison.scores[0].change.finding == "gained"
        assert "Welch" in comparison.sentences[-1]

    async def test_one_run_against_many_is_compared_by_images(self, plane: ControlPlane) -> None:
        comparison = await compared(
            plane, [await finished(plane, 1)], [await finished(plane, 2), await finished(plane, 3)]
        )
        assert comparison.basis == "images"

    async def test_copies_of_one_run_are_refused(self, plane: ControlPlane) -> None:
        first = [await finished(plane, 1, name=name) for name in ("one", "other")]
        second = [await finished(plane, seed) for seed in (4, 5)]
        assert await refused(plane, first, second) == {first[1]: "same_run"}


class TestTrials:
    async def test_trials_of_a_sweep_can_be_compared(self, plane: ControlPlane) -> None:
        sweep, run = await plane.started_job(sweep_spec())
        for trial, skill in ((0, 0.3), (1, 0.9)):
            await run.reports(begun(trial, seed=40 + trial))
            file = left(plane, f"jobs/{sweep}/trials/{trial}", trial, skill=skill, on=None)
            await run.reports(trial_event(trial, file), ended(trial))
        comparison = await compared(plane, [f"{sweep}/trial/1"], [f"job:{sweep}/trial/0"])
        assert comparison.scores[0].change is not None and comparison.scores[0].change.finding == "gained"
        (first,) = comparison.first
        assert (first.job_id, first.trial, first.kind, first.seed) == (sweep, 1, "train", 41)
        assert (first.name, comparison.second[0].name) == ("a sweep trial 1", "a sweep trial 0")
        single = await finished(plane, 1)
        assert (await compared(plane, [f"{sweep}/trial/1"], [single])).second[0].trial is None
        (caution,) = [each for each in comparison.sentences if "best of many" in each]
        assert caution.startswith("Trials 0, 1 of a sweep:")

    async def test_each_trial_without_evidence_has_a_reason(self, plane: ControlPlane) -> None:
        sweep, run = await plane.started_job(sweep_spec())
        await run.reports(begun(0), begun(1), ended(1))
        # The server stores this event although no trial has such a number.
        await run.reports(trial_event("one", {"kind": "artifact_saved", "name": "evaluation.npz"}))  # type: ignore[arg-type]
        assert await refused(plane, [f"{sweep}/trial/0", f"{sweep}/trial/1"], [sweep]) == {
            f"{sweep}/trial/0": "not_finished",
            f"{sweep}/trial/1": "no_evidence",
            sweep: "sweep",
        }
        assert (await request(plane, [f"{sweep}/trial/2"], [f"{sweep}/trial/1"])).status_code == 404


class TestEachStorage:
    @pytest.fixture
    def settings(self, settings: Settings, stored: dict[str, Any]) -> Settings:
        return settings.model_copy(update=stored)

    async def test_runs_are_compared_on_each_storage(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good, bad = await finished(plane, 1, skill=0.95), await finished(plane, 2, skill=0.3)
        comparison = await compared(plane, [good], [bad])
        change = comparison.scores[0].change
        assert change is not None and change.finding == "gained"
        # The second request comes from the cache, although the copies of the files have new paths.
        monkeypatch.setattr(process, "_answer", None)
        assert await compared(plane, [good], [bad]) == comparison


class TestRefusals:
    @pytest.fixture
    def settings(self, settings: Settings, stored: dict[str, Any]) -> Settings:
        return settings.model_copy(update=stored)

    async def test_all_reasons_are_reported_at_once(self, plane: ControlPlane) -> None:
        done = await finished(plane, 1)
        running, _ = await plane.started_job()
        old = await finished(plane, 2, leaves_evidence=False)
        gone = await finished(plane, 3)
        plane.storage.delete(f"jobs/{gone}/evaluation.npz")
        assert await refused(plane, [done, running], [old, gone]) == {
            running: "not_finished",
            old: "no_evidence",
            gone: "file_gone",
        }

    async def test_a_run_is_not_compared_with_itself(self, plane: ControlPlane) -> None:
        done = await finished(plane, 1)
        assert await refused(plane, [done], [f"job:{done}"]) == {f"job:{done}": "named_twice"}

    async def test_runs_on_other_images_or_classes_are_refused(self, plane: ControlPlane) -> None:
        first = await finished(plane, 1)
        elsewhere = await finished(plane, 2, on=dataset(8))
        otherwise = await finished(plane, 3, on=DrawnDataset(7, num_images=60, num_classes=5))
        assert await refused(plane, [first], [elsewhere, otherwise]) == {
            elsewhere: "other_data",
            otherwise: "other_classes",
        }

    async def test_a_file_outside_the_storage_folder_is_not_read(self, plane: ControlPlane) -> None:
        done, moved = await finished(plane, 1), await finished(plane, 2)
        if plane.storage.folder is not None:
            inside = plane.storage.folder / "jobs" / moved / "evaluation.npz"
            inside.rename(plane.settings.home / "evaluation.npz")
            inside.symlink_to(plane.settings.home / "evaluation.npz")
        else:
            content = plane.storage.read(f"jobs/{moved}/evaluation.npz")
            plane.storage.delete(f"jobs/{moved}/evaluation.npz")
            plane.storage.write("elsewhere/evaluation.npz", content)
        assert await refused(plane, [done], [moved]) == {moved: "file_gone"}

    @pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all" * 100])
    async def test_a_corrupt_file_is_named(self, plane: ControlPlane, content: bytes) -> None:
        done, broken = await finished(plane, 1), await finished(plane, 2)
        plane.storage.write(f"jobs/{broken}/evaluation.npz", content)
        answer = await request(plane, [done], [broken])
        assert answer.status_code == 409
        assert broken in answer.json()["detail"]

    async def test_an_unknown_job_is_not_found(self, plane: ControlPlane) -> None:
        done = await finished(plane, 1)
        answer = await request(plane, [done], ["nobody"])
        assert answer.status_code == 404
        assert "nobody" in answer.json()["detail"]
        assert (await request(plane, [done], ["", "job:", "a/b", f"{done}/trial/one"])).status_code == 404

    @pytest.mark.parametrize("query", [{"resamples": 10}, {"seed": -1}, {"a": []}, {"format": "pdf"}])
    async def test_an_invalid_query_is_refused(self, plane: ControlPlane, query: dict[str, Any]) -> None:
        assert (await request(plane, ["one"], ["other"], **query)).status_code == 422


class TestServer:
    async def test_the_server_answers_others_during_a_comparison(self, plane: ControlPlane) -> None:
        first, second = await finished(plane, 1), await finished(plane, 2)
        comparing = asyncio.create_task(compared(plane, [first], [second], resamples=10_000))
        num_answers = 0
        while not comparing.done():
            assert (await plane.http.get("/livez")).status_code == 200
            num_answers += 1
            await asyncio.sleep(0.01)
        await comparing
        assert num_answers > 10

    async def test_a_repeated_comparison_comes_from_the_cache(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = await finished(plane, 1), await finished(plane, 2)
        comparison = await compared(plane, [first], [second])
        monkeypatch.setattr("service.compare.process.sys.executable", "/nowhere")
        assert await compared(plane, [first], [second]) == comparison
