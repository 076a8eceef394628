"""Tokens, projects, webhooks and the audit log from the command line, against a real server that requires tokens."""

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
from service.settings.groups import WebhookSettings
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, eventually


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[LiveServer]:
    """A server that requires tokens; not started yet."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    server = LiveServer(tmp_path / "home")
    server.settings = Settings(
        home=server.settings.home,
        port=server.port,
        auth="tokens",
        tick_s=0.05,
        webhooks=WebhookSettings(allow_private=True),
    )
    yield server


@pytest.fixture
def admin(guarded: LiveServer, fgd: Fgd, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running server, and an admin's token in the environment of `fgd`."""
    made = fgd("tokens", "create", "--name", "ana", "--role", "admin", "--home", guarded.settings.home, "--json")
    guarded.start()
    monkeypatch.setenv("FGD_SERVER", guarded.url)
    monkeypatch.setenv("FGD_TOKEN", made.json["token"])
    yield made.json["token"]
    guarded.stop()


class TestFirstToken:
    def test_it_is_created_in_the_database_without_a_server(self, admin: str, fgd: Fgd) -> None:
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

    def test_up_names_the_command_that_creates_it(
        self, tmp_path: Path, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FGD_AUTH", "tokens")
        ended = fgd("up", "--home", tmp_path / "new", "--port", "0")
        assert ended.exit_code == 1
        assert "fgd tokens create --name you --role admin --home" in ended.err


class TestTokens:
    def test_a_request_without_a_token_is_refused_with_the_cure(
        self, admin: str, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("FGD_TOKEN")
        ended = fgd("jobs")
        assert (ended.exit_code, "FGD_TOKEN" in ended.err) == (1, True)

    def test_a_file_may_hold_the_token(
        self, admin: str, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "token").write_text(f"{admin}\n")
        monkeypatch.delenv("FGD_TOKEN")
        monkeypatch.setenv("FGD_TOKEN_FILE", str(tmp_path / "token"))
        assert fgd("whoami", "--json").json["name"] == "ana"
        monkeypatch.setenv("FGD_TOKEN_FILE", str(tmp_path / "none"))
        assert fgd("whoami").exit_code == 2

    def test_a_revoked_token_is_refused(self, admin: str, fgd: Fgd, guarded: LiveServer) -> None:
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

    def test_an_unknown_role_is_refused_and_named(self, admin: str, fgd: Fgd) -> None:
        ended = fgd("tokens", "create", "--name", "bot", "--role", "king")
        assert (ended.exit_code, "--role 'king'" in ended.err) == (2, True)

    def test_a_malformed_token_is_refused_and_not_shown(self) -> None:
        with pytest.raises(UsageError) as refusal:
            FgdClient(token="two words")
        assert "two words" not in str(refusal.value)


class TestProjects:
    def test_settings_that_are_not_given_stay_unchanged(self, admin: str, fgd: Fgd) -> None:
        fgd("projects", "set", "mine", "--max-running-jobs", 4, "--weight", 2)
        changed = fgd("projects", "set", "mine", "--max-running-jobs", "none", "--max-gpus", 3, "--json").json
        assert (changed["weight"], changed["max_running_jobs"], changed["max_gpus"]) == (2.0, None, 3)
        assert "mine" in fgd("projects").out

    @pytest.mark.parametrize("wrong", [("--weight", 0), ("--max-gpus", "many"), ()])
    def test_wrong_settings_are_refused(self, admin: str, fgd: Fgd, wrong: tuple[object, ...]) -> None:
        assert fgd("projects", "set", "mine", *wrong).exit_code == 2


class TestWebhooks:
    def test_a_webhook_is_added_listed_tested_and_removed(self, admin: str, fgd: Fgd) -> None:
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


def test_the_audit_log_names_actor_and_action(admin: str, fgd: Fgd) -> None:
    fgd("projects", "set", "mine", "--weight", 2)
    # The server writes the row after its answer.
    eventually(lambda: fgd("audit", "--action", "set_project", "--json").json != [])
    (entry,) = fgd("audit", "--action", "set_project", "--json").json
    assert (entry["actor"], entry["target"], entry["project"]) == ("ana", "/v1/projects/mine", "mine")
    assert "ana" in fgd("audit").out


def test_a_running_server_accepts_a_token_created_in_its_database(admin: str, guarded: LiveServer) -> None:
    made = create(NewToken(name="late", role="read"), home=guarded.settings.home, database_url=None)
    with FgdClient(guarded.url, token=made.token) as client:
        assert client.administration.who_am_i().name == "late"
