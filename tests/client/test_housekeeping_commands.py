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
def ended(client: FgdClient, server: LiveServer) -> str:
    """A job that is over, with files."""
    server.cluster.is_reachable = False
    job_id = client.submit(train_spec("student", STUDENT)).job_id
    client.cancel(job_id)
    folder = server.settings.storage_dir / "jobs" / job_id
    folder.mkdir(parents=True)
    (folder / "best.pt").write_bytes(b"x" * 1500)
    return job_id


class TestDelete:
    def test_it_asks_first(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, ended: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert fgd("delete", ended[:6], "--server", server.url).exit_code == 1
        assert [job.job_id for job in client.jobs()] == [ended]
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
        said = fgd("delete", ended[:6], "--server", server.url)
        assert (said.exit_code, f"deleted student {ended}" in said.out) == (0, True)
        assert list(client.jobs()) == []

    def test_one_whose_run_ended_just_now_is_waited_for(self, fgd: Fgd, server: LiveServer, client: FgdClient) -> None:
        job_id = client.submit(train_spec("student", STUDENT)).job_id
        run = server.run_of(job_id)
        run.start()
        run.succeed()
        server.cluster.say(f"fgd-{job_id}-1", "SUCCEEDED")
        assert fgd("delete", job_id, "--yes", "--server", server.url).exit_code == 0

    def test_one_that_is_not_over_is_refused_and_says_what_to_do(
        self, fgd: Fgd, server: LiveServer, client: FgdClient
    ) -> None:
        server.cluster.is_reachable = False
        job_id = client.submit(train_spec("student", STUDENT)).job_id
        said = fgd("delete", job_id, "--yes", "--server", server.url)
        assert (said.exit_code, "cancel it first" in said.err) == (1, True)

    def test_with_json_nobody_can_be_asked(self, fgd: Fgd, server: LiveServer, ended: str) -> None:
        assert fgd("delete", ended, "--json", "--server", server.url).exit_code == 2
        assert fgd("delete", ended, "--json", "--yes", "--server", server.url).json == {"deleted": [ended]}


class TestGc:
    def test_it_shows_what_would_go_and_does_it_only_when_told(
        self, fgd: Fgd, server: LiveServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orphan = server.settings.storage_dir / "jobs/stranger"
        orphan.mkdir(parents=True)
        (orphan / "best.pt").write_bytes(b"x" * 1500)
        marks = server.settings.storage_dir / "orphans"
        marks.mkdir()
        (marks / "stranger").write_text("2001-01-01T00:00:00+00:00")
        said = fgd("gc", "--dry-run", "--server", server.url)
        assert "jobs/stranger" in said.out
        assert "1 item, 0 rows, 1.5 kB would be deleted" in said.out
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert fgd("gc", "--server", server.url).exit_code == 1
        assert orphan.exists()
        done = fgd("gc", "--yes", "--json", "--server", server.url).json
        assert (done["num_items"], done["is_complete"]) == (1, True)
        assert not orphan.exists()

    def test_where_nothing_is_due_it_says_so(self, fgd: Fgd, server: LiveServer) -> None:
        assert "nothing to delete" in fgd("gc", "--server", server.url).out

    def test_its_help_says_the_defaults(self, fgd: Fgd) -> None:
        told = " ".join(fgd("gc", "--help").out.split())
        for name, field in Policy.model_fields.items():
            if name.endswith("_days"):
                assert f"_{name.upper()}" in told
                assert field.default is None or f"{field.default:g}" in told or field.default == 1.0


class TestBackup:
    def test_a_running_server_is_backed_up_and_restored_elsewhere(
        self, fgd: Fgd, server: LiveServer, ended: str, tmp_path: Path
    ) -> None:
        file, home = tmp_path / "friday.tar", tmp_path / "new"
        said = fgd("backup", file, "--home", server.settings.home, "--with-artifacts")
        assert (said.exit_code, "1 files" in said.out) == (0, True), said.err
        assert fgd("restore", file, "--home", home).exit_code == 0
        assert (home / "storage/jobs" / ended / "best.pt").read_bytes() == b"x" * 1500
        again = fgd("restore", file, "--home", home, "--json")
        assert (again.exit_code, again.json["error"]["code"]) == (1, "conflict")

    def test_a_file_that_is_no_backup_is_refused(self, fgd: Fgd, tmp_path: Path) -> None:
        (tmp_path / "no.tar").write_text("no tar")
        said = fgd("restore", tmp_path / "no.tar", "--home", tmp_path / "new")
        assert (said.exit_code, "not a complete backup" in said.err) == (1, True)

    def test_a_home_without_a_database_is_refused(self, fgd: Fgd, tmp_path: Path) -> None:
        said = fgd("backup", tmp_path / "x.tar", "--home", tmp_path / "none")
        assert (said.exit_code, "no fgd database" in said.err) == (1, True)
