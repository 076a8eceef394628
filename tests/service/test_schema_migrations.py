import sqlite3
from pathlib import Path

from service.store import migrate


def test_migrations_lead_to_the_tables_in_code_and_back_and_there_again(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
    migrate.upgrade(url)
    migrate.check(url)
    migrate.downgrade(url, "base")
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        left = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert left == {"alembic_version"}
    migrate.upgrade(url)
    migrate.check(url)


def test_an_upgrade_of_a_database_that_is_up_to_date_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "fgd.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "fgd.db").read_bytes()
    migrate.upgrade(url)
    assert (tmp_path / "fgd.db").read_bytes() == before
