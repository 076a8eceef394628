"""Wrong settings and unknown variables: the error names each as the user wrote it."""

import re
import subprocess
from pathlib import Path

import pytest

from service.client.errors import UsageError
from service.server.options import known_variables, settings_of, unknown_variables
from tests.client.conftest import Fgd

ROOT = Path(__file__).resolve().parents[2]


class TestFaults:
    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("FGD_PORT", "70000", "FGD_PORT='70000' must be from 1 to 65535"),
            ("FGD_PORT", "http", "FGD_PORT='http': input should be a valid integer"),
            ("FGD_TICK_S", "0", "FGD_TICK_S='0' must be more than 0"),
            ("FGD_CANCEL_GRACE_S", "-1", "FGD_CANCEL_GRACE_S='-1' must be 0 or more"),
            ("FGD_AUTH", "token", "FGD_AUTH='token': input should be 'none' or 'tokens'"),
            ("FGD_ADMIN_TOKEN", "hunter2", "FGD_ADMIN_TOKEN must have 32 characters or more"),
            ("FGD_EXTERNAL_URL", "fgd", "FGD_EXTERNAL_URL='fgd': give the address of this server"),
            ("FGD_RETENTION_LOGS_DAYS", "0", "FGD_RETENTION_LOGS_DAYS='0' must be more than 0, or never"),
            ("FGD_RETENTION", "no", "FGD_RETENTION='no' is no JSON object"),
            ("FGD_DATABASE_URL", "mysql://ana:hunter2@db/fgd", "FGD_DATABASE_URL: 'mysql' is no database"),
            ("FGD_LEASE_TTL_S", "inf", "FGD_LEASE_TTL_S='inf': input should be a finite number"),
        ],
    )
    def test_each_names_the_variable_the_value_and_the_bounds(
        self, variable: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(UsageError) as refusal:
            settings_of({"home": tmp_path})
        assert refusal.value.message.startswith(message)
        assert "hunter2" not in str(refusal.value)

    def test_an_option_is_named_as_it_was_typed(self) -> None:
        with pytest.raises(UsageError, match=r"^--database-url: 'mysql' is no database"):
            settings_of({"database.url": "mysql://db/fgd"})

    def test_all_are_reported_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_PORT", "0")
        monkeypatch.setenv("FGD_HEARTBEAT_S", "-5")
        with pytest.raises(UsageError, match=r"FGD_PORT='0' .*; FGD_HEARTBEAT_S='-5' "):
            settings_of({})


class TestUnknownVariables:
    def test_a_misspelt_variable_gets_a_suggestion(self) -> None:
        (hint,) = unknown_variables({"FGD_DATABSE_URL": "x", "FGD_PORT": "1", "HOME": "/"})
        assert "FGD_DATABSE_URL" in hint and "did you mean FGD_DATABASE_URL?" in hint

    def test_the_variables_of_retention_are_known(self) -> None:
        (hint,) = unknown_variables({"FGD_RETENTION_LOG_DAYS": "3", "fgd_retention_logs_days": "3"})
        assert "did you mean FGD_RETENTION_LOGS_DAYS?" in hint

    def test_every_variable_in_the_repository_is_known(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "service", "workers", "fgd_core", "deploy", "*.yml", "Dockerfile"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode:
            pytest.skip("needs a git checkout")
        named = set()
        for path in listed.stdout.split():
            named |= set(
                re.findall(r"\bFGD_[A-Z_]*[A-Z]\b", (ROOT / path).read_text(errors="replace"))
                if (ROOT / path).is_file()
                else set()
            )
        # The documentation uses the prefix for the whole group.
        assert named - {"FGD_RETENTION"} <= known_variables()

    def test_a_command_warns_of_a_misspelt_server_and_its_json_stays_json(
        self, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FGD_SERVR", "https://fgd.example.org")
        ended = fgd("recipes", "--json")
        assert ended.exit_code == 0 and ended.json
        assert "did you mean FGD_SERVER?" in ended.err

    def test_up_warns_before_it_starts_anything(
        self, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FGD_DATABSE_URL", "x")
        monkeypatch.setenv("FGD_PORT", "70000")
        ended = fgd("up", "--home", tmp_path / "home")
        assert ended.exit_code == 2
        assert "did you mean FGD_DATABASE_URL?" in ended.err


class TestOptionsBeforeASubcommand:
    @pytest.mark.parametrize("group", ["tokens", "data", "webhooks", "projects", "sweep"])
    def test_they_are_refused_before_a_subcommand(self, group: str, fgd: Fgd) -> None:
        subcommand = {"projects": ("set", "a"), "sweep": ("stop", "a", 1), "webhooks": ("test", "a")}
        ended = fgd(group, "--server", "http://127.0.0.1:9", *subcommand.get(group, ("list",)))
        assert ended.exit_code == 2
        assert f"fgd {group} {subcommand.get(group, ('list',))[0]} … --server" in " ".join(ended.err.split())

    @pytest.mark.parametrize(
        "option", [("--server", "http://127.0.0.1:9"), ("--server=http://127.0.0.1:9",), ("--json",)]
    )
    def test_they_are_refused_before_a_command(self, option: tuple[str, ...], fgd: Fgd) -> None:
        ended = fgd(*option, "jobs")
        assert ended.exit_code == 2
        name = option[0].partition("=")[0]
        assert f"fgd jobs … {name}" in " ".join(ended.err.replace("│", "").split())

    def test_json_before_a_subcommand_is_refused_in_json(self, fgd: Fgd) -> None:
        ended = fgd("tokens", "--json", "list")
        assert (ended.exit_code, ended.json["error"]["code"]) == (2, "usage")

    def test_without_a_subcommand_the_group_uses_them(self, fgd: Fgd) -> None:
        assert fgd("data", "--server", "http://127.0.0.1:9").exit_code == 3
