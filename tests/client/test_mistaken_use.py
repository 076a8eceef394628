"""Wrong usage of each command: the error names the thing, the value and the cure."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, train_spec


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def job_id(client: FgdClient) -> str:
    return client.submit(train_spec("student", STUDENT)).job_id


class TestValues:
    @pytest.mark.parametrize(
        ("command", "message"),
        [
            (("priority", "a", "1000"), "'N': Input should be less than or equal to 100, not '1000'"),
            (("up", "--port", "99999"), "'--port': Input should be less than or equal to 65535, not '99999'"),
            (("jobs", "--since", "yesterday"), ", not 'yesterday'"),
            (("sweep", "stop", "a", "x"), "'TRIAL': Input should be a valid integer"),
        ],
    )
    def test_a_wrong_value_of_an_option_is_shown(self, command: tuple[str, ...], message: str, fgd: Fgd) -> None:
        ended = fgd(*command)
        assert ended.exit_code == 2
        assert message in flat(ended.err)

    def test_an_unknown_kind_of_job_gets_a_suggestion(self, fgd: Fgd, server: LiveServer) -> None:
        ended = fgd("jobs", "--kind", "trian", "--server", server.url)
        assert (ended.exit_code, "did you mean 'train'?" in ended.err) == (2, True)

    def test_a_malformed_data_set_name_is_shown_with_the_rule(self, fgd: Fgd) -> None:
        ended = fgd("data", "add", "x y/z", "--voc", "voc")
        assert ended.exit_code == 2
        assert "'x y/z'" in ended.err and "letters, digits" in flat(ended.err)

    def test_an_unknown_host_is_named(self, fgd: Fgd, tmp_path: Path) -> None:
        ended = fgd("up", "--home", tmp_path, "--host", "fgd.invalid")
        assert ended.exit_code == 2
        assert "fgd.invalid" in ended.err and "--host" in ended.err and "--port" not in ended.err

    def test_a_negative_priority_is_not_an_option(self, fgd: Fgd, server: LiveServer, job_id: str) -> None:
        ended = fgd("priority", job_id, "-10", "--server", server.url, "--json")
        assert ended.json[0]["priority"] == -10


class TestMissingThings:
    @pytest.mark.parametrize(
        ("command", "cure"),
        [
            (("show", "zzz"), "fgd jobs"),
            (("data", "show", "zzz"), "fgd data list"),
            (("tokens", "revoke", "zzz"), "fgd tokens"),
            (("webhooks", "remove", "zzz"), "fgd webhooks"),
            (("recipes", "show", "zzz"), "known are"),
        ],
    )
    def test_each_is_named_once_with_the_command_that_lists_the_existing_ones(
        self, command: tuple[str, ...], cure: str, fgd: Fgd, server: LiveServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FGD_SERVER", server.url)
        ended = fgd(*command)
        assert ended.exit_code == 1
        assert ended.err.count("zzz") == 1
        assert cure in flat(ended.err)

    @pytest.mark.parametrize("command", ["backup", "restore"])
    def test_an_unreadable_file_is_named_without_an_empty_line(
        self, command: str, fgd: Fgd, server: LiveServer, tmp_path: Path
    ) -> None:
        home = server.settings.home if command == "backup" else tmp_path / "new"
        ended = fgd(command, tmp_path / "nowhere" / "x.tar", "--home", home)
        assert ended.exit_code == 1
        assert (ended.err + ended.out).startswith("error cannot")
        assert ended.err.count("x.tar") == 1


class _OldServer(BaseHTTPRequestHandler):
    """A server of an earlier version, with fewer fields and fewer paths."""

    def do_GET(self) -> None:
        if self.path.startswith("/v1/jobs"):
            self._answer(200, "application/json", {"items": [{"job_id": "a1", "name": "old"}], "next_cursor": None})
        else:
            detail = f"there is nothing at {self.path}; /openapi.json lists all paths"
            problem = {"type": "urn:x", "title": "Not Found", "status": 404, "detail": detail, "code": "not_found"}
            self._answer(404, "application/problem+json", problem)

    def _answer(self, status: int, media_type: str, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def old_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _OldServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class TestOldServer:
    @pytest.mark.parametrize(
        ("command", "what"), [("jobs", "items.0.kind"), ("queue", "has no /v1/queue"), ("whoami", "has no /v1/whoami")]
    )
    def test_the_error_says_that_the_version_differs(self, command: str, what: str, fgd: Fgd, old_server: str) -> None:
        ended = fgd(command, "--server", old_server)
        assert ended.exit_code == 1
        assert what in flat(ended.err) and "another version" in flat(ended.err) and old_server in ended.err
