"""The home and what lies in it are for their owner alone, however they came to be."""

import os
import stat
from pathlib import Path

import pytest
import structlog
from control_plane import ControlPlane, ManualClock
from memory_cluster import MemoryCluster

from fgd_core.errors import ClusterError, StorageError
from service.dispatcher import ray_folder
from service.dispatcher.holder import Holder
from service.dispatcher.local import LocalRay
from service.home import make_private
from service.server.app import create_app
from service.settings import Settings
from service.store import migrate


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestHome:
    def test_one_that_is_there_is_closed_to_others_with_its_secrets_and_the_log_says_so(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        home.chmod(0o755)
        url = f"sqlite+aiosqlite:///{home}/fgd.db"
        migrate.upgrade(url)
        for name in ("fgd.db", "secret", "ray_auth_token"):
            (home / name).touch()
            (home / name).chmod(0o644)
        with structlog.testing.capture_logs() as lines:
            make_private(home, url)
        assert mode_of(home) == 0o700
        assert {mode_of(home / name) for name in ("fgd.db", "secret", "ray_auth_token")} == {0o600}
        (line,) = lines
        assert line["event"] == "home_tightened"
        assert str(home / "fgd.db") in line["closed_to_others"]

    def test_once_closed_nothing_is_said(self, tmp_path: Path) -> None:
        make_private(tmp_path / "home")
        with structlog.testing.capture_logs() as lines:
            make_private(tmp_path / "home")
        assert lines == []

    def test_a_database_is_private_from_the_beginning_and_so_is_what_sqlite_puts_beside_it(
        self, tmp_path: Path
    ) -> None:
        url = f"sqlite+aiosqlite:///{tmp_path}/elsewhere.db"
        make_private(tmp_path / "home", url)
        migrate.upgrade(url)
        assert {mode_of(path) for path in tmp_path.glob("elsewhere.db*")} == {0o600}

    def test_what_else_lies_there_keeps_its_rights(self, tmp_path: Path) -> None:
        """The home may be a folder that somebody works in."""
        (tmp_path / "mine.sh").touch()
        (tmp_path / "mine.sh").chmod(0o755)
        make_private(tmp_path)
        assert mode_of(tmp_path / "mine.sh") == 0o755

    def test_a_folder_that_everybody_shares_is_left_open_with_a_warning(self, tmp_path: Path) -> None:
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        with structlog.testing.capture_logs() as lines:
            make_private(shared)
        assert mode_of(shared) == 0o1777
        assert [line["event"] for line in lines] == ["open_to_others"]

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        target = tmp_path / "mounted"
        target.touch()
        target.chmod(0o644)
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        (home / "secret").symlink_to(target)
        make_private(home)
        assert mode_of(target) == 0o644

    def test_one_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="file/home"):
            make_private(tmp_path / "file" / "home")

    async def test_a_server_closes_its_home(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        settings.home.chmod(0o755)
        app = create_app(settings, cluster, clock=clock)
        async with app.router.lifespan_context(app):
            assert mode_of(settings.home) == 0o700

    async def test_what_the_dispatcher_keeps_there_is_private(self, plane: ControlPlane) -> None:
        assert mode_of(plane.settings.home / "dispatcher.json") == 0o600

    def test_a_name_that_cannot_be_kept_is_a_fault_of_the_home(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="missing"):
            Holder.at(tmp_path / "missing")


@pytest.fixture
def outer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folder of a head for `tmp_path` belongs, in a place for temporary files of this test's own."""
    monkeypatch.setattr("service.dispatcher.ray_folder._outer", lambda home: tmp_path / "fgd-outer")
    return tmp_path / "fgd-outer"


class TestFolderOfRay:
    def test_it_lies_in_a_folder_that_only_its_owner_enters(self, tmp_path: Path, outer: Path) -> None:
        folder = ray_folder.make(tmp_path)
        # As Ray does.
        folder.chmod(0o777)
        assert folder.parent == outer
        assert mode_of(outer) == 0o700

    def test_one_that_was_left_open_is_closed_and_what_lies_there_is_not_used(
        self, tmp_path: Path, outer: Path
    ) -> None:
        outer.mkdir()
        outer.chmod(0o777)
        (outer / "session_latest").mkdir()
        folder = ray_folder.make(tmp_path)
        assert mode_of(outer) == 0o700
        assert list(folder.iterdir()) == []

    def test_a_link_is_refused_by_name(self, tmp_path: Path, outer: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        outer.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ClusterError, match=r"fgd-outer, is a link") as caught:
            LocalRay(tmp_path / "home")._spawn(1, 0)
        assert caught.value.details["path"] == str(outer)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_file_is_refused_by_name(self, tmp_path: Path, outer: Path) -> None:
        outer.touch()
        with pytest.raises(ClusterError, match="no folder"):
            ray_folder.make(tmp_path)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
    def test_one_of_another_user_is_refused_by_name(self, tmp_path: Path, outer: Path) -> None:
        outer.mkdir(mode=0o700)
        os.chown(outer, 12345, 12345)
        with pytest.raises(ClusterError, match="belongs to another user \\(id 12345\\)"):
            ray_folder.make(tmp_path)

    def test_its_path_leaves_room_for_the_sockets_of_ray(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.gettempdir", lambda: "/a/long/path/to/temporary/files")
        outer = ray_folder._outer(tmp_path)
        assert len(str(outer / "abcd")) + len("/session_2026-01-01_12-00-00_000000_4194304/sockets/plasma_store") < 103

    def test_nothing_of_it_is_left(self, tmp_path: Path, outer: Path) -> None:
        folder = ray_folder.make(tmp_path)
        folder.rmdir()
        ray_folder.remove_empty(folder)
        assert not outer.exists()
