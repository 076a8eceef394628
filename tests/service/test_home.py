"""The home folder and its files are readable by their owner only."""

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
    def test_an_existing_home_is_made_private_and_the_change_is_logged(self, tmp_path: Path) -> None:
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

    def test_a_private_home_logs_nothing(self, tmp_path: Path) -> None:
        make_private(tmp_path / "home")
        with structlog.testing.capture_logs() as lines:
            make_private(tmp_path / "home")
        assert lines == []

    def test_a_new_database_and_its_sqlite_files_are_private(self, tmp_path: Path) -> None:
        url = f"sqlite+aiosqlite:///{tmp_path}/elsewhere.db"
        make_private(tmp_path / "home", url)
        migrate.upgrade(url)
        assert {mode_of(path) for path in tmp_path.glob("elsewhere.db*")} == {0o600}

    def test_other_files_in_the_home_keep_their_permissions(self, tmp_path: Path) -> None:
        """The home may be a folder that a user works in."""
        (tmp_path / "mine.sh").touch()
        (tmp_path / "mine.sh").chmod(0o755)
        make_private(tmp_path)
        assert mode_of(tmp_path / "mine.sh") == 0o755

    def test_a_world_writable_folder_stays_open_with_a_warning(self, tmp_path: Path) -> None:
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

    def test_a_home_that_cannot_be_created_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="file/home"):
            make_private(tmp_path / "file" / "home")

    async def test_a_server_makes_its_home_private(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        settings.home.chmod(0o755)
        app = create_app(settings, cluster, clock=clock)
        async with app.router.lifespan_context(app):
            assert mode_of(settings.home) == 0o700

    async def test_files_of_the_dispatcher_are_private(self, plane: ControlPlane) -> None:
        assert mode_of(plane.settings.home / "dispatcher.json") == 0o600

    def test_a_holder_file_in_a_missing_home_is_a_storage_error(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="missing"):
            Holder.at(tmp_path / "missing")


@pytest.fixture
def outer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for the Ray head of `tmp_path`, inside this test's own temporary folder."""
    monkeypatch.setattr("service.dispatcher.ray_folder._outer", lambda home: tmp_path / "fgd-outer")
    return tmp_path / "fgd-outer"


class TestRayFolder:
    def test_it_is_inside_a_private_folder(self, tmp_path: Path, outer: Path) -> None:
        folder = ray_folder.make(tmp_path)
        # Ray makes it writable for everyone.
        folder.chmod(0o777)
        assert folder.parent == outer
        assert mode_of(outer) == 0o700

    def test_an_open_folder_is_made_private_and_its_content_not_used(self, tmp_path: Path, outer: Path) -> None:
        outer.mkdir()
        outer.chmod(0o777)
        (outer / "session_latest").mkdir()
        folder = ray_folder.make(tmp_path)
        assert mode_of(outer) == 0o700
        assert list(folder.iterdir()) == []

    def test_a_link_is_rejected_by_name(self, tmp_path: Path, outer: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        outer.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ClusterError, match=r"fgd-outer, is a link") as caught:
            LocalRay(tmp_path / "home")._spawn(1, 0)
        assert caught.value.details["path"] == str(outer)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_file_is_rejected_by_name(self, tmp_path: Path, outer: Path) -> None:
        outer.touch()
        with pytest.raises(ClusterError, match="no folder"):
            ray_folder.make(tmp_path)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
    def test_a_folder_of_another_user_is_rejected_by_name(self, tmp_path: Path, outer: Path) -> None:
        outer.mkdir(mode=0o700)
        os.chown(outer, 12345, 12345)
        with pytest.raises(ClusterError, match="belongs to another user \\(id 12345\\)"):
            ray_folder.make(tmp_path)

    def test_its_path_is_short_enough_for_rays_sockets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.gettempdir", lambda: "/a/long/path/to/temporary/files")
        outer = ray_folder._outer(tmp_path)
        assert len(str(outer / "abcd")) + len("/session_2026-01-01_12-00-00_000000_4194304/sockets/plasma_store") < 103

    def test_it_is_removed_completely(self, tmp_path: Path, outer: Path) -> None:
        folder = ray_folder.make(tmp_path)
        folder.rmdir()
        ray_folder.remove_empty(folder)
        assert not outer.exists()
