"""The parts of boards, and their JSON form for Grafana.

A board has rows of panels; a panel has queries and an explanation. Its position follows from the widths, 24 per row.
`maybe` explains why a panel may have no data in a working system, for `deploy/check_boards.py` and for readers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SOURCE = {"type": "prometheus", "uid": "prometheus"}
MAY_BE_EMPTY = "May be empty: "
RARE = "15m"
"""The window for rare events, which have no quantile over one minute."""


@dataclass(frozen=True)
class Panel:
    """Describes one panel."""

    title: str
    text: str
    exprs: Mapping[str, str]
    """Legend -> query."""
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    maybe: str = ""
    """Reason why the panel may be empty."""
    stacked: bool = False
    max: float | None = None
    link: tuple[str, str] | None = None
    """(title, URL) of a link on each value."""
    colors: Mapping[float, str] = field(default_factory=dict)
    """Thresholds of a stat."""


@dataclass(frozen=True)
class Row:
    """Describes a row of panels."""

    title: str
    panels: Sequence[Panel]
    height: int = 8


@dataclass(frozen=True)
class Board:
    """Describes a board."""

    uid: str
    title: str
    text: str
    rows: Sequence[Row]
    since: str
    variables: Sequence[tuple[str, str, str]] = ()
    """(name, label, query) of each variable."""


def quantiles(metric: str, by: str = "", window: str = "$__rate_interval", where: str = "") -> dict[str, str]:
    """Queries for p50 and p95 of a histogram, by a label if one is given."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return {
        f"p{percent}{legend}": f"histogram_quantile({percent / 100:g}, "
        f"sum by ({labels}) (rate({metric}_bucket{where}[{window}])))"
        for percent in (50, 95)
    }


def stat(title: str, text: str, expr: str, **options: Any) -> Panel:
    return Panel(title, text, {"": expr}, **({"width": 4, "kind": "stat"} | options))


def text(board: Board, others: Sequence[Board]) -> str:
    """The board's file. Args: others: boards that it links to."""
    made = {
        "uid": board.uid,
        "title": board.title,
        "description": board.text,
        "tags": ["fgd"],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": board.since, "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "link", "title": other.title, "url": f"/d/{other.uid}", "keepTime": True} for other in others
        ],
        "templating": {"list": [_variable(*each) for each in board.variables]},
        "panels": list(_panels(board.rows)),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        # On change of the time range, so that for yesterday Grafana lists the jobs of yesterday.
        "refresh": 2,
        "sort": 1,
        "multi": name == "job_id",
        "includeAll": name == "job_id",
        "allValue": ".*" if name == "job_id" else None,
        "current": {"text": "All", "value": "$__all"} if name == "job_id" else {},
    }


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    id_, y = 0, 0
    for row in rows:
        id_ += 1
        yield {
            "id": id_,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            "panels": [],
        }
        x, y = 0, y + 1
        for panel in row.panels:
            if x + panel.width > 24:
                x, y = 0, y + row.height
            id_ += 1
            yield {"id": id_, "gridPos": {"x": x, "y": y, "w": panel.width, "h": row.height}} | _panel(panel)
            x += panel.width
        y += row.height


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text + (f" {MAY_BE_EMPTY}{panel.maybe}" if panel.maybe else ""),
        "datasource": SOURCE,
        "targets": [
            {
                "refId": "ABCDEF"[number],
                "datasource": SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "instant": panel.kind == "bargauge",
                "range": panel.kind != "bargauge",
            }
            for number, (legend, expr) in enumerate(panel.exprs.items())
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    made: dict[str, Any] = {"unit": panel.unit}
    if panel.max is not None:
        made |= {"min": 0, "max": panel.max}
    if panel.link is not None:
        title, url = panel.link
        made["links"] = [{"title": title, "url": url}]
    if panel.colors:
        # Grafana needs null for the first threshold, which starts at minus infinity.
        steps = [{"value": value or None, "color": color} for value, color in panel.colors.items()]
        made |= {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": steps}}
    elif panel.kind != "timeseries":
        made["color"] = {"mode": "fixed", "fixedColor": "blue"}
    if panel.kind == "timeseries":
        custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "auto", "spanNulls": 60_000}
        if panel.stacked:
            custom |= {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
        made["custom"] = custom
    return made


def _options(panel: Panel) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {"reduceOptions": last, "colorMode": "value", "graphMode": "area", "justifyMode": "auto"}
        case "bargauge":
            return {"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}
        case _:
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
