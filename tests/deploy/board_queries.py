"""What boards and alerts ask, and what there is to be asked for."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml
from prometheus_client.metrics_core import Metric as Family

from deploy import check_boards
from service.metrics import Metrics
from workers.metrics import COUNTERS, GAUGES, PREFIX

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
ALERTS: Mapping[str, Any] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
RULES: Mapping[str, Mapping[str, Any]] = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}

# Of Prometheus itself, and of the process collector in its own client for Python.
OTHERS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}
OF_PROCESSES = {"process_resident_memory_bytes": {"job", "instance"}, "process_cpu_seconds_total": {"job", "instance"}}

# Of Ray 2.60, as its agents serve them: `test_metrics_on_ray.py` holds this list against a running one, but for GPUs:
# those are in its ray/dashboard/modules/reporter/reporter_agent.py, METRICS_GAUGES.
OF_RAY = {
    "ray_resources": {"Name", "State", "instance"},
    "ray_node_cpu_utilization": {"instance"},
    "ray_node_mem_used": {"instance"},
    "ray_node_mem_total": {"instance"},
    "ray_node_disk_free": {"instance"},
    "ray_node_disk_usage": {"instance"},
}
OF_RAYS_GPUS = {
    "ray_node_gpus_utilization": {"instance", "GpuIndex"},
    "ray_node_gram_used": {"instance", "GpuIndex"},
}


class Asked(NamedTuple):
    where: str
    expr: str


class Selector(NamedTuple):
    name: str
    labels: set[str]


def asked() -> Iterator[Asked]:
    """Every expression, as Prometheus gets it."""
    values = {**check_boards.BUILT_IN, "job": "a job", "job_id": ".*", "sweep": "a sweep"}
    for name, board in BOARDS.items():
        for query in check_boards.queries(board, values):
            yield Asked(f"{name}: {query.panel} ({query.legend})", query.expr)
        for variable in board["templating"]["list"]:
            found = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert found is not None, variable
            yield Asked(f"{name}: ${variable['name']}", check_boards.substituted(found[1], values))
    for name, rule in RULES.items():
        yield Asked(name, rule["expr"])


def selectors(expr: str) -> list[Selector]:
    """Raises ValueError where it is no PromQL."""
    found: list[Selector] = []

    def visit(node: Any) -> None:
        node = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(node, promql_parser.VectorSelector):
            found.append(Selector(node.name or "", {each.name for each in node.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def served() -> dict[str, set[str]]:
    """Labels of each series that can be asked for, by name."""
    ours = {name: labels | {"job", "instance"} for name, labels in _of_service()}
    runs = {PREFIX + name: set(metric.labels) | {"job", "instance"} for name, metric in GAUGES.items()}
    ends = {f"{PREFIX}{name}_total": set(metric.labels) for name, metric in COUNTERS.items()}
    return ours | runs | ends | OTHERS | OF_PROCESSES | OF_RAY | OF_RAYS_GPUS


def _of_service() -> Iterator[tuple[str, set[str]]]:
    metrics = Metrics()
    for collector in vars(metrics).values():
        for family in collector.describe() if hasattr(collector, "describe") else ():
            yield from _series(family, set(collector._labelnames))


def _series(family: Family, labels: set[str]) -> Iterator[tuple[str, set[str]]]:
    match family.type:
        case "histogram":
            yield f"{family.name}_bucket", labels | {"le"}
            yield f"{family.name}_sum", labels
            yield f"{family.name}_count", labels
        case "counter":
            yield f"{family.name}_total", labels
        case _:
            yield family.name, labels
