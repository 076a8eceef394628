#!/usr/bin/env python3
"""Runs every query of every board against a Prometheus, and reports which have data.

    python3 deploy/check_boards.py --prometheus http://127.0.0.1:9090 --job "my run" --sweep "my search"

Exits with 1 if a panel has no data, unless its description says "May be empty: …". It needs only the standard
library.
"""

import argparse
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

BOARDS = Path(__file__).parent / "grafana" / "dashboards"
MAY_BE_EMPTY = "May be empty: "
STEP_S = 15
# The values that Grafana uses with a scrape every 15 s.
BUILT_IN = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h"}
_LABEL_VALUES = re.compile(r"label_values\((?:(.+), *)?(\w+)\)", re.DOTALL)


class Query(NamedTuple):
    """One query of a panel."""

    board: str
    panel: str
    legend: str
    expr: str
    may_be_empty: bool


class Prometheus:
    """Sends queries to one Prometheus, over the last `minutes`."""

    def __init__(self, url: str, minutes: float) -> None:
        self._url = url.rstrip("/")
        self._minutes = minutes

    def count_series(self, expr: str) -> int:
        """Count the series that have a value in the range.

        Raises:
            ValueError: Prometheus refuses the query.
        """
        end = time.time()
        data = self._ask("query_range", query=expr, start=str(end - 60 * self._minutes), end=str(end), step=str(STEP_S))
        return sum(any(_is_number(value) for _, value in series["values"]) for series in data["result"])

    def label_values(self, label: str, selector: str | None) -> list[str]:
        start = str(time.time() - 60 * self._minutes)
        found: list[str] = self._ask(
            f"label/{label}/values", start=start, **({"match[]": selector} if selector else {})
        )
        return found

    def _ask(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Replace Grafana's variables, `$name` and `${name}`. Longer names first, because $job is a prefix of $job_id."""
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
    return text


def queries(board: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Query]:
    for panel in board["panels"]:
        may_be_empty = MAY_BE_EMPTY in panel.get("description", "")
        for target in panel.get("targets", ()):
            expr = substituted(target["expr"], values)
            yield Query(board["title"], panel["title"], target["legendFormat"], expr, may_be_empty)


def variables(board: Mapping[str, Any], prometheus: Prometheus, given: Mapping[str, str]) -> dict[str, str]:
    """Choose a value for each variable of a board: the given one, all if the variable allows it, else the first."""
    values = dict(BUILT_IN)
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if name in given:
            values[name] = given[name].replace("\\", "\\\\").replace('"', '\\"')
        elif variable["includeAll"]:
            values[name] = variable["allValue"]
        else:
            found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert found is not None, variable
            selector = substituted(found[1], values) if found[1] is not None else None
            values[name] = next(iter(prometheus.label_values(found[2], selector)), "none")
    return values


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--job", help="name of a job that ran while Prometheus was up")
    parser.add_argument("--sweep", help="name of a sweep that ran while Prometheus was up")
    parser.add_argument("--minutes", type=float, default=60, help="length of the range (default: %(default)s)")
    parser.add_argument("--boards", type=Path, default=BOARDS, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    prometheus = Prometheus(options.prometheus, options.minutes)
    given = {name: value for name in ("job", "sweep") if (value := getattr(options, name)) is not None}
    total = empty = missing = 0
    print(f"{'board':12} {'panel':34} {'query':28} series")
    for path in sorted(options.boards.glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for query in queries(board, variables(board, prometheus, given)):
            total += 1
            try:
                count = prometheus.count_series(query.expr)
                result = str(count)
            except ValueError as error:
                count, result = 0, f"refused: {error}"
            if count == 0 and query.may_be_empty:
                empty += 1
                result += ", which is allowed"
            elif count == 0:
                missing += 1
                result += "  <-- no data"
            print(f"{query.board:12} {query.panel:34} {query.legend:28} {result}")
    print(f"{total} queries: {total - empty - missing} have data, {empty} may be empty, {missing} have none")
    return 1 if missing or not total else 0


def _is_number(value: str) -> bool:
    return not math.isnan(float(value))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"Prometheus does not answer: {error}")
