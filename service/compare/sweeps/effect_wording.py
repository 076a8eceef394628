"""Writes which choices of a sweep mattered as sentences."""

from collections.abc import Sequence

from fgd_core.spec.data import Shapes, files_of, name_of
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.teacher import teacher_detector
from fgd_core.spec.sweep_effects import DimensionEffect, Effects, ValueEffect
from fgd_core.spec.sweep_report import TrialView
from service.jobs.metric_text import metric_name, signed_value

_MOST_VALUES = 3


def effect_sentence(found: Effects) -> str:
    """Say which dimensions mattered; the table has the rest."""
    if found.why_untested:
        return f"Which settings mattered was not tested: {found.why_untested}."
    mattered = [each.path for each in found.dimensions if each.verdict == "mattered"]
    num_open = len(found.dimensions) - len(mattered)
    basis = f"the {found.num_trials} trials whose values were drawn at random"
    if not mattered:
        return f"None of the searched settings is shown to matter, tested on {basis}."
    rest = f" The other {num_open} are not shown to matter." if num_open > 1 else ""
    rest = " The other one is not shown to matter." if num_open == 1 else rest
    return f"Shown to matter, tested on {basis}: {', '.join(mattered)}.{rest}"


def in_words(found: DimensionEffect, spec: SweepSpec, *, num_counted: int) -> DimensionEffect:
    """Return a tested dimension with its finding and its cost in words."""
    metric = spec.objectives[0].metric
    return found.model_copy(
        update={
            "finding": _finding(found, metric),
            "to_know": "" if found.verdict == "mattered" else _to_know(found, spec, num_counted),
        }
    )


def basis(found: Effects) -> str:
    """Say which trials were tested, and how."""
    if found.why_untested:
        return ""
    at = "at the end of each trial" if found.epoch is None else f"by the best value until epoch {found.epoch}"
    text = (
        f"Tested on {found.num_trials} trials whose values were drawn at random, {at}: values are shuffled among these "
        "trials, and p is adjusted after Holm for all settings. Without any effect, at most 5 % of sweeps name a "
        "setting. A range of numbers is compared in three parts. All intervals hold together."
    )
    if found.num_adaptive:
        text += (
            f" {found.num_adaptive} more trials do not count: their values were chosen from earlier results, or by a "
            "user."
        )
    if found.num_without_value:
        text += f" {found.num_without_value} random trials have no value there."
    return text


def holds_for(spec: SweepSpec, trials: Sequence[TrialView], epoch: int | None) -> str:
    """Say over which data, models and schedule a finding holds."""
    base = spec.base
    scored = next((trial.result.num_images for trial in trials if trial.result is not None), None)
    images = f"scored on {scored} images" if scored is not None else "number of scored images unknown"
    files = files_of(base.data)
    if isinstance(files, Shapes):
        images = f"{files.num_train} training images, {images}"
    pair = _detector(base.student if isinstance(base, DistillSpec) else base.detector)
    if isinstance(base, DistillSpec):
        teacher = teacher_detector(base.teacher)
        pair += f" from {_detector(teacher) if teacher is not None else base.teacher.checkpoint}"
    epochs = base.training.epochs
    length = f"{epochs} epochs" if epoch is None else f"epoch {epoch} of {epochs}"
    return (
        f"Measured on {name_of(base.data.model_dump(mode='json'))} ({images}), {pair}, at {length}, with one training "
        f"seed ({spec.seed}). Other data, models, schedules or seeds may give another answer."
    )


def _detector(detector: AnyDetector) -> str:
    written = detector.model_dump(mode="json")
    return f"{written['type']} {written['backbone']['name']}" if "backbone" in written else str(written["type"])


def _finding(found: DimensionEffect, metric: str) -> str:
    p = f"p = {found.p_adjusted:.3f}" if found.p_adjusted and found.p_adjusted >= 0.001 else "p < 0.001"
    if found.verdict == "not_shown":
        return f"not shown to matter ({p})"
    best, *others = found.values
    over = "; ".join(_over(each, metric) for each in others[:_MOST_VALUES])
    more = f"; {len(others) - _MOST_VALUES} more values" if len(others) > _MOST_VALUES else ""
    is_settled = any(each.low is not None and each.high is not None and each.low * each.high > 0 for each in others)
    doubt = "" if is_settled else ". Which value is best is not shown"
    return f"mattered ({p}). Best: {best.value}; {over}{more}{doubt}"


def _over(each: ValueEffect, metric: str) -> str:
    assert each.behind is not None
    text = f"over {each.value} {signed_value(metric, each.behind)} {metric_name(metric)}"
    if each.low is None or each.high is None:
        return text
    return f"{text} (95 % interval {signed_value(metric, each.low)} to {signed_value(metric, each.high)})"


def _to_know(found: DimensionEffect, spec: SweepSpec, num_counted: int) -> str:
    metric = spec.objectives[0].metric
    assert found.effect is not None
    effect = f"a difference of {signed_value(metric, found.effect).lstrip('+')} {metric_name(metric)}"
    if found.trials_needed is None:
        return f"{effect} is too small for this noise: more than 10,000 trials"
    if found.trials_needed <= num_counted:
        return f"{effect} would have been found four times in five"
    text = f"{found.trials_needed} random trials find {effect} four times in five"
    if found.hours is None:
        return text
    cost = f"{found.gpu_hours:.1f} GPU hours" if found.gpu_hours else f"{found.hours:.1f} hours of one trial at a time"
    return f"{text}; they cost {cost} more"
