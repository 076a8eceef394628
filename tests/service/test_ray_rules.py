"""Which paths of Ray's dashboard readers may request; and that no claim code passes, however it is cut into chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgd_core.errors import SpecError
from service.ray_proxy import rules
from service.ray_proxy.paths import Paths
from service.ray_proxy.redaction import Redaction
from service.store.tokens import TokenMint

CODE = TokenMint(b"secret").claim("job1-1").encode()

# All of what the pages of Ray 2.60 ask for by themselves, without a click on a button that does something.
ASKED_BY_PAGES = [
    *("/", "/favicon.ico", "/static/js/main.84605326.js", "/timezone", "/api/version"),
    *("/api/jobs/", "/api/jobs/fgd-a-1", "/api/jobs/fgd-a-1/logs", "/nodes", "/nodes/0af3", "/events"),
    *("/logical/actors", "/logical/actors/0af3", "/api/cluster_status", "/api/profiling_enabled"),
    *("/api/grafana_health", "/api/prometheus_health", "/api/v0/nodes", "/api/v0/tasks", "/api/v0/placement_groups"),
    *("/api/v0/cluster_metadata", "/api/v0/runtime_env_redaction", "/api/v0/logs", "/api/v0/logs/file"),
    *("/api/v0/tasks/timeline", "/api/v0/platform_events", "/api/v0/tasks/summarize"),
]
ACTS_OR_COSTS = [
    *("/worker/traceback", "/worker/cpu_profile", "/worker/gpu_profile", "/worker/jax_profile", "/memory_profile"),
    *("/task/traceback", "/task/cpu_profile", "/test/dump", "/api/v0/delay/30", "/api/packages/gcs/x.zip"),
    *("/api/component_activities", "/api/data/datasets/01", "/api/train/v2/runs", "/api/serve/applications/"),
    *("/api/prometheus/sd", "/api/jobs/a/logs/tail", "/api/job_agent/jobs/a/logs", "/api/task_events", "/of/tomorrow"),
]


class TestReaders:
    @pytest.mark.parametrize("path", ASKED_BY_PAGES)
    def test_readers_get_what_the_pages_need(self, path: str) -> None:
        assert rules.is_for_readers("GET", path)
        assert rules.is_for_readers("HEAD", path)

    @pytest.mark.parametrize("path", ASKED_BY_PAGES)
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"])
    def test_readers_cannot_change_anything(self, method: str, path: str) -> None:
        assert not rules.is_for_readers(method, path)

    @pytest.mark.parametrize("path", ACTS_OR_COSTS)
    def test_readers_cannot_use_paths_that_act_or_are_expensive(self, path: str) -> None:
        assert not rules.is_for_readers("GET", path)

    @pytest.mark.parametrize("path", ["/api/jobs", "/static/", "/api/v0/logs/", "/api/v0/logs/file/x", "/nodes/a/b"])
    def test_similar_paths_are_refused(self, path: str) -> None:
        assert not rules.is_for_readers("GET", path)


class TestPath:
    @pytest.mark.parametrize(
        ("sent", "path"),
        [
            (b"/ray/", "/"),
            (b"/ray/api/jobs/", "/api/jobs/"),
            (b"/ray/api/v0/%64elay/30", "/api/v0/delay/30"),
            (b"/%72ay/worker%2Dx", "/worker-x"),
            (b"/ray/api/jobs/a%20b%C3%BC", "/api/jobs/a bü"),
            (b"/ray/static/js/main.1.js", "/static/js/main.1.js"),
        ],
    )
    def test_a_path_is_decoded_once(self, sent: bytes, path: str) -> None:
        assert rules.plain_path(sent) == path

    @pytest.mark.parametrize(
        "sent",
        [
            *(b"/ray//worker/traceback", b"/ray/static//x", b"/ray/api/jobs//"),
            *(b"/ray/static/../test/dump", b"/ray/..", b"/ray/.", b"/ray/static/%2e%2e/test/dump", b"/ray/%2e/x"),
            *(b"/ray/static%2f..%2ftest", b"/ray/test%2Fdump", b"/ray/test%5cdump", b"/ray/test\\dump"),
            *(b"/ray/static/%252e%252e/test", b"/ray/a%25", b"/ray/a%0a", b"/ray/a%00", b"/ray/%ff", b"/ray"),
        ],
    )
    def test_an_ambiguous_path_is_refused(self, sent: bytes) -> None:
        with pytest.raises(SpecError, match="plain form"):
            rules.plain_path(sent)


class TestRedaction:
    @given(
        parts=st.lists(st.sampled_from([CODE, b"fgdc_", b"f", b"fgd", b" ", b'"', b"\xff\x00", b"word", b"-_"])),
        cuts=st.lists(st.integers(1, 60), min_size=1),
    )
    def test_a_code_is_redacted_wherever_chunks_are_cut(self, parts: list[bytes], cuts: list[int]) -> None:
        text = b"".join(parts)
        redact, passed, at, turn = Redaction(), b"", 0, 0
        while at < len(text):
            passed += redact(text[at : at + cuts[turn % len(cuts)]])
            at, turn = at + cuts[turn % len(cuts)], turn + 1
        passed += redact.rest()
        whole = Redaction()
        assert passed == whole(text) + whole.rest()
        assert CODE[5:13] not in passed
        assert CODE[-8:] not in passed
        assert (passed == text) == (CODE not in text and b"fgdc_[redacted]" not in passed)

    def test_other_text_is_unchanged(self) -> None:
        redact = Redaction()
        assert redact(b'{"env": "' + CODE + b'", "x": 1}') == b'{"env": "fgdc_[redacted]", "x": 1}'
        assert redact.rest() == b""

    def test_a_truncated_code_is_redacted(self) -> None:
        redact = Redaction()
        assert redact(CODE[:20] + b"...") == b"fgdc_[redacted]..."

    def test_a_followed_log_is_not_delayed(self) -> None:
        redact = Redaction()
        assert redact(b"epoch 1\n") == b"epoch 1\n"
        assert redact(b"half of a line that ends in f") == b"half of a line that ends in "
        assert redact(b"our\n") == b"four\n"


class TestNext:
    PATHS = Paths("")

    @pytest.mark.parametrize(
        "asked", ["/ray/", "/ray/#/jobs/fgd-a-1", "/ray/?a=b#/logs?nodeId=1", "/ray/api/jobs/", "/ray/#/jobs/%C3%BC"]
    )
    def test_a_page_of_the_dashboard_is_allowed(self, asked: str) -> None:
        assert self.PATHS.safe_next(asked) == asked

    @pytest.mark.parametrize(
        "asked",
        [
            *("", "https://evil.example/ray/", "//evil.example/ray/", "/\\evil.example", "/v1/jobs", "ray/", "/rayx"),
            *("/ray/../v1/jobs", "/ray/x\r\nSet-Cookie: a=b", "/ray/\\evil", "javascript:alert(1)", "/ray/sign-out"),
        ],
    )
    def test_everything_else_becomes_the_dashboard(self, asked: str) -> None:
        assert self.PATHS.safe_next(asked) == "/ray/"

    def test_an_external_path_is_kept(self) -> None:
        assert Paths("/fgd").safe_next("/ray/#/jobs") == "/fgd/ray/"
        assert Paths("/fgd").safe_next("/fgd/ray/#/jobs") == "/fgd/ray/#/jobs"
