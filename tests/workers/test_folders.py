"""Attempts at one job write into folders of their own."""

from pathlib import Path

from workers.files.folders import attempt_folder


def save(folder: Path, name: str, content: str) -> None:
    """As a run does: a new file, moved into place."""
    partial = folder / "checkpoints" / f".{name}.partial"
    partial.write_text(content)
    partial.replace(folder / "checkpoints" / name)


def read(folder: Path, name: str) -> str:
    return (folder / "checkpoints" / name).read_text()


class TestAttemptFolder:
    def test_an_attempt_goes_on_from_the_checkpoints_of_the_one_before(self, tmp_path: Path) -> None:
        first = attempt_folder(tmp_path, 1)
        save(first, "last.pt", "step 5")
        attempt_folder(tmp_path, 2)  # died before it had saved anything of its own
        third = attempt_folder(tmp_path, 3)
        assert read(third, "last.pt") == "step 5"

    def test_an_attempt_that_was_replaced_and_lives_on_reaches_none_of_its_files(self, tmp_path: Path) -> None:
        stale = attempt_folder(tmp_path, 1)
        save(stale, "last.pt", "step 5")
        current = attempt_folder(tmp_path, 2)
        save(stale, "last.pt", "step 6, by a ghost")
        assert read(current, "last.pt") == "step 5"
        save(current, "last.pt", "step 9")
        assert (read(current, "last.pt"), read(stale, "last.pt")) == ("step 9", "step 6, by a ghost")

    def test_a_restart_of_the_same_attempt_keeps_what_it_had(self, tmp_path: Path) -> None:
        save(attempt_folder(tmp_path, 1), "last.pt", "old")
        save(attempt_folder(tmp_path, 2), "last.pt", "new")
        assert read(attempt_folder(tmp_path, 2), "last.pt") == "new"

    def test_a_hand_over_that_was_cut_short_is_done_anew(self, tmp_path: Path) -> None:
        save(attempt_folder(tmp_path, 1), "last.pt", "step 5")
        torn = tmp_path / "attempts/2/.checkpoints.incoming"
        torn.mkdir(parents=True)
        (torn / "best.pt").write_text("half")
        second = attempt_folder(tmp_path, 2)
        assert [path.name for path in sorted((second / "checkpoints").iterdir())] == ["last.pt"]
