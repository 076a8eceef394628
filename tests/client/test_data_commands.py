"""`fgd data` against a real server; a test plays the runs."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fgd_core.spec.events import DataChecked, DataSetChecked, Finding, RunFinished
from fgd_core.spec.profiles import Bin, SplitProfile
from fgd_core.spec.results import ErrorReport
from service.client.client import FgdClient
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer, Run, eventually

MISSING = Finding(
    problem="missing_image", action="refused", count=7, examples=["gone.png"], meaning="there is no such file"
)


def outcome(*findings: Finding) -> DataSetChecked:
    splits, profiles = [], []
    for split in ("train", "val"):
        splits.append(
            DataChecked.model_validate(
                {"split": split, "num_images": 1234, "num_images_without_boxes": 1, "num_boxes": 50, "num_crowd": 2}
                | {"boxes_per_category": {"cell": 50, "[ghost]": 0}, "findings": findings, "fingerprint": "a" * 64}
            )
        )
        profiles.append(
            SplitProfile.model_validate(
                {"split": split, "num_small": 11, "num_medium": 22, "num_large": 17, "num_sizes": 3}
                | {"images_per_category": {}, "objects_per_image": [Bin(first=0, last=None, count=9)]}
                | {"longer_sides_px": [], "common_sizes": []}
            )
        )
    return DataSetChecked(splits=splits, profiles=profiles)


@pytest.fixture
def added(server: LiveServer, fgd: Fgd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Add a data set with this name, and return its id."""
    monkeypatch.chdir(tmp_path)

    def add(name: str = "blood", *options: object) -> str:
        ended = fgd("data", "add", name, *(options or ("--voc", "VOC2007")), "--server", server.url, "--json")
        assert ended.exit_code == 0, ended.out
        dataset_id: str = ended.json["dataset_id"]
        return dataset_id

    return add


def play(server: LiveServer, client: FgdClient, act: Callable[[Run], None]) -> threading.Thread:
    """Play the run of the next check, in a thread."""

    def run() -> None:
        eventually(lambda: any(job.kind == "check_data" and job.state == "starting" for job in client.jobs()))
        (job,) = [job for job in client.jobs() if job.state == "starting"]
        process = server.run_of(job.job_id)
        process.start()
        act(process)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def finds(*findings: Finding) -> Callable[[Run], None]:
    error = ErrorReport(code="data", message="it cannot be used as it is: missing_image")
    end = RunFinished(outcome="failed", error=error) if findings else RunFinished(outcome="succeeded")
    return lambda run: run.report(outcome(*findings), end)


class TestAdd:
    @pytest.mark.parametrize(
        ("options", "data"),
        [
            (
                ("--voc", "VOC", "--train", "trainval", "--set", "difficult=keep"),
                {"folder": "VOC", "train": "trainval"},
            ),
            (("--yolo", "a/data.yaml", "--set", "root=."), {"data_yaml": "a/data.yaml", "root": "."}),
            (("--coco", "t", "t.json", "v", "v.json"), {"train": {"images": "t", "annotations": "t.json"}}),
        ],
    )
    def test_paths_become_absolute(
        self,
        added: Callable[..., str],
        client: FgdClient,
        tmp_path: Path,
        options: tuple[str, ...],
        data: dict[str, object],
    ) -> None:
        added("blood", *options)
        stored = client.datasets.get("blood").data.model_dump(mode="json")
        for field, value in data.items():
            if isinstance(value, dict):
                assert stored[field] == {key: str(tmp_path / place) for key, place in value.items()}
            else:
                assert stored[field] == (value if field == "train" else str(tmp_path / str(value)))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ((), "one of --coco, --voc and --yolo"),
            (("--voc", "a", "--yolo", "b"), "one of --coco, --voc and --yolo"),
            (("--voc", "a", "--set", "colour=red"), "colour"),
            (("--voc", "a", "--set", "colour"), "has no value"),
        ],
    )
    def test_wrong_settings_are_refused_without_a_request(
        self, server: LiveServer, fgd: Fgd, options: tuple[str, ...], message: str
    ) -> None:
        ended = fgd("data", "add", "blood", *options, "--server", server.url)
        assert (ended.exit_code, message in ended.err) == (2, True)

    def test_a_used_name_is_refused_by_the_server(
        self, added: Callable[..., str], server: LiveServer, fgd: Fgd
    ) -> None:
        added()
        ended = fgd("data", "add", "blood", "--voc", "x", "--server", server.url)
        assert (ended.exit_code, "already" in ended.err) == (1, True)


class TestCheck:
    def test_a_good_data_set_gives_counts_and_exit_code_0(
        self, added: Callable[..., str], server: LiveServer, client: FgdClient, fgd: Fgd
    ) -> None:
        added()
        player = play(server, client, finds())
        ended = fgd("data", "check", "blood", "--server", server.url)
        player.join()
        assert ended.exit_code == 0, ended.err
        for word in ("1234", "[ghost]", "22", "blood is checked"):
            assert word in ended.out

    def test_a_bad_data_set_gives_findings_and_exit_code_1(
        self, added: Callable[..., str], server: LiveServer, client: FgdClient, fgd: Fgd
    ) -> None:
        added()
        player = play(server, client, finds(MISSING))
        ended = fgd("data", "check", "blood", "--server", server.url)
        player.join()
        assert ended.exit_code == 1
        for word in ("missing image", "gone.png …", "refused", "missing image: there is no such file"):
            assert word in ended.out
        assert "cannot be used as it is" in ended.err
        assert ended.out.index("missing image") < ended.out.index("without boxes")

    def test_json_is_one_document(
        self, added: Callable[..., str], server: LiveServer, client: FgdClient, fgd: Fgd
    ) -> None:
        added()
        player = play(server, client, finds())
        ended = fgd("data", "check", "blood", "--server", server.url, "--json")
        player.join()
        assert (ended.exit_code, ended.json["state"]) == (0, "checked")

    def test_no_wait_returns_at_once(self, added: Callable[..., str], server: LiveServer, fgd: Fgd) -> None:
        added()
        ended = fgd("data", "check", "blood", "--no-wait", "--server", server.url, "--json")
        assert (ended.exit_code, ended.json["kind"]) == (0, "check_data")

    def test_add_can_check_at_once(self, server: LiveServer, client: FgdClient, fgd: Fgd) -> None:
        player = play(server, client, finds())
        ended = fgd("data", "add", "blood", "--voc", "x", "--check", "--server", server.url)
        player.join()
        assert (ended.exit_code, "blood is checked" in ended.out) == (0, True)


class TestListAndShow:
    def test_the_list_can_be_filtered_by_name(self, added: Callable[..., str], server: LiveServer, fgd: Fgd) -> None:
        assert "fgd data add" in fgd("data", "list", "--server", server.url).out
        added("blood")
        added("hats", "--yolo", "data.yaml")
        assert [row["name"] for row in fgd("data", "list", "--server", server.url, "--json").json] == ["hats", "blood"]
        shown = fgd("data", "list", "--text", "hat", "--server", server.url).out
        assert ("hats" in shown, "unchecked" in shown, "blood" in shown) == (True, True, False)

    def test_one_data_set_is_shown_with_its_page(
        self, added: Callable[..., str], server: LiveServer, client: FgdClient, fgd: Fgd, tmp_path: Path
    ) -> None:
        dataset_id = added()
        player = play(server, client, finds())
        fgd("data", "check", "blood", "--server", server.url)
        player.join()
        ended = fgd("data", "show", "blood", "--html", tmp_path / "blood.html", "--server", server.url)
        assert (ended.exit_code, dataset_id in ended.out, str(tmp_path / "VOC2007") in ended.out) == (0, True, True)
        assert "a" * 64 in ended.out
        assert "<h1>blood</h1>" in (tmp_path / "blood.html").read_text()
        assert json.loads(fgd("data", "show", "blood", "--server", server.url, "--json").out)["state"] == "checked"

    def test_an_unknown_name_is_refused(self, server: LiveServer, fgd: Fgd) -> None:
        ended = fgd("data", "show", "nothing", "--server", server.url)
        assert (ended.exit_code, "no data set 'nothing'" in ended.err) == (1, True)


def test_a_removed_data_set_is_not_listed(added: Callable[..., str], server: LiveServer, fgd: Fgd) -> None:
    added()
    assert fgd("data", "remove", "blood", "--server", server.url).exit_code == 0
    assert fgd("data", "list", "--server", server.url, "--json").json == []
