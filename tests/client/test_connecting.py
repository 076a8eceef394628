"""Which server a client talks to, and how: FGD_SERVER, proxies, certificates."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from service.client.client import FgdClient
from service.client.errors import UnreachableError, UsageError
from service.settings import Settings
from tests.client.certificates import write_certificate
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer
from tests.client.proxies import ForwardProxy

HOST = "fgd.example.org"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("SSL_CERT", "FGD_")):
            monkeypatch.delenv(name)


def named_server(tmp_path: Path, *, certificate: Path | None = None) -> LiveServer:
    """One that goes by a name of the outer world."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    server = LiveServer(tmp_path / "home", certificate=certificate)
    server.settings = Settings(home=tmp_path / "home", port=server.port, tick_s=0.05, allowed_hosts=(HOST,))
    server.start()
    return server


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[LiveServer]:
    server = named_server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[LiveServer]:
    server = named_server(tmp_path, certificate=write_certificate(tmp_path / "own.pem", host=HOST))
    yield server
    server.stop()


@pytest.fixture
def proxy(request: pytest.FixtureRequest) -> Iterator[ForwardProxy]:
    name = "secure" if "secure" in request.fixturenames else "plain"
    proxy = ForwardProxy(request.getfixturevalue(name).port)
    yield proxy
    proxy.close()


class TestWhichServer:
    def test_the_environment_names_it(self, plain: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_SERVER", f"{plain.url}/")
        with FgdClient() as client:
            assert client.base_url == plain.url
            assert list(client.jobs()) == []

    @pytest.mark.parametrize("empty", ["", " "])
    def test_an_empty_variable_names_none(self, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_SERVER", empty)
        assert FgdClient().base_url == "http://127.0.0.1:8321"

    def test_an_argument_goes_before_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_SERVER", "http://elsewhere:1")
        assert FgdClient("http://127.0.0.1:9").base_url == "http://127.0.0.1:9"

    @pytest.mark.parametrize(
        "url",
        ["fgd.example.org", "fgd.example.org:8321", "ftp://fgd", "http://", "http://a:b", "http://a:99999", "//a"],
    )
    def test_what_is_no_address_is_refused_with_the_cure(
        self, url: str, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = fgd("jobs", "--server", url)
        assert said.exit_code == 2
        assert url in said.err and "https://fgd.example.org" in said.err
        monkeypatch.setenv("FGD_SERVER", url)
        with pytest.raises(UsageError, match="FGD_SERVER"):
            FgdClient()


class TestProxies:
    def test_a_server_of_the_outer_world_is_reached_through_it(
        self, plain: LiveServer, proxy: ForwardProxy, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        said = fgd("jobs", "--server", f"http://{HOST}")
        assert said.exit_code == 0, said.err
        assert proxy.requests == [f"GET http://{HOST}/v1/jobs?limit=100 HTTP/1.1"]

    def test_one_with_tls_is_reached_through_a_tunnel(
        self, secure: LiveServer, proxy: ForwardProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
        with FgdClient(f"https://{HOST}") as client:
            assert list(client.jobs()) == []
        assert proxy.requests == [f"CONNECT {HOST}:443 HTTP/1.1"]

    def test_a_stream_goes_through_it_too(
        self, plain: LiveServer, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        with FgdClient(f"http://{HOST}") as client:
            following = client.follow_log("nobody")
            with pytest.raises(Exception, match="no job"):
                next(following)
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_a_server_on_loopback_is_called_directly(
        self, plain: LiveServer, proxy: ForwardProxy, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        with FgdClient(f"http://{host}:{plain.port}") as client:
            assert list(client.jobs()) == []
        assert proxy.requests == []

    def test_one_that_is_away_is_named_without_its_password(self, fgd: Fgd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://ana:hunter2@127.0.0.1:9")
        said = fgd("jobs", "--server", f"http://{HOST}")
        assert said.exit_code == 3
        assert "proxy http://127.0.0.1:9" in said.err and f"add {HOST} to NO_PROXY" in said.err
        assert "hunter2" not in said.err

    @pytest.mark.parametrize("url", ["ftp://proxy", "socks5://127.0.0.1:1080", "http://a:b"])
    def test_one_that_cannot_be_used_is_refused_with_the_cure(
        self, url: str, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALL_PROXY", url)
        said = fgd("jobs", "--server", f"http://{HOST}")
        assert said.exit_code == 2
        assert url in said.err and "NO_PROXY" in said.err


class TestCertificates:
    def test_those_of_ssl_cert_file_are_trusted_also_on_loopback(
        self, secure: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
        with FgdClient(secure.url) as client:
            assert list(client.jobs()) == []

    def test_one_that_is_not_trusted_is_called_that(self, secure: LiveServer, fgd: Fgd) -> None:
        said = fgd("jobs", "--server", secure.url)
        assert said.exit_code == 3
        assert "is not trusted" in said.err and "SSL_CERT_FILE" in said.err
        assert "fgd up" not in said.err

    def test_a_server_without_tls_is_called_that(self, plain: LiveServer) -> None:
        with (
            FgdClient(plain.url.replace("http:", "https:")) as client,
            pytest.raises(UnreachableError, match=r"does not answer with TLS.*http://"),
        ):
            list(client.jobs())

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_file_without_any_is_named(
        self, content: str | None, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        said = fgd("jobs", "--server", f"https://{HOST}")
        assert said.exit_code == 2
        assert f"SSL_CERT_FILE={path}" in said.err
