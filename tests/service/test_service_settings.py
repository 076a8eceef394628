from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.settings import Settings
from service.store.tokens import TokenMint


class TestSettings:
    def test_all_files_are_in_the_home_by_default(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path)
        assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
        assert settings.storage_dir == tmp_path / "storage"

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
        settings = Settings(storage_url=url)
        assert (settings.storage_dir, settings.storage_url, settings.run_files) == (Path("/data/fgd"), None, "shared")

    def test_with_a_bucket_runs_upload_their_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_STORAGE_URL", "s3://models/fgd")
        settings = Settings(auth="tokens")
        assert (settings.storage_url, settings.run_files) == ("s3://models/fgd", "through_server")
        assert settings.data_roots == ()

    def test_runs_may_also_upload_their_files_to_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_RUN_FILES", "through_server")
        assert Settings(storage_dir=Path("/data")).run_files == "through_server"

    def test_a_bucket_cannot_be_shared_as_a_folder(self) -> None:
        with pytest.raises(ValidationError, match=r"s3://models.*FGD_RUN_FILES=through_server"):
            Settings.model_validate({"storage_url": "s3://models", "run_files": "shared"})

    def test_two_settings_for_the_storage_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_STORAGE_URL", "s3://models")
        monkeypatch.setenv("FGD_STORAGE_DIR", "/data")
        with pytest.raises(ValidationError, match=r"FGD_STORAGE_URL and FGD_STORAGE_DIR.*set one"):
            Settings()

    def test_an_empty_variable_counts_as_unset(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_STORAGE_URL", "")
        assert Settings(home=tmp_path).storage_dir == tmp_path / "storage"

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
            Settings(storage_url=url)
        assert "secret" not in str(refusal.value)


class TestTokens:
    def test_a_token_is_reproducible_and_belongs_to_one_attempt(self, tmp_path: Path) -> None:
        first, second = TokenMint.at(tmp_path / "secret"), TokenMint.at(tmp_path / "secret")
        assert first.token("a-1") == second.token("a-1") != first.token("a-2")
        assert TokenMint.at(tmp_path / "other").token("a-1") != first.token("a-1")

    def test_only_the_owner_can_read_the_secret(self, tmp_path: Path) -> None:
        TokenMint.at(tmp_path / "secret")
        assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
