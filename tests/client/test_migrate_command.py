"""`fgd migrate`, on both databases."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from service.store import migrate
from tests import postgres
from tests.client.conftest import Fgd

NEWEST = migrate.head_revision()


def test_a_new_database_gets_every_revision_once(fgd: Fgd, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert fgd("migrate", "--home", home, "--json").json == {"from": None, "to": NEWEST}
    again = fgd("migrate", "--home", home)
    assert (again.exit_code, f"at revision {NEWEST}, the newest" in again.out) == (0, True)


def test_the_old_and_the_new_revision_are_shown(fgd: Fgd, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fgd.db"
    migrate.upgrade(url, "0003")
    ended = fgd("migrate", "--home", tmp_path, "--database-url", url)
    assert f"was at revision 0003 and is at revision {NEWEST} now" in ended.out


def test_a_compatible_newer_schema_stays_unchanged(fgd: Fgd, tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path}/fgd.db")
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert fgd("migrate", "--home", tmp_path, "--json").json == {"from": "9999", "to": "9999"}
    assert "9999, newer than this version" in fgd("migrate", "--home", tmp_path).out


def test_an_incompatible_newer_schema_is_refused(fgd: Fgd, tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path}/fgd.db")
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_floor SET revision = '9998'")
    ended = fgd("migrate", "--home", tmp_path, "--json")
    assert (ended.exit_code, ended.json["error"]["code"]) == (1, "schema_too_new")


def test_an_unknown_kind_of_database_is_wrong_usage(fgd: Fgd, tmp_path: Path) -> None:
    ended = fgd("migrate", "--home", tmp_path, "--database-url", "mysql://db/fgd")
    assert (ended.exit_code, "no database that fgd supports" in ended.err) == (2, True)
    # Settings that derive from the URL are not reported as further faults.
    assert "default factory" not in ended.err


def test_contradictory_settings_are_refused_together(fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FGD_STORAGE_URL", "s3://bucket")
    monkeypatch.setenv("FGD_RUN_FILES", "shared")
    ended = fgd("migrate", "--home", tmp_path)
    assert (ended.exit_code, ended.err.startswith("error runs cannot share")) == (2, True), ended.err


@pytest.mark.skipif(postgres.why_unavailable() is not None, reason=str(postgres.why_unavailable()))
def test_it_waits_for_an_unreachable_database() -> None:
    with postgres.running() as server:
        url = server.create("fgd")
        server.stop()
        waiting = subprocess.Popen(
            [sys.executable, "-m", "service.client.cli", "migrate", "--json"],
            env=os.environ | {"FGD_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stderr is not None
        assert "waiting for the database" in waiting.stderr.readline()
        assert waiting.poll() is None
        server.start()
        out, _ = waiting.communicate(timeout=240)
        assert (waiting.returncode, json.loads(out)) == (0, {"from": None, "to": NEWEST})
