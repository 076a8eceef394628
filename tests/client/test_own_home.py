"""The commands that open a server's home themselves: never another one's than was named."""

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
    """A user without HOME and without an entry in the system's list, as in a container with an arbitrary user id."""

    def no_entry(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("FGD_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


class TestWhoseHome:
    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
    @pytest.mark.parametrize("as_option", [True, False])
    def test_of_a_named_server_none_is_opened_and_the_cure_is_said(
        self, command: tuple[str, ...], as_option: bool, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        if not as_option:
            monkeypatch.setenv("FGD_SERVER", "https://fgd.example.org")
        said = fgd(*command, *(("--server", "https://fgd.example.org") if as_option else ()))
        assert said.exit_code == 2
        assert all(word in said.err for word in ("https://fgd.example.org", "--home", "--database-url", command[0]))
        assert list(tmp_path.iterdir()) == []

    def test_a_named_home_is_opened_whatever_server_the_environment_names(
        self, fgd: Fgd, server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FGD_SERVER", "https://fgd.example.org")
        assert fgd("backup", tmp_path / "a.tar", "--home", server.settings.home).exit_code == 0
        monkeypatch.setenv("FGD_HOME", str(server.settings.home))
        assert fgd("backup", tmp_path / "b.tar").exit_code == 0


class TestWithoutAHomeFolder:
    @pytest.mark.usefixtures("homeless")
    @pytest.mark.parametrize("command", [*COMMANDS, ("up",)], ids=lambda command: command[0])
    def test_a_server_asks_for_one(self, command: tuple[str, ...], fgd: Fgd) -> None:
        said = fgd(*command)
        assert said.exit_code == 2
        assert "FGD_HOME" in said.err and "HOME" in said.err and "whole path" in said.err

    @pytest.mark.usefixtures("homeless")
    def test_a_named_one_does(self, fgd: Fgd, tmp_path: Path) -> None:
        assert fgd("migrate", "--home", tmp_path / "home").exit_code == 0

    @pytest.mark.usefixtures("homeless")
    def test_ray_has_no_token_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        assert find_ray_token() is None

    @pytest.mark.usefixtures("homeless")
    def test_a_spec_may_not_use_it(self, fgd: Fgd, tmp_path: Path) -> None:
        spec = tmp_path / "spec.yaml"
        spec.write_text("kind: evaluate\nname: e\ncheckpoint: ~/best.pt\ndata: {type: shapes}\n")
        for source in (str(spec), "~/spec.yaml"):
            with pytest.raises(UsageError, match="~ stands for"):
                read_spec(source)
        said = fgd("data", "add", "blood", "--voc", "~/voc")
        assert (said.exit_code, "~/voc" in said.err) == (2, True)

    def test_another_users_that_is_unknown_is_refused(self) -> None:
        with pytest.raises(UsageError, match="~nobody-of-that-name"):
            expanded("~nobody-of-that-name/spec.yaml")


def test_a_current_folder_that_was_removed_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        with pytest.raises(UsageError, match="has been removed"):
            current_folder()
    finally:
        os.chdir(tmp_path)
