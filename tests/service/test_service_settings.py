from pathlib import Path

import pytest
from pydantic import ValidationError

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
    def test_a_host_off_the_loopback_is_refused_with_the_cure(self, host: str) -> None:
        with pytest.raises(ValidationError, match=r"127\.0\.0\.1.*SSH tunnel"):
            Settings(host=host)

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
