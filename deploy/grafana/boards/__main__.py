"""Writes Grafana's boards: `python3 -m deploy.grafana.boards`. It needs only the standard library."""

from collections.abc import Iterator
from pathlib import Path

from deploy.grafana.boards.fleet import FLEET
from deploy.grafana.boards.job import JOB
from deploy.grafana.boards.panels import text
from deploy.grafana.boards.sweep import SWEEPS

ALL = (FLEET, JOB, SWEEPS)
FOLDER = Path(__file__).parents[1] / "dashboards"


def files() -> Iterator[tuple[Path, str]]:
    """Return each board's file with its content."""
    for board in ALL:
        yield (
            FOLDER / f"{board.uid.removeprefix('fgd-')}.json",
            text(board, [each for each in ALL if each is not board]),
        )


if __name__ == "__main__":
    for path, content in files():
        path.write_text(content, encoding="utf-8")
