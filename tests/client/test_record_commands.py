"""`fgd reproduce` and `fgd verify`"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fgd_core.data.samples import DetectionDataset
from fgd_core.evaluation.coco import coco_scores, match_detections
from fgd_core.evaluation.evidence import write_evidence
from fgd_core.spec.events import CheckpointSaved, RunFinished
from fgd_core.spec.provenance import CodeVersion, MachineRecord, ProvenanceRecorded
from fgd_core.spec.results import RunResult
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, eventually
from tests.compare.evaluations import DrawnDataset, detections
from tests.reports.recorded_jobs import STUDENT, train_spec

GROUND: DetectionDataset = DrawnDataset(7, num_images=60)


def ran_with(torch: str) -> ProvenanceRecorded:
    return ProvenanceRecorded(
        code=CodeVersion(version="0.1.0", sha256="c0de" * 16, revision="3f2a" * 10),
        machine=MachineRecord(host="here", system="Linux", processor="a CPU", cores=2, memory_bytes=1, python="3.11"),
        packages={"numpy": "2.0", "torch": torch},
    )


def finish(server: LiveServer, client: FgdClient, job_id: str, *, skill: float, seed: int, torch: str = "2.9") -> str:
    """Report the events of a run whose detections have this skill, as a worker does."""
    folder = server.settings.storage.dir / "jobs" / job_id
    run = server.run_of(job_id)
    run.start()
    names = [category.name for category in GROUND.categories]
    drawn = detections(GROUND, seed, skill=skill)
    found = match_detections(GROUND, drawn)
    checkpoint = CheckpointSaved(name="best", uri="file:///best.pt", sha256="be57" * 16, size_bytes=1, epoch=1, step=1)
    run.report(ran_with(torch), checkpoint)
    run.report(write_evidence(found, fingerprint=GROUND.fingerprint, class_names=names, folder=folder))
    result = RunResult(
        scores=coco_scores(GROUND, drawn), num_parameters=1, images_per_s=1.0, num_images=60, device="cpu", best_epoch=1
    )
    run.report(RunFinished(outcome="succeeded", result=result))
    eventually(lambda: client.job(job_id).state == "succeeded")
    return job_id


@pytest.fixture
def job_id(server: LiveServer, client: FgdClient) -> str:
    submitted = client.submit(train_spec("student", STUDENT)).job_id
    return finish(server, client, submitted, skill=0.9, seed=1)


class TestReproduce:
    def again(self, server: LiveServer, client: FgdClient, fgd: Fgd, job_id: str, **run: object) -> str:
        ended = fgd("reproduce", job_id, "--detach", "--json", "--server", server.url)
        assert ended.exit_code == 0, ended.err
        assert ended.json["name"] == "student again"
        assert ended.json["spec"] | {"name": "student"} == client.job(job_id).model_dump(mode="json")["spec"]
        return finish(server, client, ended.json["job_id"], **run)  # type: ignore[arg-type]

    def test_the_same_scores_are_identical(self, server: LiveServer, client: FgdClient, fgd: Fgd, job_id: str) -> None:
        again = self.again(server, client, fgd, job_id, skill=0.9, seed=1)
        ended = fgd("reproduce", job_id, "--with", again, "--json", "--server", server.url)
        assert (ended.exit_code, ended.json["verdict"], ended.json["differences"]) == (0, "identical", [])
        assert all(figure["first"] == figure["second"] for figure in ended.json["figures"])
        assert len(ended.json["figures"]) == 12 + len(GROUND.categories)

    def test_a_change_that_chance_explains_agrees_and_shows_what_was_different(
        self, server: LiveServer, client: FgdClient, fgd: Fgd, job_id: str
    ) -> None:
        again = self.again(server, client, fgd, job_id, skill=0.9, seed=2, torch="2.10")
        ended = fgd("reproduce", job_id, "--with", again, "--server", server.url)
        assert ended.exit_code == 0, ended.out + ended.err
        assert ended.out.startswith("agrees: AP ")
        assert "package torch  2.9    2.10" in ended.out

    def test_a_change_beyond_chance_differs_and_the_command_fails(
        self, server: LiveServer, client: FgdClient, fgd: Fgd, job_id: str
    ) -> None:
        again = self.again(server, client, fgd, job_id, skill=0.4, seed=2)
        ended = fgd("reproduce", job_id, "--with", again, "--server", server.url)
        assert (ended.exit_code, ended.out.split(":")[0]) == (1, "differs")
        assert "nothing that is recorded differs" in ended.out

    def test_a_job_without_scores_is_refused(self, server: LiveServer, client: FgdClient, fgd: Fgd) -> None:
        waiting = client.submit(train_spec("student", STUDENT)).job_id
        ended = fgd("reproduce", waiting, "--server", server.url)
        assert ended.exit_code == 1 and "has no final scores" in ended.err


class TestVerify:
    @pytest.fixture
    def page(self, server: LiveServer, fgd: Fgd, job_id: str, tmp_path: Path) -> Iterator[Path]:
        path = tmp_path / "report.html"
        assert fgd("report", job_id, "--html", path, "--server", server.url).exit_code == 0
        yield path

    def test_every_figure_of_the_page_agrees_with_the_detections(
        self, server: LiveServer, fgd: Fgd, page: Path
    ) -> None:
        chosen = set()
        for seed in range(12):
            ended = fgd("verify", page, "--seed", seed, "--json", "--server", server.url)
            assert (ended.exit_code, ended.json["shown"]) == (0, ended.json["again"])
            chosen.add(ended.json["name"])
        assert len(chosen) > 3

    def test_a_changed_figure_is_found(self, server: LiveServer, fgd: Fgd, page: Path) -> None:
        text, marker = page.read_text(), 'data-figure="ap">'
        place = text.index(marker) + len(marker)
        page.write_text(text[:place] + "0.999" + text[place + 5 :])
        ended = [fgd("verify", page, "--seed", seed, "--json", "--server", server.url) for seed in range(16)]
        assert {each.exit_code for each in ended if each.json["name"] == "ap"} == {1}
        assert {each.exit_code for each in ended if each.json["name"] != "ap"} == {0}

    def test_detections_other_than_those_of_the_page_are_refused(
        self, server: LiveServer, fgd: Fgd, page: Path
    ) -> None:
        text, marker = page.read_text(), 'data-evidence="'
        place = text.index(marker) + len(marker)
        page.write_text(text[:place] + "0" * 64 + text[place + 64 :])
        ended = fgd("verify", page, "--server", server.url)
        assert ended.exit_code == 1 and "write the report again" in " ".join(ended.err.split())

    def test_a_file_without_figures_is_refused_with_the_cure(
        self, server: LiveServer, fgd: Fgd, tmp_path: Path
    ) -> None:
        path = tmp_path / "other.html"
        path.write_text("<p>0.5</p>")
        ended = fgd("verify", path, "--server", server.url)
        assert ended.exit_code != 0 and "fgd report ID --html FILE" in ended.err
        missing = fgd("verify", tmp_path / "none.html", "--server", server.url)
        said = " ".join(missing.err.split())
        assert "cannot be read: No such file or directory" in said and "fgd report ID --html FILE" in said

    def test_the_page_shows_the_record(self, page: Path) -> None:
        text = page.read_text()
        assert "fgd 0.1.0, commit 3f2a3f2a3f2a" in text and "best, epoch 1: be57be57be57" in text
