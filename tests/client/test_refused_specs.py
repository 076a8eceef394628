"""The message for a refused job: each reason once, with the line or the option that set the value."""

import io
from pathlib import Path

import pytest
import yaml

from fgd_core.errors import AdmissionError
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer
from tests.reports.recorded_jobs import STUDENT, train_spec


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(train_spec("student", STUDENT).model_dump(mode="json")))
    return path


def flat(text: str) -> str:
    return " ".join(text.split())


class TestReasons:
    def test_each_of_several_reasons_is_printed_once(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        ended = fgd("submit", spec_path, "--set", "resources={cpus: 99, gpus: 1}", "--server", server.url)
        assert ended.exit_code == 1
        assert "refused for these 2 reasons" in flat(ended.err)
        assert [ended.err.count(f"{field} (") for field in ("resources.cpus", "resources.gpus")] == [1, 1]
        assert flat(ended.err).count("the job needs 99 CPUs") == 1

    def test_a_single_reason_is_printed_once(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        ended = fgd("submit", spec_path, "--set", "resources.cpus=99", "--server", server.url)
        assert flat(ended.err).count("the job needs 99 CPUs") == 1

    def test_a_reason_that_equals_the_message_is_not_repeated(self, fgd: Fgd, server: LiveServer) -> None:
        ended = fgd("webhooks", "add", "http://127.0.0.1:1/hook", "--server", server.url)
        assert ended.exit_code == 1
        assert flat(ended.err).count("FGD_WEBHOOKS_ALLOW_PRIVATE") == 1

    def test_the_exception_has_each_reason_once(self, client: FgdClient) -> None:
        spec = train_spec("student", STUDENT)
        with pytest.raises(AdmissionError) as refusal:
            client.submit(spec.model_copy(update={"resources": spec.resources.model_copy(update={"cpus": 99})}))
        assert str(refusal.value).count("resources.cpus") == 1


class TestOrigin:
    """A refused value is shown with the option that set it, or with its line."""

    def test_a_wrong_name_is_attributed_to_the_option(self, fgd: Fgd, spec_path: Path) -> None:
        ended = fgd("submit", spec_path, "--name", "n" * 300)
        assert ended.exit_code == 2
        assert "--name" in ended.err
        assert "(line" not in ended.err

    @pytest.mark.parametrize(
        ("override", "field"),
        [
            ("seed=-1", "seed"),
            ("training={epochs: -1}", "training.epochs"),
            ("training.epoch=3", "training.epoch"),
            ("data={type: coco}", "data.train"),
        ],
    )
    def test_a_wrong_override_is_named(self, fgd: Fgd, spec_path: Path, override: str, field: str) -> None:
        ended = fgd("submit", spec_path, "--set", override)
        assert f"{field} (--set {override}):" in flat(ended.err)

    def test_a_partly_overridden_field_has_line_and_option(self, fgd: Fgd, spec_path: Path) -> None:
        ended = fgd("submit", spec_path, "--set", "data.type=shape")
        line = 1 + spec_path.read_text().splitlines().index("data:")
        assert f"data (line {line}, --set data.type=shape)" in flat(ended.err)

    def test_an_unknown_kind_of_job_has_its_line_or_its_option(self, fgd: Fgd, spec_path: Path) -> None:
        assert "(--set kind=trian)" in flat(fgd("submit", spec_path, "--set", "kind=trian").err)
        spec_path.write_text(spec_path.read_text().replace("\nkind: train", "\nkind: trian"))
        line = 1 + spec_path.read_text().splitlines().index("kind: trian")
        assert f"(line {line})" in flat(fgd("submit", spec_path).err)

    def test_standard_input_is_named(self, fgd: Fgd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("- a list"))
        assert "standard input has no job" in fgd("submit", "-").err

    def test_reasons_of_the_server_have_their_line_or_option(
        self, fgd: Fgd, server: LiveServer, spec_path: Path
    ) -> None:
        ended = fgd("submit", spec_path, "--set", "resources.cpus=99", "--server", server.url)
        assert "resources.cpus (--set resources.cpus=99):" in flat(ended.err)
        spec_path.write_text(spec_path.read_text().replace("cpus: 1", "cpus: 99"))
        line = 1 + spec_path.read_text().splitlines().index("  cpus: 99")
        ended = fgd("submit", spec_path, "--server", server.url)
        assert f"resources.cpus (line {line}):" in flat(ended.err)

    def test_other_faults_keep_their_line(self, fgd: Fgd, spec_path: Path) -> None:
        spec_path.write_text(spec_path.read_text().replace("\nseed: 0", "\nseed: -1"))
        line = 1 + spec_path.read_text().splitlines().index("seed: -1")
        ended = fgd("submit", spec_path, "--name", "n" * 300)
        assert f"seed (line {line})" in flat(ended.err)
        assert ended.err.count("(line") == 1
