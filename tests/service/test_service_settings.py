from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.settings import Settings
from service.store.tokens import TokenMint


class TestSettings:
    def test_everything_lies_in_the_home(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path)
        assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/fgd.db"
        assert settings.storage_dir == tmp_path / "storage"

    def test_the_environment_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_HOME", str(tmp_path))
        monkeypatch.setenv("FGD_PORT", "9000")
        settings = Settings()
        assert (settings.home, settings.public_url) == (tmp_path, "http://127.0.0.1:9000")

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
    def test_off_the_loopback_tokens_are_the_default_and_doing_without_is_refused_with_the_cure(
        self, host: str
    ) -> None:
        assert Settings(host=host).auth == "tokens"
        with pytest.raises(ValidationError, match=r"FGD_AUTH=tokens.*SSH tunnel"):
            Settings(host=host, auth="none")

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
    def test_on_the_loopback_no_token_is_needed_unless_asked_for(self, host: str) -> None:
        assert Settings(host=host).auth == "none"
        assert Settings(host=host, auth="tokens").auth == "tokens"

    def test_specs_may_name_every_path_without_tokens_and_only_storage_with_them(self, tmp_path: Path) -> None:
        assert Settings(home=tmp_path).data_roots == (Path("/"),)
        assert Settings(home=tmp_path, auth="tokens").data_roots == (tmp_path / "storage",)

    def test_folders_and_hosts_are_separated_like_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_the_admin_token_is_in_no_print(self) -> None:
        assert "s3cret" not in repr(Settings(admin_token=SecretStr("s3cret" * 8)))

    def test_every_address_is_called_by_the_loopback(self) -> None:
        assert Settings(host="0.0.0.0").public_url == "http://127.0.0.1:8321"

    def test_loopback_has_two_families(self) -> None:
        assert Settings(host="::1").public_url == "http://[::1]:8321"


class TestTokens:
    def test_a_token_can_be_made_again_and_belongs_to_one_attempt(self, tmp_path: Path) -> None:
        first, second = TokenMint.at(tmp_path / "secret"), TokenMint.at(tmp_path / "secret")
        assert first.token("a-1") == second.token("a-1") != first.token("a-2")
        assert TokenMint.at(tmp_path / "other").token("a-1") != first.token("a-1")

    def test_the_secret_is_its_owners(self, tmp_path: Path) -> None:
        TokenMint.at(tmp_path / "secret")
        assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
