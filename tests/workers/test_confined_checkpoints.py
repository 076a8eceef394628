"""Of other jobs, a run can read only the checkpoints to which its spec refers."""

from pathlib import Path

import pytest

from fgd_core import confined
from fgd_core.spec.readable import environment
from workers.files.shared_workspace import SharedWorkspace


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "jobs"
    for job_id in ("a1", "b2"):
        checkpoints = folder / job_id / "attempts/1/checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / "best.pt").write_text(job_id)
    for name, value in environment((tmp_path,), folder).items():
        monkeypatch.setenv(name, value)
    return folder


def test_a_reference_allows_only_the_job_that_it_names(jobs: Path, tmp_path: Path) -> None:
    files = {job_id: jobs / job_id / "attempts/1/checkpoints/best.pt" for job_id in ("a1", "b2")}
    with pytest.raises(confined.OutsideError):
        confined.read_bytes(files["a1"])
    workspace = SharedWorkspace(tmp_path / "own", {"job:a1/best": files["a1"].as_uri()})
    assert confined.read_bytes(workspace.checkpoint("job:a1/best")) == b"a1"
    with pytest.raises(confined.OutsideError):
        confined.read_bytes(files["b2"])


def test_a_checkpoint_that_links_to_another_job_is_refused(jobs: Path, tmp_path: Path) -> None:
    mine, other = (jobs / job_id / "attempts/1/checkpoints/best.pt" for job_id in ("a1", "b2"))
    workspace = SharedWorkspace(tmp_path / "own", {"job:a1/best": mine.as_uri()})
    mine.unlink()
    mine.symlink_to(other)
    with pytest.raises(confined.OutsideError):
        confined.read_bytes(workspace.checkpoint("job:a1/best"))
