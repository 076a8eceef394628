"""`fgd compare`"""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fgd_core.data.samples import DetectionDataset
from fgd_core.evaluation.coco import match_detections
from fgd_core.evaluation.evidence import write_evidence
from fgd_core.spec.comparison import Comparison
from service.client.client import FgdClient
from service.client.commands.compare import class_table, score_table
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, eventually
from tests.compare.evaluations import DrawnDataset, detections
from tests.reports.recorded_jobs import STUDENT, train_spec

GROUND = DrawnDataset(7, num_images=60)


def finished(
    server: LiveServer, client: FgdClient, name: str, seed: int, *, skill: float, on: DetectionDataset = GROUND
) -> str:
    spec = train_spec(name, STUDENT).model_copy(update={"seed": seed})
    job_id = client.submit(spec).job_id
    folder = server.settings.storage.dir / "jobs" / job_id
    run = server.run_of(job_id)
    run.start()
    names = [category.name for category in on.categories]
    found = match_detections(on, detections(on, seed, skill=skill))
    run.report(write_evidence(found, fingerprint=on.fingerprint, class_names=names, folder=folder))
    run.succeed()
    eventually(lambda: client.job(job_id).state == "succeeded")
    return job_id


@pytest.fixture
def good_and_bad(server: LiveServer, client: FgdClient) -> tuple[str, str]:
    return (
        finished(server, client, "the good one", 1, skill=0.95),
        finished(server, client, "the bad one", 2, skill=0.3),
    )


class TestCompare:
    def test_sentences_and_tables_show_what_is_more_than_chance(
        self, server: LiveServer, fgd: Fgd, good_and_bad: tuple[str, str], tmp_path: Path
    ) -> None:
        page = tmp_path / "comparison.html"
        ended = fgd("compare", *good_and_bad, "--html", page, "--server", server.url)
        assert ended.exit_code == 0, ended.err
        assert "the good one reaches AP" in ended.out and "more than chance" in ended.out
        assert "95% interval" in ended.out and "gained" in ended.out and "class 0" in ended.out
        assert page.read_text().startswith("<!doctype html>")

    def test_json_is_the_servers_answer(
        self, server: LiveServer, client: FgdClient, fgd: Fgd, good_and_bad: tuple[str, str]
    ) -> None:
        ended = fgd("compare", *good_and_bad, "--resamples", 200, "--seed", 3, "--json", "--server", server.url)
        expected = client.compare(good_and_bad[:1], good_and_bad[1:], resamples=200, random_seed=3)
        assert Comparison.model_validate(ended.json) == expected
        assert (expected.resamples, expected.random_seed) == (200, 3)

    def test_ids_with_commas_are_the_seeds_of_one_configuration(
        self, server: LiveServer, client: FgdClient, fgd: Fgd
    ) -> None:
        sides = [
            ",".join(finished(server, client, name, seed, skill=skill)[:12] for seed in seeds)
            for name, skill, seeds in (("student", 0.9, (1, 2)), ("plain", 0.4, (3, 4)))
        ]
        ended = fgd("compare", *sides, "--json", "--server", server.url)
        assert ended.exit_code == 0, ended.out
        assert ended.json["basis"] == "seeds"
        assert [run["seed"] for run in ended.json["second"]] == [3, 4]

    def test_jobs_on_different_images_are_refused_with_the_cure(
        self, server: LiveServer, client: FgdClient, fgd: Fgd
    ) -> None:
        first = finished(server, client, "one", 1, skill=0.9)
        other = finished(server, client, "other", 2, skill=0.9, on=DrawnDataset(8, num_images=60))
        ended = fgd("compare", first, other, "--server", server.url)
        assert ended.exit_code == 1
        assert "other validation images" in ended.err.replace("\n", " ")
        assert "evaluate its checkpoint on the same ones" in ended.err.replace("\n", " ")

    @pytest.mark.parametrize("listed", [",", ""])
    def test_an_empty_id_is_wrong_usage(self, server: LiveServer, fgd: Fgd, listed: str) -> None:
        assert fgd("compare", listed, "x", "--server", server.url).exit_code == 2


class TestTables:
    @pytest.mark.parametrize("width", [80, 160])
    def test_nothing_is_cut(self, server: LiveServer, client: FgdClient, width: int) -> None:
        jobs: list[Any] = [finished(server, client, "distilled student", seed, skill=0.7) for seed in (1, 2)]
        found = client.compare(jobs[:1], jobs[1:], resamples=100)
        console = Console(width=width, force_terminal=False)
        with console.capture() as capture:
            console.print(score_table(found, width=width))
            console.print(class_table(found, width=width))
        text = capture.get()
        assert "…" not in text
        assert ("beyond overall" in text) == (width == 160)
