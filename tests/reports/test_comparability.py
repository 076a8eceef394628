"""Only jobs that were scored on the same validation data can be compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fgd_core.errors import NotComparableError
from fgd_core.spec.base import Fact
from fgd_core.spec.events import RUN_EVENT, DataChecked
from fgd_core.spec.report import JobReport
from service.client.client import FgdClient
from service.jobs.comparability import check_comparable
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, recorded, train_spec
from tests.reports.test_report_route import CONTROL


def a_job(job_id: str, **of_validation: Any) -> JobReport:
    """Return a successful job with this validation split."""
    job = recorded(job_id, train_spec(f"job {job_id}", STUDENT, epochs=1)).report()
    data = [check.model_copy(update=of_validation) if check.split == "val" else check for check in job.data]
    return job.model_copy(update={"data": data})


def refusal(*jobs: JobReport) -> list[dict[str, str]]:
    with pytest.raises(NotComparableError) as refused:
        check_comparable(jobs)
    return refused.value.details["reasons"]


class TestRule:
    def test_jobs_on_the_same_data_can_be_compared(self) -> None:
        check_comparable([a_job("a", fingerprint="f"), a_job("b", fingerprint="f")])

    @pytest.mark.parametrize(
        ("other", "code", "words"),
        [
            ({"num_images": 50}, "other_data", "50 images with 320 boxes, not 100 with 320"),
            ({"num_boxes": 300}, "other_data", "100 images with 300 boxes"),
            ({"fingerprint": "g"}, "other_data", "other validation images or boxes"),
            ({"masks_fingerprint": "n"}, "other_masks", "other masks"),
            ({"keypoints_fingerprint": "n"}, "other_keypoints", "other keypoints"),
            ({"boxes_per_category": {"cat": 320}}, "other_classes", "cat, circle, ring, square, star, triangle"),
        ],
    )
    def test_jobs_on_other_data_are_refused_with_the_difference(
        self, other: dict[str, Any], code: str, words: str
    ) -> None:
        same = {"fingerprint": "f", "masks_fingerprint": "m", "keypoints_fingerprint": "k"}
        (reason,) = refusal(a_job("a", **same), a_job("b", **same), a_job("c", **same | other))
        assert (reason["loc"], reason["code"]) == ("c", code)
        assert words in reason["message"]
        assert "job c (c)" in reason["message"] and "job a (a)" in reason["message"]
        assert "kind: evaluate" in reason["message"]

    def test_classes_in_another_order_are_refused(self) -> None:
        reversed_ = dict.fromkeys(("ring", "star", "triangle", "square", "circle"), 64)
        (reason,) = refusal(a_job("a"), a_job("b", boxes_per_category=reversed_))
        assert "in another order" in reason["message"]

    def test_each_job_that_differs_is_named(self) -> None:
        reasons = refusal(a_job("a"), a_job("b", num_images=1), a_job("c"), a_job("d", num_images=2))
        assert [reason["loc"] for reason in reasons] == ["b", "d"]

    def test_a_job_without_a_score_can_be_compared_with_any(self) -> None:
        waiting = a_job("b", num_images=1).model_copy(update={"result": None, "evaluations": []})
        check_comparable([a_job("a"), waiting])

    def test_without_fingerprints_the_counts_are_compared(self) -> None:
        check_comparable([a_job("a", fingerprint="f"), a_job("b", fingerprint="")])


class TestRoute:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[LiveServer]:
        server = LiveServer(tmp_path / "home")
        server.start()
        yield server
        server.stop()

    def test_no_form_of_the_report_mixes_data_sets(self, server: LiveServer) -> None:
        one, other = (self.job(server, number) for number in (100, 80))
        for form in ("json", "csv", "html"):
            answer = httpx.get(f"{server.url}/v1/jobs/{one}/report", params={"with": other, "format": form})
            assert (answer.status_code, answer.json()["code"]) == (409, "not_comparable"), form
            assert "80 images with 320 boxes, not 100 with 320" in answer.text
            alone = httpx.get(f"{server.url}/v1/jobs/{other}/report", params={"format": form})
            assert alone.status_code == 200

    def job(self, server: LiveServer, num_images: int) -> str:
        spec = train_spec(f"on {num_images}", STUDENT, epochs=1)
        with FgdClient(server.url) as client:
            job_id = client.submit(spec).job_id
        reported: list[Fact] = []
        for event in recorded("x", spec).events:
            if event.kind not in (*CONTROL, "artifact_saved", "checkpoint_saved"):
                fact = RUN_EVENT.validate_python(event.data)
                is_val = isinstance(fact, DataChecked) and fact.split == "val"
                reported.append(fact.model_copy(update={"num_images": num_images}) if is_val else fact)
        server.run_of(job_id).report(*reported)
        return job_id
