"""`fgd gc` and `fgd delete`, against the real server."""

import io
from pathlib import Path

import pytest

from service.client.client import FgdClient
from service.jobs.retention import Policy
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, train_spec


@pytest.fixture
def finished_job(client: FgdClient, server: LiveServer) -> str:
    """A job that is over, with files."""
    server.cluster.is_reachable = False
    job_id = client.submit(train_spec("student", STUDENT)).job_id
    client.cancel(job_id)
    folder = server.settings.storage.dir / "jobs" / job_id
    folder.mkdir(parents=True)
    (folder / "best.pt").write_bytes(b"x" * 1500)
    return job_id


class TestDelete:
    def test_it_asks_before_it_deletes(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, finished_job: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert fgd("delete", finished_job[:6], "--server", server.url).exit_code == 1
        assert [job.job_id for job in client.jobs()] == [finished_job]
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
        ended = fgd("delete", finished_job[:6], "--server", server.url)
        assert (ended.exit_code, f"deleted student {finished_job}" in ended.out) == (0, True)
        assert list(client.jobs()) == []

    def test_it_waits_for_the_release_of_a_run_that_has_just_ended(
        self, fgd: Fgd, server: LiveServer, client: FgdClient
    ) -> None:
        job_id = client.submit(train_spec("student", STUDENT)).job_id
        run = server.run_of(job_id)
        run.start()
        run.succeed()
        server.cluster.say(f"fgd-{job_id}-1", "SUCCEEDED")
        assert fgd("delete", job_id, "--yes", "--server", server.url).exit_code == 0

    def test_an_unfinished_job_is_refused_with_the_cure(self, fgd: Fgd, server: LiveServer, client: FgdClient) -> None:
        server.cluster.is_reachable = False
        job_id = client.submit(train_spec("student", STUDENT)).job_id
        ended = fgd("delete", job_id, "--yes", "--server", server.url)
        assert (ended.exit_code, "cancel it first" in ended.err) == (1, True)

    def test_json_needs_yes(self, fgd: Fgd, server: LiveServer, finished_job: str) -> None:
        assert fgd("delete", finished_job, "--json", "--server", server.url).exit_code == 2
        assert fgd("delete", finished_job, "--json", "--yes", "--server", server.url).json == {
            "deleted": [finished_job]
        }


class TestGc:
    def test_it_lists_first_and_deletes_after_confirmation(
        self, fgd: Fgd, server: LiveServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orphan = server.settings.storage.dir / "jobs/stranger"
        orphan.mkdir(parents=True)
        (orphan / "best.pt").write_bytes(b"x" * 1500)
        marks = server.settings.storage.dir / "orphans"
        marks.mkdir()
        (marks / "stranger").write_text("2001-01-01T00:00:00+00:00")
        ended = fgd("gc", "--dry-run", "--server", server.url)
        assert "jobs/stranger" in ended.out
        assert "1 item, 0 rows, 1.5 kB would be deleted" in ended.out
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert fgd("gc", "--server", server.url).exit_code == 1
        assert orphan.exists()
        done = fgd("gc", "--yes", "--json", "--server", server.url).json
        assert (done["num_items"], done["is_complete"]) == (1, True)
        assert not orphan.exists()

    def test_it_reports_that_nothing_is_due(self, fgd: Fgd, server: LiveServer) -> None:
        assert "nothing to delete" in fgd("gc", "--server", server.url).out

    def test_the_help_has_the_defaults(self, fgd: Fgd) -> None:
        text = " ".join(fgd("gc", "--help").out.split())
        for name, field in Policy.model_fields.items():
            if name.endswith("_days"):
                assert f"_{name.upper()}" in text
                assert field.default is None or f"{field.default:g}" in text or field.default == 1.0


class TestBackup:
    def test_a_backup_of_a_running_server_can_be_restored(
        self, fgd: Fgd, server: LiveServer, finished_job: str, tmp_path: Path
    ) -> None:
        file, home = tmp_path / "friday.tar", tmp_path / "new"
        ended = fgd("backup", file, "--home", server.settings.home, "--with-artifacts")
        assert (ended.exit_code, "1 files" in ended.out) == (0, True), ended.err
        assert fgd("restore", file, "--home", home).exit_code == 0
        assert (home / "storage/jobs" / finished_job / "best.pt").read_bytes() == b"x" * 1500
        again = fgd("restore", file, "--home", home, "--json")
        assert (again.exit_code, again.json["error"]["code"]) == (1, "conflict")

    def test_a_file_that_is_not_a_backup_is_refused(self, fgd: Fgd, tmp_path: Path) -> None:
        (tmp_path / "no.tar").write_text("no tar")
        ended = fgd("restore", tmp_path / "no.tar", "--home", tmp_path / "new")
        assert (ended.exit_code, "not a complete backup" in ended.err) == (1, True)

    def test_a_home_without_a_database_is_refused(self, fgd: Fgd, tmp_path: Path) -> None:
        ended = fgd("backup", tmp_path / "x.tar", "--home", tmp_path / "none")
        assert (ended.exit_code, "no fgd database" in ended.err) == (1, True)
