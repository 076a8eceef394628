"""What a spec gets where it names no method, scale or temperature: the recommended method, and published values for
published students, else found ones."""

from collections.abc import Mapping

from pydantic import BaseModel

from fgd_core.spec.methods import METHOD_TYPES
from fgd_core.spec.methods.base import AnyMethod
from fgd_core.spec.methods.single import RECOMMENDED, fgd_if_unnamed

_BACKBONES = ("resnet50", "resnet101")
_STEM_WIDTH, _FPN_WIDTH, _SIZE_PX = 64, 256, (800, 1333)


def with_default_scale(job: object) -> object:
    """Return a job as a user wrote it with a method, where each has a scale, and a temperature if it has the setting.

    Args:
        job: the content of a distillation or a chain; anything that is not a mapping is returned as it is.
    """
    if not isinstance(job, Mapping):
        return job
    stages = job.get("stages")
    method = _method(job)
    changed: dict[str, object] = {} if method is None else {"method": _with_scale(method, job)}
    if isinstance(stages, list | tuple):
        changed["stages"] = [_with_method(stage, job) for stage in stages]
    return {**job, **changed}


def with_searched_scale(job: object) -> object:
    """Return the base of a sweep as a user wrote it, in which a method without a scale has that of a search."""
    if not isinstance(job, Mapping) or not isinstance(method := _method(job), Mapping):
        return job
    kind = _kind(method)
    found = found_beside_scale(kind, job.get("student"), job.get("input"))
    return {**job, "method": {"scale": kind.searched_scale, **found, **method}}


def found_beside_scale(method: type[AnyMethod], student: object, input_: object) -> Mapping[str, str]:
    """Return the settings, apart from the scale, that this pair finds by itself: none if it has a recipe."""
    if _has_recipe(method, student, input_):
        return {}
    return {name: value for name, value in method.without_recipe.items() if name != "scale"}


def _method(job: Mapping[str, object]) -> object:
    """Return the method of a job with a student, the recommended one unless it names one; None for other jobs."""
    return job.get("method", {"type": RECOMMENDED.name()} if "student" in job else None)


def _with_method(stage: object, job: Mapping[str, object]) -> object:
    if not isinstance(stage, Mapping) or stage.get("method") is None:
        return stage
    return {**stage, "method": _with_scale(stage["method"], job)}


def _with_scale(method: object, job: Mapping[str, object]) -> object:
    if not isinstance(method, Mapping):
        return method
    kind, student, input_ = _kind(method), job.get("student"), job.get("input")
    scale = 1.0 if _has_recipe(kind, student, input_) else kind.without_recipe["scale"]
    return {"scale": scale, **found_beside_scale(kind, student, input_), **method}


def _kind(method: Mapping[str, object]) -> type[AnyMethod]:
    return METHOD_TYPES.get(str(_field(fgd_if_unnamed(method), "type", None)), AnyMethod)


def _has_recipe(method: type[AnyMethod], student: object, input_: object) -> bool:
    backbone = _field(student, "backbone", {})
    return (
        _field(student, "type", None) in method.students_of_recipes
        and _field(student, "fpn_width", _FPN_WIDTH) == _FPN_WIDTH
        and _field(backbone, "name", _BACKBONES[0]) in _BACKBONES
        and _field(backbone, "stem_width", _STEM_WIDTH) == _STEM_WIDTH
        and _field(backbone, "blocks", None) is None
        and (_field(input_, "shorter_px", _SIZE_PX[0]), _field(input_, "longer_px", _SIZE_PX[1])) == _SIZE_PX
    )


def _field(part: object, name: str, default: object) -> object:
    """Return a field of a part of a spec, which is a mapping as a user wrote it, or a model."""
    if isinstance(part, BaseModel):
        return getattr(part, name, default)
    return part.get(name, default) if isinstance(part, Mapping) else default
