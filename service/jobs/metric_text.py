"""Metrics, values and standings as people write them."""

from collections.abc import Mapping

from pydantic import JsonValue

from fgd_core.spec.results import PART_METRICS, PART_NAMES
from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import Standing
from fgd_core.spec.trials import TrialOrigin

_METRICS = {"images_per_s": "images/s", "num_parameters": "parameters"}
_ORIGINS: Mapping[TrialOrigin, str] = {
    "plain": "no distillation",
    "published": "default weights",
    "finalist": "repeat",
}
_SIZES = ("small", "medium", "large")


def metric_name(metric: str) -> str:
    """Write a metric as people do: AP50, AP small, AP of cat, mask AP, keypoint AP50."""
    if metric in PART_METRICS:
        part, name = PART_METRICS[metric]
        return f"{PART_NAMES[part]} {metric_name(name)}"
    kind, _, of_class = metric.partition(":")
    if of_class:
        return f"{'AP50' if kind == 'class50' else 'AP'} of {of_class}"
    if metric in _METRICS:
        return _METRICS[metric]
    name, _, size = metric.partition("_")
    return f"{name.upper()} {size}" if size in _SIZES else name.upper()


def origin_text(origin: TrialOrigin) -> str:
    """Write why a trial runs; events and the API keep the stored names."""
    return _ORIGINS.get(origin, origin)


def metric_value(metric: str, value: float) -> str:
    """Write a value with the digits that the metric deserves."""
    if metric == "num_parameters":
        return f"{value / 1e6:.2f} M"
    return f"{value:.1f}" if metric == "images_per_s" else f"{value:.3f}"


def signed_value(metric: str, value: float) -> str:
    """Write a difference: `+0.012`, `−0.003`."""
    return ("−" if value < 0 else "+") + metric_value(metric, abs(value))


def is_score(metric: str) -> bool:
    """Whether the metric is a score in [0, 1], such as AP."""
    return metric not in _METRICS


def values_text(values: Mapping[str, JsonValue]) -> str:
    """Write the values of a trial: `method.alpha = 0.002, method.beta = 0.0005`."""
    return ", ".join(f"{path} = {value_text(value)}" for path, value in values.items()) or "the base job's values"


def value_text(value: JsonValue) -> str:
    """Write one value, a float with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def standing_text(standing: Standing, objective: Objective) -> str:
    """Write what a configuration reached: `AP 0.143 ± 0.012 over 2 fresh seeds`."""
    mean = standing.objectives[0]
    assert mean is not None
    text = f"{metric_name(objective.metric)} {metric_value(objective.metric, mean)}"
    fresh = "fresh " if standing.chosen_at is not None else ""
    if standing.interval is None:
        return f"{text} with one {fresh}seed"
    half = (standing.interval.high - standing.interval.low) / 2
    return f"{text} ± {metric_value(objective.metric, half)} over {len(standing.seed_values)} {fresh}seeds"
