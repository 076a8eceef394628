"""Tokens, projects, webhooks and the audit from the command line, against a real server that asks for tokens."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from fgd_core.spec.administration import NewToken
from service.client.client import FgdClient
from service.client.errors import UsageError
from service.server.first_token import create
from service.settings import Settings
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, eventually


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[LiveServer]:
    """A server that asks for tokens."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    server = LiveServer(tmp_path / "home")
    server.settings = Settings(
        home=server.settings.home, port=server.port, auth="tokens", tick_s=0.05, webhooks_allow_private=True
    )
    yield server


@pytest.fixture
def admin(guarded: LiveServer, fgd: Fgd, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An admin's token, in the environment of `fgd`; the server runs."""
    made = fgd("tokens", "create", "--name", "ana", "--role", "admin", "--home", guarded.settings.home, "--json")
    guarded.start()
    monkeypatch.setenv("FGD_SERVER", guarded.url)
    monkeypatch.setenv("FGD_TOKEN", made.json["token"])
    yield made.json["token"]
    guarded.stop()


class TestTheFirstToken:
    def test_it_is_made_in_the_database_before_there_is_a_server(self, admin: str, fgd: Fgd) -> None:
        listed = fgd("tokens", "--json").json
        assert [(token["name"], token["role"], token["project"]) for token in listed] == [("ana", "admin", None)]
        assert fgd("whoami", "--json").json["name"] == "ana"
        (entry,) = fgd("audit", "--json").json
        assert (entry["action"], entry["details"]) == ("create_token", {"name": "ana", "role": "admin"})

    def test_only_the_token_is_on_standard_output(self, tmp_path: Path, fgd: Fgd) -> None:
        ended = fgd("tokens", "create", "--name", "ana", "--role", "read", "--home", tmp_path / "new")
        assert ended.out.startswith("fgd_")
        assert len(ended.out.split()) == 1
        assert ended.out.strip() not in ended.err
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700

    def test_up_says_how_to_make_one(self, tmp_path: Path, fgd: Fgd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_AUTH", "tokens")
        ended = fgd("up", "--home", tmp_path / "new", "--port", "0")
        assert ended.exit_code == 1
        assert "fgd tokens create --name you --role admin --home" in ended.err


class TestTokens:
    def test_without_one_the_server_refuses_and_the_cure_is_said(
        self, admin: str, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("FGD_TOKEN")
        ended = fgd("jobs")
        assert (ended.exit_code, "FGD_TOKEN" in ended.err) == (1, True)

    def test_it_may_lie_in_a_file(self, admin: str, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "token").write_text(f"{admin}\n")
        monkeypatch.delenv("FGD_TOKEN")
        monkeypatch.setenv("FGD_TOKEN_FILE", str(tmp_path / "token"))
        assert fgd("whoami", "--json").json["name"] == "ana"
        monkeypatch.setenv("FGD_TOKEN_FILE", str(tmp_path / "none"))
        assert fgd("whoami").exit_code == 2

    def test_made_used_and_taken_back(self, admin: str, fgd: Fgd, guarded: LiveServer) -> None:
        made = fgd(
            *("tokens", "create", "--name", "bot", "--role", "submit", "--project", "mine", "--expires-in-days", 1),
            "--json",
        ).json
        with FgdClient(guarded.url, token=made["token"]) as client:
            assert client.administration.who_am_i().project == "mine"
            assert list(client.jobs()) == []
        assert fgd("tokens", "revoke", made["token_id"]).exit_code == 0
        assert "revoked" in fgd("tokens").out
        with FgdClient(guarded.url, token=made["token"]) as client, pytest.raises(Exception, match="revoked"):
            client.administration.who_am_i()

    def test_a_role_that_there_is_not_is_named(self, admin: str, fgd: Fgd) -> None:
        ended = fgd("tokens", "create", "--name", "bot", "--role", "king")
        assert (ended.exit_code, "--role 'king'" in ended.err) == (2, True)

    def test_what_no_token_can_be_is_refused_and_not_shown(self) -> None:
        with pytest.raises(UsageError) as refusal:
            FgdClient(token="two words")
        assert "two words" not in str(refusal.value)


class TestProjects:
    def test_what_is_not_named_stays_as_it_is(self, admin: str, fgd: Fgd) -> None:
        fgd("projects", "set", "mine", "--max-running-jobs", 4, "--weight", 2)
        changed = fgd("projects", "set", "mine", "--max-running-jobs", "none", "--max-gpus", 3, "--json").json
        assert (changed["weight"], changed["max_running_jobs"], changed["max_gpus"]) == (2.0, None, 3)
        assert "mine" in fgd("projects").out

    @pytest.mark.parametrize("wrong", [("--weight", 0), ("--max-gpus", "many"), ()])
    def test_what_cannot_be_is_refused(self, admin: str, fgd: Fgd, wrong: tuple[object, ...]) -> None:
        assert fgd("projects", "set", "mine", *wrong).exit_code == 2


class TestWebhooks:
    def test_added_tested_listed_and_removed(self, admin: str, fgd: Fgd) -> None:
        added = fgd("webhooks", "add", "http://127.0.0.1:1/", "--json").json
        assert added["secret"].startswith("whsec_")
        listed = fgd("webhooks")
        assert added["webhook_id"] in listed.out
        assert added["secret"] not in listed.out
        tested = fgd("webhooks", "test", added["webhook_id"])
        assert (tested.exit_code, "not delivered" in tested.err) == (1, True)
        assert fgd("webhooks", "deliveries", added["webhook_id"], "--json").json == []
        assert fgd("webhooks", "remove", added["webhook_id"]).exit_code == 0
        assert fgd("webhooks", "--json").json == []


def test_the_audit_names_who_and_what(admin: str, fgd: Fgd) -> None:
    fgd("projects", "set", "mine", "--weight", 2)
    # The row is written behind the answer.
    eventually(lambda: fgd("audit", "--action", "set_project", "--json").json != [])
    (entry,) = fgd("audit", "--action", "set_project", "--json").json
    assert (entry["actor"], entry["target"], entry["project"]) == ("ana", "/v1/projects/mine", "mine")
    assert "ana" in fgd("audit").out


def test_a_token_made_here_is_let_in_by_a_server_that_runs(admin: str, guarded: LiveServer) -> None:
    made = create(NewToken(name="late", role="read"), home=guarded.settings.home, database_url=None)
    with FgdClient(guarded.url, token=made.token) as client:
        assert client.administration.who_am_i().name == "late"
