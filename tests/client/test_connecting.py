"""Which server a client connects to, and how: FGD_SERVER, proxies, certificates."""

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
    """A server that accepts requests for a public host name."""
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


class TestServerUrl:
    def test_the_environment_names_the_server(self, plain: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_SERVER", f"{plain.url}/")
        with FgdClient() as client:
            assert client.base_url == plain.url
            assert list(client.jobs()) == []

    @pytest.mark.parametrize("empty", ["", " "])
    def test_an_empty_variable_is_ignored(self, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_SERVER", empty)
        assert FgdClient().base_url == "http://127.0.0.1:8321"

    def test_an_argument_overrides_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FGD_SERVER", "http://elsewhere:1")
        assert FgdClient("http://127.0.0.1:9").base_url == "http://127.0.0.1:9"

    @pytest.mark.parametrize(
        "url",
        ["fgd.example.org", "fgd.example.org:8321", "ftp://fgd", "http://", "http://a:b", "http://a:99999", "//a"],
    )
    def test_a_malformed_url_is_refused_with_the_cure(
        self, url: str, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = fgd("jobs", "--server", url)
        assert ended.exit_code == 2
        assert url in ended.err and "https://fgd.example.org" in ended.err
        monkeypatch.setenv("FGD_SERVER", url)
        with pytest.raises(UsageError, match="FGD_SERVER"):
            FgdClient()


class TestProxies:
    def test_a_remote_server_is_reached_through_the_proxy(
        self, plain: LiveServer, proxy: ForwardProxy, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        ended = fgd("jobs", "--server", f"http://{HOST}")
        assert ended.exit_code == 0, ended.err
        assert proxy.requests == [f"GET http://{HOST}/v1/jobs?sort=-created&limit=100 HTTP/1.1"]

    def test_a_server_with_tls_is_reached_through_a_tunnel(
        self, secure: LiveServer, proxy: ForwardProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
        with FgdClient(f"https://{HOST}") as client:
            assert list(client.jobs()) == []
        assert proxy.requests == [f"CONNECT {HOST}:443 HTTP/1.1"]

    def test_a_stream_goes_through_the_proxy(
        self, plain: LiveServer, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        with FgdClient(f"http://{HOST}") as client:
            following = client.follow_log("nobody")
            with pytest.raises(Exception, match="no job"):
                next(following)
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_a_server_on_loopback_is_reached_directly(
        self, plain: LiveServer, proxy: ForwardProxy, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        with FgdClient(f"http://{host}:{plain.port}") as client:
            assert list(client.jobs()) == []
        assert proxy.requests == []

    def test_an_unreachable_proxy_is_named_without_its_password(
        self, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://ana:hunter2@127.0.0.1:9")
        ended = fgd("jobs", "--server", f"http://{HOST}")
        assert ended.exit_code == 3
        assert "proxy http://127.0.0.1:9" in ended.err and f"add {HOST} to NO_PROXY" in ended.err
        assert "hunter2" not in ended.err

    @pytest.mark.parametrize("url", ["ftp://proxy", "socks5://127.0.0.1:1080", "http://a:b"])
    def test_an_unusable_proxy_is_refused_with_the_cure(
        self, url: str, fgd: Fgd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALL_PROXY", url)
        ended = fgd("jobs", "--server", f"http://{HOST}")
        assert ended.exit_code == 2
        assert url in ended.err and "NO_PROXY" in ended.err


class TestCertificates:
    def test_certificates_in_ssl_cert_file_are_trusted_on_loopback(
        self, secure: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
        with FgdClient(secure.url) as client:
            assert list(client.jobs()) == []

    def test_an_untrusted_certificate_is_named(self, secure: LiveServer, fgd: Fgd) -> None:
        ended = fgd("jobs", "--server", secure.url)
        assert ended.exit_code == 3
        assert "is not trusted" in ended.err and "SSL_CERT_FILE" in ended.err
        assert "fgd up" not in ended.err

    def test_a_server_without_tls_is_named(self, plain: LiveServer) -> None:
        with (
            FgdClient(plain.url.replace("http:", "https:")) as client,
            pytest.raises(UnreachableError, match=r"does not answer with TLS.*http://"),
        ):
            list(client.jobs())

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_file_without_certificates_is_named(
        self, content: str | None, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        ended = fgd("jobs", "--server", f"https://{HOST}")
        assert ended.exit_code == 2
        assert f"SSL_CERT_FILE={path}" in ended.err
