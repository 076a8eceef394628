"""What a person reads when a job is refused: each reason once, each value where it was written."""

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
    def test_of_several_each_is_printed_once(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        said = fgd("submit", spec_path, "--set", "resources={cpus: 99, gpus: 1}", "--server", server.url)
        assert said.exit_code == 1
        assert "refused for these 2 reasons" in flat(said.err)
        assert [said.err.count(f"{field} (") for field in ("resources.cpus", "resources.gpus")] == [1, 1]
        assert flat(said.err).count("the job asks for 99 CPUs") == 1

    def test_a_single_one_is_printed_once(self, fgd: Fgd, server: LiveServer, spec_path: Path) -> None:
        said = fgd("submit", spec_path, "--set", "resources.cpus=99", "--server", server.url)
        assert flat(said.err).count("the job asks for 99 CPUs") == 1

    def test_one_that_is_the_message_is_not_repeated(self, fgd: Fgd, server: LiveServer) -> None:
        said = fgd("webhooks", "add", "http://127.0.0.1:1/hook", "--server", server.url)
        assert said.exit_code == 1
        assert flat(said.err).count("FGD_WEBHOOKS_ALLOW_PRIVATE") == 1

    def test_from_python_each_stands_once_in_the_error(self, client: FgdClient) -> None:
        spec = train_spec("student", STUDENT)
        with pytest.raises(AdmissionError) as refusal:
            client.submit(spec.model_copy(update={"resources": spec.resources.model_copy(update={"cpus": 99})}))
        assert str(refusal.value).count("resources.cpus") == 1


class TestOrigin:
    """Of a refused value: the option that set it, else its line."""

    def test_a_bad_name_is_the_options_and_not_the_files(self, fgd: Fgd, spec_path: Path) -> None:
        said = fgd("submit", spec_path, "--name", "n" * 300)
        assert said.exit_code == 2
        assert "--name" in said.err
        assert "(line" not in said.err

    @pytest.mark.parametrize(
        ("override", "field"),
        [
            ("seed=-1", "seed"),
            ("training={epochs: -1}", "training.epochs"),
            ("training.epoch=3", "training.epoch"),
            ("data={type: coco}", "data.train"),
        ],
    )
    def test_a_bad_override_is_named(self, fgd: Fgd, spec_path: Path, override: str, field: str) -> None:
        said = fgd("submit", spec_path, "--set", override)
        assert f"{field} (--set {override}):" in flat(said.err)

    def test_a_fault_of_a_field_that_an_option_changed_in_part_has_line_and_option(
        self, fgd: Fgd, spec_path: Path
    ) -> None:
        said = fgd("submit", spec_path, "--set", "data.type=shape")
        line = 1 + spec_path.read_text().splitlines().index("data:")
        assert f"data (line {line}, --set data.type=shape)" in flat(said.err)

    def test_an_unknown_kind_of_job_has_its_line_or_its_option(self, fgd: Fgd, spec_path: Path) -> None:
        assert "(--set kind=trian)" in flat(fgd("submit", spec_path, "--set", "kind=trian").err)
        spec_path.write_text(spec_path.read_text().replace("\nkind: train", "\nkind: trian"))
        line = 1 + spec_path.read_text().splitlines().index("kind: trian")
        assert f"(line {line})" in flat(fgd("submit", spec_path).err)

    def test_standard_input_is_called_that(self, fgd: Fgd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("- a list"))
        assert "standard input has no job" in fgd("submit", "-").err

    def test_a_servers_reasons_have_their_line_or_option_too(
        self, fgd: Fgd, server: LiveServer, spec_path: Path
    ) -> None:
        said = fgd("submit", spec_path, "--set", "resources.cpus=99", "--server", server.url)
        assert "resources.cpus (--set resources.cpus=99):" in flat(said.err)
        spec_path.write_text(spec_path.read_text().replace("cpus: 1", "cpus: 99"))
        line = 1 + spec_path.read_text().splitlines().index("  cpus: 99")
        said = fgd("submit", spec_path, "--server", server.url)
        assert f"resources.cpus (line {line}):" in flat(said.err)

    def test_other_faults_keep_their_line(self, fgd: Fgd, spec_path: Path) -> None:
        spec_path.write_text(spec_path.read_text().replace("\nseed: 0", "\nseed: -1"))
        line = 1 + spec_path.read_text().splitlines().index("seed: -1")
        said = fgd("submit", spec_path, "--name", "n" * 300)
        assert f"seed (line {line})" in flat(said.err)
        assert said.err.count("(line") == 1
