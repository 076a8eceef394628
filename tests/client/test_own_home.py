"""The commands that open a server's home themselves open only the named one."""

import os
import pwd
from pathlib import Path

import pytest

from service.client.errors import UsageError
from service.client.paths import current_folder, expanded
from service.client.spec_file import read_spec
from service.dispatcher.cluster import find_ray_token
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer

COMMANDS = (("backup", "x.tar"), ("restore", "x.tar"), ("migrate",))


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the list of users, as in a container with an arbitrary user id."""

    def no_entry(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("FGD_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


class TestNamedServer:
    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
    @pytest.mark.parametrize("as_option", [True, False])
    def test_a_named_server_opens_no_home_and_names_the_cure(
        self, command: tuple[str, ...], as_option: bool, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        if not as_option:
            monkeypatch.setenv("FGD_SERVER", "https://fgd.example.org")
        ended = fgd(*command, *(("--server", "https://fgd.example.org") if as_option else ()))
        assert ended.exit_code == 2
        assert all(word in ended.err for word in ("https://fgd.example.org", "--home", "--database-url", command[0]))
        assert list(tmp_path.iterdir()) == []

    def test_a_named_home_is_opened_despite_fgd_server(
        self, fgd: Fgd, server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FGD_SERVER", "https://fgd.example.org")
        assert fgd("backup", tmp_path / "a.tar", "--home", server.settings.home).exit_code == 0
        monkeypatch.setenv("FGD_HOME", str(server.settings.home))
        assert fgd("backup", tmp_path / "b.tar").exit_code == 0


class TestWithoutAHomeFolder:
    @pytest.mark.usefixtures("homeless")
    @pytest.mark.parametrize("command", [*COMMANDS, ("up",)], ids=lambda command: command[0])
    def test_a_command_that_opens_a_home_asks_for_one(self, command: tuple[str, ...], fgd: Fgd) -> None:
        ended = fgd(*command)
        assert ended.exit_code == 2
        assert "FGD_HOME" in ended.err and "HOME" in ended.err and "whole path" in ended.err

    @pytest.mark.usefixtures("homeless")
    def test_a_named_home_is_enough(self, fgd: Fgd, tmp_path: Path) -> None:
        assert fgd("migrate", "--home", tmp_path / "home").exit_code == 0

    @pytest.mark.usefixtures("homeless")
    def test_ray_has_no_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        assert find_ray_token() is None

    @pytest.mark.usefixtures("homeless")
    def test_a_tilde_in_a_spec_is_refused(self, fgd: Fgd, tmp_path: Path) -> None:
        spec = tmp_path / "spec.yaml"
        spec.write_text("kind: evaluate\nname: e\ncheckpoint: ~/best.pt\ndata: {type: shapes}\n")
        for source in (str(spec), "~/spec.yaml"):
            with pytest.raises(UsageError, match="~ stands for"):
                read_spec(source)
        ended = fgd("data", "add", "blood", "--voc", "~/voc")
        assert (ended.exit_code, "~/voc" in ended.err) == (2, True)

    def test_the_home_of_an_unknown_user_is_refused(self) -> None:
        with pytest.raises(UsageError, match="~nobody-of-that-name"):
            expanded("~nobody-of-that-name/spec.yaml")


def test_a_removed_current_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        with pytest.raises(UsageError, match="has been removed"):
            current_folder()
    finally:
        os.chdir(tmp_path)
