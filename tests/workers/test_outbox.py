import errno
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from workers.reporting import outbox as outbox_module
from workers.reporting.outbox import Outbox
from workers.reporting.spool import Spool

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def fill(outbox: Outbox, count: int) -> None:
    for number in range(count):
        outbox.append(NOON, json.dumps({"kind": "progress", "step": number}))


def sequences(lines: list[str]) -> list[int]:
    return [json.loads(line)["sequence"] for line in lines]


class TestOutbox:
    def test_events_stay_in_order_and_are_numbered_from_1(self, tmp_path: Path) -> None:
        outbox = Outbox(tmp_path / "a.jsonl")
        fill(outbox, 3)
        assert sequences(outbox.unsent(10)) == [1, 2, 3]
        assert [json.loads(line)["event"]["step"] for line in outbox.unsent(10)] == [0, 1, 2]

    def test_acknowledged_events_are_removed(self, tmp_path: Path) -> None:
        outbox = Outbox(tmp_path / "a.jsonl")
        fill(outbox, 5)
        assert outbox.acknowledge(2)
        assert not outbox.acknowledge(2)
        assert sequences(outbox.unsent(2)) == [3, 4]
        assert outbox.num_waiting == 3

    def test_a_batch_has_a_size_limit_and_at_least_one_event(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox_module, "MAX_BATCH_BYTES", 300)
        outbox = Outbox(tmp_path / "a.jsonl")
        outbox.append(NOON, json.dumps({"text": "x" * 1000}))
        outbox.append(NOON, json.dumps({"text": "ä" * 10}))
        assert sequences(outbox.unsent(10)) == [1]
        outbox.acknowledge(1)
        assert json.loads(outbox.unsent(10)[0])["event"]["text"] == "ä" * 10

    def test_the_next_process_finds_the_unsent_events_of_a_killed_one(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        script = f"""
import os, signal
from datetime import UTC, datetime
from pathlib import Path
from workers.reporting.outbox import Outbox
outbox = Outbox(Path({str(path)!r}))
for _ in range(5):
    outbox.append(datetime.now(UTC), '{{"kind":"progress"}}')
outbox.acknowledge(2)
os.kill(os.getpid(), signal.SIGKILL)
"""
        subprocess.run([sys.executable, "-c", script], check=False)
        with path.open("a") as file:
            file.write('{"sequence":6,"at":"2026')  # the killed process was writing this line
        outbox = Outbox(path)
        assert sequences(outbox.unsent(10)) == [3, 4, 5]
        fill(outbox, 1)
        assert sequences(outbox.unsent(10)) == [3, 4, 5, 6]

    def test_a_full_disk_moves_later_events_to_memory_without_a_gap(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        outbox = Outbox(tmp_path / "a.jsonl")
        fill(outbox, 2)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        size_bytes = (tmp_path / "a.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 20, before[1]))  # a part of the next line fits
        try:
            fill(outbox, 3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (tmp_path / "a.jsonl").stat().st_size == size_bytes
        assert sequences(outbox.unsent(10)) == [1, 2]
        outbox.acknowledge(2)
        assert sequences(outbox.unsent(10)) == [3, 4, 5]
        outbox.acknowledge(4)
        assert sequences(outbox.unsent(10)) == [5]
        assert capfd.readouterr().err.count("cannot be written") == 1

    def test_a_full_memory_drops_only_events_that_may_be_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outbox_module, "MAX_IN_MEMORY", 3)
        outbox = Outbox(None)
        for _ in range(5):
            outbox.append(NOON, "{}", may_drop=True)
        outbox.append(NOON, '{"kind":"run_finished"}')
        assert sequences(outbox.unsent(10)) == [1, 2, 3, 4]
        assert "run_finished" in outbox.unsent(10)[-1]

    def test_without_a_folder_events_stay_in_memory(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        outbox = Outbox(tmp_path / "file" / "a.jsonl")
        fill(outbox, 2)
        assert sequences(outbox.unsent(10)) == [1, 2]


class TestSpool:
    def test_the_next_process_knows_which_lines_are_consumed(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path / "s")
        for number in range(1000):
            spool.append(f"line {number} " + "x" * 200)
        spool.consume(700)
        again = Spool(tmp_path / "s")
        assert again.consumed == 700
        assert again.head(1, 10_000) == ["line 700 " + "x" * 200]

    def test_a_failed_write_changes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        spool = Spool(tmp_path / "s")
        spool.append("first")
        real_write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: real_write(file, data[:3]))
        with pytest.raises(OSError) as caught:
            spool.append("second")
        monkeypatch.undo()
        assert caught.value.errno == errno.ENOSPC
        spool.append("third")
        assert spool.head(10, 1000) == ["first", "third"]
