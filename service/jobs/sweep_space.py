"""Decides whether the space of a sweep, and the values of a trial, fit the base job."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import TypeAlias

from pydantic import BaseModel, JsonValue, ValidationError

from fgd_core.spec import paths
from fgd_core.spec.dimensions import Choice, Dimension, Integers, LogUniform, Uniform
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec, TrialBase, with_values
from fgd_core.spec.methods import PRESETS
from fgd_core.spec.refusals import closest, spec_reason
from fgd_core.spec.views import ProblemReason

TrialRules: TypeAlias = Callable[[TrialBase], Iterable[ProblemReason]]
"""Further rules for the job of a trial."""

MAX_VALUES = 2000
"""The most values of all choices together: each is validated on the base while the user waits."""

OF_THE_SWEEP = frozenset({"kind", "name", "project", "priority", "preemptible", "resources", "retry", "seed"})
"""The fields of a base that no trial sets."""


def dimensions(spec: SweepSpec) -> dict[str, Dimension]:
    """The dimensions of the space; empty if a preset searches a method that the base does not have."""
    try:
        return spec.dimensions()
    except KeyError:
        return {}


def reasons(spec: SweepSpec, rules: TrialRules) -> Iterator[ProblemReason]:
    """Yield what is wrong with the space, dimension by dimension."""
    space = dimensions(spec)
    if isinstance(spec.space, str) and not space and isinstance(spec.base, DistillSpec):
        own = ", ".join(name for name, method in PRESETS.items() if method in (spec.base.method.type, None))
        message = (
            f"{spec.space!r} searches the method {PRESETS[spec.space]!r}, but the base distils with "
            f"{spec.base.method.type!r}; use one of {own}, or another method"
        )
        yield ProblemReason(loc="space", code="other_method", message=message)
    elif isinstance(spec.space, str) and not space:
        message = (
            f"{spec.space!r} searches the settings of a method, but a base of kind {spec.base.kind!r} has no method; "
        )
        cure = "make the base a distill job, or write a space over its own fields"
        yield ProblemReason(loc="space", code="no_method", message=message + cure)
    elif not space:
        message = "the space is empty; name at least one field of the base"
        yield ProblemReason(loc="space", code="empty_space", message=message)
    num_values = sum(len(each.values) for each in space.values() if isinstance(each, Choice))
    if num_values > MAX_VALUES:
        message = f"the choices have {num_values} values together, but the limit is {MAX_VALUES}; leave some out"
        yield ProblemReason(loc="space", code="too_many_values", message=message)
        return
    for path, dimension in space.items():
        missing = missing_field(spec.base, path, space)
        if missing is not None:
            yield ProblemReason(loc=f"space.{path}", code="unknown_field", message=missing)
        bounds = list(_bounds(f"space.{path}", dimension))
        yield from bounds
        yield from _condition(spec, path, dimension, space)
        if missing is None and not bounds:
            yield from _values(spec, path, dimension, space, rules)
    circle = _circle(space)
    if circle:
        message = f"the conditions of {', '.join(circle)} depend on each other in a circle; remove one of them"
        yield ProblemReason(loc=f"space.{circle[0]}.when", code="circle", message=message)


def trial_reasons(base: TrialBase, values: Mapping[str, JsonValue], rules: TrialRules) -> list[ProblemReason]:
    """List what is wrong with the values of one trial."""
    found = []
    for path in values:
        missing = missing_field(base, path, values)
        if missing is not None:
            found.append(ProblemReason(loc=f"values.{path}", code="unknown_field", message=missing))
    if not found:
        found += [each.model_copy(update={"loc": f"values.{each.loc}"}) for each in _faults(base, values, rules)]
    return found


def as_stored(base: TrialBase, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Convert values to the types of the base: `"3"` for a number of epochs becomes 3.

    Args:
        values: without reasons against them.
    """
    whole = _build(base, values).model_dump(mode="json")
    return {path: paths.field(whole, path) for path in values}


def missing_field(base: TrialBase, path: str, beside: Iterable[str] = ()) -> str | None:
    """Say why trials cannot differ in this field; None if they can.

    Args:
        beside: other paths in which trials differ. If `detector.backbone.name` is among them, the fields of all
            backbones are allowed.
    """
    names = path.split(".")
    if names[0] in OF_THE_SWEEP:
        return f"{names[0]!r} is the same for every trial; set it on the sweep, and search another field"
    if names[0] == "method" and not isinstance(base, DistillSpec):
        cure = "make the base a distill job, or search fields of training or detector"
        return f"a base of kind {base.kind!r} has no method; {cure}"
    beside = set(beside)
    node: object = base
    for depth, name in enumerate(names):
        before = ".".join(names[:depth])
        if isinstance(node, Mapping):
            if name not in node:
                return f"there is no {name!r} in {before!r}; {closest(name, node)}"
            node = node[name]
            continue
        if not isinstance(node, BaseModel):
            return f"{before!r} is {node!r} in the base and has no fields; search {before!r} itself"
        kinds = _kinds(base, names[:depth], beside) or [type(node)]
        known = {each: kind for kind in kinds for each in kind.model_fields if depth or each not in OF_THE_SWEEP}
        if name not in known:
            return f"there is no field {name!r} in {repr(before) if before else 'the base'}; {closest(name, known)}"
        node = (
            getattr(node, name)
            if hasattr(node, name)
            else known[name].model_fields[name].get_default(call_default_factory=True)
        )
    return None


def _kinds(base: TrialBase, names: Sequence[str], beside: Set[str]) -> list[type[BaseModel]]:
    """All types that the part at a path can have, if trials differ in its type."""
    found = paths.part(base, names)
    if found is None or found.tag is None or ".".join([*names, found.tag]) not in beside:
        return []
    return [type(found.value), *found.kinds.values()]


def _bounds(loc: str, dimension: Dimension) -> Iterator[ProblemReason]:
    if isinstance(dimension, Choice):
        seen = [json.dumps(value, sort_keys=True) for value in dimension.values]
        twice = sorted({value for value in seen if seen.count(value) > 1})
        if not seen:
            message = "the choice has no values; write some, or remove the field from the space"
            yield ProblemReason(loc=f"{loc}.values", code="no_values", message=message)
        if twice:
            message = f"{', '.join(twice)} occurs more than once; write each value once"
            yield ProblemReason(loc=f"{loc}.values", code="duplicate_values", message=message)
        return
    low, high = dimension.low, dimension.high
    if low >= high:
        message = f"low is {low:g} and high is {high:g}; low must be below high (put a single value into the base)"
        yield ProblemReason(loc=loc, code="empty_range", message=message)
    is_log = isinstance(dimension, LogUniform) or (isinstance(dimension, Integers) and dimension.log)
    if is_log and low <= 0:
        cure = "start above 0, or search uniformly"
        message = f"low is {low:g}, but a logarithm needs a positive number; {cure}"
        yield ProblemReason(loc=f"{loc}.low", code="log_of_zero", message=message)


def _condition(
    spec: SweepSpec, path: str, dimension: Dimension, space: Mapping[str, Dimension]
) -> Iterator[ProblemReason]:
    if dimension.when is None:
        return
    loc, field = f"space.{path}.when.field", dimension.when.field
    missing = missing_field(spec.base, field, space)
    if field == path:
        message = f"{path!r} cannot depend on itself; name another dimension"
        yield ProblemReason(loc=loc, code="circle", message=message)
    elif missing is not None:
        yield ProblemReason(loc=loc, code="unknown_field", message=missing)
    elif field not in space:
        value = paths.field(spec.base.model_dump(mode="json"), field)
        if value not in dimension.when.is_in:
            message = f"{field!r} is not searched and is {value!r} in the base, so {path!r} would never be searched; "
            cure = "search that field too, or remove the condition"
            yield ProblemReason(loc=loc, code="never_holds", message=message + cure)
    elif not any(_may_be(space[field], value) for value in dimension.when.is_in):
        wanted = ", ".join(repr(value) for value in dimension.when.is_in)
        message = f"{field!r} is never {wanted}, so {path!r} would never be searched; name values that it can have"
        yield ProblemReason(loc=f"space.{path}.when.is_in", code="never_holds", message=message)


def _may_be(dimension: Dimension, value: JsonValue) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high


def _circle(space: Mapping[str, Dimension]) -> list[str]:
    """Dimensions whose conditions depend on each other; one that depends on itself is reported elsewhere."""
    left = {path: each.when.field for path, each in space.items() if each.when and each.when.field != path}
    while free := [path for path, field in left.items() if field not in left]:
        for path in free:
            del left[path]
    return list(left)


def _values(
    spec: SweepSpec, path: str, dimension: Dimension, space: Mapping[str, Dimension], rules: TrialRules
) -> Iterator[ProblemReason]:
    """Build the base with both ends of a range, a value between them, and each choice."""
    held: dict[str, JsonValue] = {}
    if dimension.when is not None and dimension.when.field in space and dimension.when.field != path:
        held = {dimension.when.field: dimension.when.is_in[0]}
    is_sound = True
    for where, value in _probes(dimension):
        # Try the value between two ends only if both ends are sound.
        if not where and not is_sound:
            continue
        is_choice = isinstance(dimension, Choice)
        for fault in _faults(spec.base, {**held, path: value}, rules, only_as_kept=is_choice):
            is_sound = False
            message = fault.message if fault.loc == path else f"{fault.loc}: {fault.message}"
            yield ProblemReason(loc=f"space.{path}{where}", code=fault.code, message=message)


def _probes(dimension: Dimension) -> Iterator[tuple[str, JsonValue]]:
    """Yield (place in the dimension, value)."""
    if isinstance(dimension, Choice):
        for index, value in enumerate(dimension.values):
            yield f".values.{index}", value
        return
    yield ".low", dimension.low
    yield ".high", dimension.high
    if isinstance(dimension, Uniform | LogUniform):
        # Both ends may be whole numbers although the field takes only whole numbers.
        yield "", dimension.low + 0.382 * (dimension.high - dimension.low)


def _faults(
    base: TrialBase, values: Mapping[str, JsonValue], rules: TrialRules, *, only_as_kept: bool = False
) -> list[ProblemReason]:
    """List what is wrong with the job of a trial with these values; `loc` is a path in the job.

    Args:
        only_as_kept: trials get the values as they are written, so 3.0 is not a number of epochs.
    """
    try:
        trial = _build(base, values)
    except ValidationError as error:
        # The same wording as for a job that is submitted alone.
        faults = error.errors(include_url=False)
        return [spec_reason({**fault, "loc": (base.kind, *fault["loc"])}) for fault in faults]
    except (KeyError, TypeError, AttributeError):
        # One value removed the field that contains another one.
        message = f"{', '.join(values)} exclude each other; search only one of them"
        return [ProblemReason(loc=next(iter(values)), code="contradiction", message=message)]
    found = list(rules(trial))
    whole = trial.model_dump(mode="json")
    for path, value in values.items():
        kept = paths.field(whole, path)
        is_whole = isinstance(value, float) and isinstance(kept, int) and only_as_kept
        if is_whole or (isinstance(value, str | bool) and (kept != value or type(kept) is not type(value))):
            message = f"{value!r} would be read as {kept!r}; write that"
            found.append(ProblemReason(loc=path, code="other_type", message=message))
    return found


def _build(base: TrialBase, values: Mapping[str, JsonValue]) -> TrialBase:
    return type(base).model_validate(with_values(base, values))
