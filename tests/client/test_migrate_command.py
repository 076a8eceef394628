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


def test_a_new_database_gets_every_revision_and_is_left_alone_after(fgd: Fgd, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert fgd("migrate", "--home", home, "--json").json == {"from": None, "to": NEWEST}
    again = fgd("migrate", "--home", home)
    assert (again.exit_code, f"at revision {NEWEST}, the newest" in again.out) == (0, True)


def test_an_older_schema_is_told_with_the_new_one(fgd: Fgd, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fgd.db"
    migrate.upgrade(url, "0003")
    said = fgd("migrate", "--home", tmp_path, "--database-url", url)
    assert f"was at revision 0003 and is at revision {NEWEST} now" in said.out


def test_a_newer_schema_that_only_added_to_this_one_is_left_alone(fgd: Fgd, tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path}/fgd.db")
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert fgd("migrate", "--home", tmp_path, "--json").json == {"from": "9999", "to": "9999"}
    assert "9999, newer than this version" in fgd("migrate", "--home", tmp_path).out


def test_a_newer_schema_that_took_something_away_is_refused_with_the_exit_code_of_a_refusal(
    fgd: Fgd, tmp_path: Path
) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path}/fgd.db")
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_floor SET revision = '9998'")
    said = fgd("migrate", "--home", tmp_path, "--json")
    assert (said.exit_code, said.json["error"]["code"]) == (1, "schema_too_new")


def test_an_address_of_no_database_is_a_mistake_in_usage(fgd: Fgd, tmp_path: Path) -> None:
    said = fgd("migrate", "--home", tmp_path, "--database-url", "mysql://db/fgd")
    assert (said.exit_code, "no database that fgd knows" in said.err) == (2, True)
    # What follows from the address is no mistake of its own.
    assert "default factory" not in said.err


def test_settings_that_do_not_go_together_are_told_without_the_name_of_one(
    fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FGD_STORAGE_URL", "s3://bucket")
    monkeypatch.setenv("FGD_RUN_FILES", "shared")
    said = fgd("migrate", "--home", tmp_path)
    assert (said.exit_code, said.err.startswith("error runs cannot share")) == (2, True), said.err


@pytest.mark.skipif(postgres.why_unavailable() is not None, reason=str(postgres.why_unavailable()))
def test_a_database_that_is_away_is_waited_for() -> None:
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
        out, _ = waiting.communicate(timeout=60)
        assert (waiting.returncode, json.loads(out)) == (0, {"from": None, "to": NEWEST})
