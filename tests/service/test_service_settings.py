from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.client.errors import UsageError
from service.jobs.cluster import NodeType
from service.server.options import settings_of
from service.settings import Settings, all_settings, variable
from service.settings.groups import RaySettings, StorageSettings
from service.settings.loggers import LoggerTarget
from service.store.tokens import TokenMint

# Every variable of a server, with the name and the value of its setting, and a text that it refuses (None: it takes any
# text). Deployments set these variables: none may change its name.
VARIABLES: Mapping[str, tuple[str, str, object, str | None]] = {
    "FGD_HOME": ("home", "/srv/fgd", Path("/srv/fgd"), "~nobody-here/fgd"),
    "FGD_DATABASE_URL": ("database.url", "postgres://db/fgd", "postgresql+asyncpg://db/fgd", "mysql://db/fgd"),
    "FGD_DATABASE_POOL_SIZE": ("database.pool_size", "7", 7, "1"),
    "FGD_SECRET": ("secret", "s" * 32, SecretStr("s" * 32), "short"),
    "FGD_STORAGE_DIR": ("storage.dir", "/srv/files", Path("/srv/files"), "~nobody-here/files"),
    "FGD_STORAGE_URL": ("storage.url", "s3://models/fgd", "s3://models/fgd", None),
    "FGD_RUN_FILES": ("run_files", "through_server", "through_server", "here"),
    "FGD_MAX_FILE_BYTES": ("max_file_bytes", "2000000", 2_000_000, "5"),
    "FGD_HOST": ("host", "::1", "::1", None),
    "FGD_PORT": ("port", "9000", 9000, "0"),
    "FGD_PUBLIC_URL": ("public_url", "http://api:8321", "http://api:8321", None),
    "FGD_EXTERNAL_URL": ("external_url", "https://lab.example/fgd/", "https://lab.example/fgd", "lab"),
    "FGD_AUTH": ("auth", "tokens", "tokens", "token"),
    "FGD_ADMIN_TOKEN": ("admin_token", "a" * 32, SecretStr("a" * 32), "short"),
    "FGD_ADMIN_TOKEN_FILE": ("admin_token_file", "/run/admin", Path("/run/admin"), "~nobody-here/admin"),
    "FGD_METRICS_TOKEN": ("metrics_token", "m" * 32, SecretStr("m" * 32), "short"),
    "FGD_METRICS_TOKEN_FILE": ("metrics_token_file", "/run/scrape", Path("/run/scrape"), "~nobody-here/scrape"),
    "FGD_ALLOWED_HOSTS": ("allowed_hosts", "lab.example:fgd", ("lab.example", "fgd"), None),
    "FGD_DATA_ROOTS": ("data_roots", "/data:/more", (Path("/data"), Path("/more")), "~nobody-here/data"),
    "FGD_TUNE_SEARCHERS": ("tune_searchers", "lab.Own:lab.Other", ("lab.Own", "lab.Other"), None),
    "FGD_WEBHOOKS_ALLOW_PRIVATE": ("webhooks.allow_private", "1", True, "perhaps"),
    "FGD_LOGGERS": (
        "loggers",
        "tensorboard:/logs, mlflow:http://mlflow:5000, wandb:team/lab",
        (
            LoggerTarget("tensorboard", "/logs"),
            LoggerTarget("mlflow", "http://mlflow:5000"),
            LoggerTarget("wandb", "team/lab"),
        ),
        "wandb:team/",
    ),
    "FGD_RAY_DASHBOARD_URL": ("ray.dashboard_url", "http://ray:8265", "http://ray:8265", None),
    "FGD_RAY_KEEP_RUNS": ("ray.keep_runs", "5", 5, "-1"),
    "FGD_RAY_NODE_TYPES": (
        "ray.node_types",
        '[{"cpus": 16, "gpus": 1, "max_nodes": 4}]',
        (NodeType(cpus=16, gpus=1, max_nodes=4),),
        '[{"cpus": 16, "gpu": 1, "max_nodes": 4}]',
    ),
    "FGD_LOCAL_CLUSTER": ("local_cluster", "1", True, "perhaps"),
    "FGD_PYTHON": ("python", "/usr/bin/python3", "/usr/bin/python3", None),
    "FGD_HEARTBEAT_S": ("heartbeat_s", "2.5", 2.5, "0"),
    "FGD_HEARTBEAT_TIMEOUT_S": ("heartbeat_timeout_s", "2.5", 2.5, "0"),
    "FGD_CANCEL_GRACE_S": ("cancel_grace_s", "2.5", 2.5, "-1"),
    "FGD_TICK_S": ("tick_s", "2.5", 2.5, "0"),
    "FGD_LEASE_TTL_S": ("lease_ttl_s", "2.5", 2.5, "inf"),
    "FGD_RETENTION_EVERY_HOURS": ("retention.every_hours", "never", None, "0"),
    "FGD_RETENTION_PROGRESS_DAYS": ("retention.progress_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_CURVES_DAYS": ("retention.curves_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_CURVE_POINTS": ("retention.curve_points", "500", 500, "5"),
    "FGD_RETENTION_LOGS_DAYS": ("retention.logs_days", "never", None, "0"),
    "FGD_RETENTION_SUCCEEDED_CHECKPOINTS_DAYS": ("retention.succeeded_checkpoints_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_OTHER_CHECKPOINTS_DAYS": ("retention.other_checkpoints_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_BEST_CHECKPOINTS_DAYS": ("retention.best_checkpoints_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_OUTBOXES_DAYS": ("retention.outboxes_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_ORPHANS_DAYS": ("retention.orphans_days", "2.5", 2.5, "0.5"),
    "FGD_RETENTION_AUDIT_DAYS": ("retention.audit_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_TOKENS_DAYS": ("retention.tokens_days", "2.5", 2.5, "0"),
    "FGD_RETENTION_DELIVERIES_DAYS": ("retention.deliveries_days", "2.5", 2.5, "0"),
    "FGD_SSE_KEEP_ALIVE_S": ("sse.keep_alive_s", "2.5", 2.5, "0"),
    "FGD_SSE_POLL_S": ("sse.poll_s", "2.5", 2.5, "inf"),
    "FGD_SSE_LIFETIME_S": ("sse.lifetime_s", "2.5", 2.5, "0"),
    "FGD_SLOW_READER_S": ("slow_reader_s", "2.5", 2.5, "0"),
    "FGD_LOG_POLL_S": ("log_poll_s", "2.5", 2.5, "0"),
}
INVALID = {name: text for name, (_, _, _, text) in VARIABLES.items() if text is not None}


class TestVariables:
    def test_the_list_is_complete(self) -> None:
        assert {name: setting for name, (setting, _, _, _) in VARIABLES.items()} == {
            variable(setting): setting for setting in all_settings()
        }

    @pytest.mark.parametrize("name", VARIABLES)
    def test_each_sets_its_setting(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        setting, text, value, _ = VARIABLES[name]
        monkeypatch.setenv(name, text)
        assert attrgetter(setting)(Settings()) == value

    @pytest.mark.parametrize("name", INVALID)
    def test_an_error_names_the_variable(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, INVALID[name])
        with pytest.raises(UsageError, match=rf"^{name}\b"):
            settings_of({})

    def test_the_members_of_a_group_are_read_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_DATABASE_POOL_SIZE", "7")
        assert Settings(home=tmp_path).database.url == f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
        settings = settings_of({"database.url": "postgresql://db/fgd"})
        assert (settings.database.url, settings.database.pool_size) == ("postgresql+asyncpg://db/fgd", 7)

    def test_a_foreign_variable_with_the_prefix_of_a_group_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_RAY_IMAGE", "ray:latest")
        assert Settings().ray == RaySettings()

    def test_a_group_may_be_a_json_object(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_RETENTION", '{"logs_days": 3}')
        monkeypatch.setenv("FGD_RETENTION_AUDIT_DAYS", "5")
        retention = Settings().retention
        assert (retention.logs_days, retention.audit_days) == (3, 5)

    def test_a_group_that_is_not_json_is_refused_without_its_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_DATABASE", "postgresql://ana:hunter2@db/fgd")
        with pytest.raises(UsageError, match=r"^FGD_DATABASE is no JSON .* as in FGD_DATABASE_URL=") as refusal:
            settings_of({})
        assert "hunter2" not in str(refusal.value)


class TestSettings:
    def test_all_files_are_in_the_home_by_default(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path)
        assert settings.database.url == f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
        assert settings.storage.dir == tmp_path / "storage"

    def test_the_environment_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_HOME", str(tmp_path))
        monkeypatch.setenv("FGD_PORT", "9000")
        settings = Settings()
        assert (settings.home, settings.public_url) == (tmp_path, "http://127.0.0.1:9000")

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
    def test_off_the_loopback_tokens_are_required(self, host: str) -> None:
        assert Settings(host=host).auth == "tokens"
        with pytest.raises(ValidationError, match=r"FGD_AUTH=tokens.*SSH tunnel"):
            Settings(host=host, auth="none")

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
    def test_on_the_loopback_tokens_are_optional(self, host: str) -> None:
        assert Settings(host=host).auth == "none"
        assert Settings(host=host, auth="tokens").auth == "tokens"

    def test_with_tokens_specs_may_name_paths_in_the_storage_only(self, tmp_path: Path) -> None:
        assert Settings(home=tmp_path).data_roots == (Path("/"),)
        assert Settings(home=tmp_path, auth="tokens").data_roots == (tmp_path / "storage",)

    def test_folders_and_hosts_are_separated_as_in_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_DATA_ROOTS", "/data:/mnt/more")
        monkeypatch.setenv("FGD_ALLOWED_HOSTS", "lab.example.org")
        settings = Settings()
        assert (settings.data_roots, settings.allowed_hosts) == (
            (Path("/data"), Path("/mnt/more")),
            ("lab.example.org",),
        )

    def test_a_short_admin_token_is_refused_and_not_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_ADMIN_TOKEN", "hunter2")
        with pytest.raises(ValidationError, match="admin_token") as refusal:
            Settings()
        assert "hunter2" not in str(refusal.value)

    def test_the_admin_token_is_not_printed(self) -> None:
        assert "s3cret" not in repr(Settings(admin_token=SecretStr("s3cret" * 8)))

    def test_a_server_on_all_addresses_is_called_at_the_loopback(self) -> None:
        assert Settings(host="0.0.0.0").public_url == "http://127.0.0.1:8321"

    def test_the_loopback_of_ipv6_is_written_in_brackets(self) -> None:
        assert Settings(host="::1").public_url == "http://[::1]:8321"


class TestStorage:
    @pytest.mark.parametrize("url", ["/data/fgd", "file:///data/fgd", "file://localhost/data/fgd"])
    def test_a_folder_can_be_given_in_several_ways(self, url: str) -> None:
        settings = Settings.model_validate({"storage": {"url": url}})
        assert (settings.storage.dir, settings.storage.url, settings.run_files) == (Path("/data/fgd"), None, "shared")

    def test_with_a_bucket_runs_upload_their_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_STORAGE_URL", "s3://models/fgd")
        settings = Settings(auth="tokens")
        assert (settings.storage.url, settings.run_files) == ("s3://models/fgd", "through_server")
        assert settings.data_roots == ()

    def test_runs_may_also_upload_their_files_to_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_RUN_FILES", "through_server")
        assert Settings(storage=StorageSettings(dir=Path("/data"))).run_files == "through_server"

    def test_a_bucket_cannot_be_shared_as_a_folder(self) -> None:
        with pytest.raises(ValidationError, match=r"s3://models.*FGD_RUN_FILES=through_server"):
            Settings.model_validate({"storage": {"url": "s3://models"}, "run_files": "shared"})

    def test_two_settings_for_the_storage_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_STORAGE_URL", "s3://models")
        monkeypatch.setenv("FGD_STORAGE_DIR", "/data")
        with pytest.raises(ValidationError, match=r"FGD_STORAGE_URL and FGD_STORAGE_DIR.*set one"):
            Settings()

    def test_an_empty_variable_counts_as_unset(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_STORAGE_URL", "")
        assert Settings(home=tmp_path).storage.dir == tmp_path / "storage"

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("gs://models", "'gs' is not supported.*s3://bucket/prefix"),
            ("https://example.org/x", "'https' is not supported"),
            ("s3://", "names no bucket"),
            ("s3://key:secret@models", "names no bucket"),
            ("s3://models/../other", "names no bucket"),
            ("file://elsewhere/data", "no folder on this machine"),
        ],
    )
    def test_an_invalid_storage_is_refused_with_the_cure(self, url: str, message: str) -> None:
        with pytest.raises(ValidationError, match=message) as refusal:
            Settings.model_validate({"storage": {"url": url}})
        assert "secret" not in str(refusal.value)


class TestTokens:
    def test_a_token_is_reproducible_and_belongs_to_one_attempt(self, tmp_path: Path) -> None:
        first, second = TokenMint.at(tmp_path / "secret"), TokenMint.at(tmp_path / "secret")
        assert first.token("a-1") == second.token("a-1") != first.token("a-2")
        assert TokenMint.at(tmp_path / "other").token("a-1") != first.token("a-1")

    def test_only_the_owner_can_read_the_secret(self, tmp_path: Path) -> None:
        TokenMint.at(tmp_path / "secret")
        assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
