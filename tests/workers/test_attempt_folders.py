"""Each attempt of a job writes into its own folder."""

from pathlib import Path

from workers.files.folders import attempt_folder


def save(folder: Path, name: str, content: str) -> None:
    """Save as a run does: write a new file and move it into place."""
    partial = folder / "checkpoints" / f".{name}.partial"
    partial.write_text(content)
    partial.replace(folder / "checkpoints" / name)


def read(folder: Path, name: str) -> str:
    return (folder / "checkpoints" / name).read_text()


class TestAttemptFolder:
    def test_an_attempt_continues_from_the_checkpoints_of_the_attempt_before(self, tmp_path: Path) -> None:
        first = attempt_folder(tmp_path, 1)
        save(first, "last.pt", "step 5")
        attempt_folder(tmp_path, 2)  # it died before it saved a checkpoint
        third = attempt_folder(tmp_path, 3)
        assert read(third, "last.pt") == "step 5"

    def test_a_stale_attempt_cannot_change_the_files_of_the_new_one(self, tmp_path: Path) -> None:
        stale = attempt_folder(tmp_path, 1)
        save(stale, "last.pt", "step 5")
        current = attempt_folder(tmp_path, 2)
        save(stale, "last.pt", "step 6, stale")
        assert read(current, "last.pt") == "step 5"
        save(current, "last.pt", "step 9")
        assert (read(current, "last.pt"), read(stale, "last.pt")) == ("step 9", "step 6, stale")

    def test_a_restarted_attempt_keeps_its_checkpoints(self, tmp_path: Path) -> None:
        save(attempt_folder(tmp_path, 1), "last.pt", "old")
        save(attempt_folder(tmp_path, 2), "last.pt", "new")
        assert read(attempt_folder(tmp_path, 2), "last.pt") == "new"

    def test_an_attempt_of_a_chain_continues_from_the_newest_checkpoints_of_each_stage(self, tmp_path: Path) -> None:
        first, second = attempt_folder(tmp_path, 1), attempt_folder(tmp_path, 2)
        for folder, stage, content in ((first, "1", "done"), (first, "2", "step 5"), (second, "2", "step 9")):
            (folder / "stages" / stage / "checkpoints").mkdir(parents=True)
            save(folder / "stages" / stage, "last.pt", content)
        save(first, "chain.json", "stage 1 is done")
        third = attempt_folder(tmp_path, 3)
        assert read(third, "chain.json") == "stage 1 is done"
        assert [read(third / "stages" / stage, "last.pt") for stage in ("1", "2")] == ["done", "step 9"]

    def test_an_interrupted_linking_of_checkpoints_is_repeated(self, tmp_path: Path) -> None:
        save(attempt_folder(tmp_path, 1), "last.pt", "step 5")
        partial = tmp_path / "attempts/2/.checkpoints.incoming"
        partial.mkdir(parents=True)
        (partial / "best.pt").write_text("half")
        second = attempt_folder(tmp_path, 2)
        assert [path.name for path in sorted((second / "checkpoints").iterdir())] == ["last.pt"]
