"""A refused spec, said for a person: every reason with its path, and the word that was probably meant."""

import difflib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.views import ProblemReason


def spec_reasons(error: ValidationError) -> list[ProblemReason]:
    """All that is wrong with a job's spec at once, in the order of its fields.

    Args:
        error: raised by `JOB_SPEC`.
    Returns:
        One reason a fault; `loc` is the path as the user wrote it, without the tags of unions.
    """
    return [spec_reason(fault) for fault in error.errors(include_url=False)]


def spec_reason(fault: Any) -> ProblemReason:
    """One item of `ValidationError.errors()`, its path seen from the top of the spec."""
    return ProblemReason(loc=spec_path(fault["loc"]), code=fault["type"], message=_message(fault))


def spec_path(loc: Sequence[int | str]) -> str:
    """`("train", "training", "optimizer", "adamw", "learning_rate")` as `training.optimizer.learning_rate`."""
    return ".".join(str(item) for item, _ in _steps(loc))


def closest(word: str, known: Iterable[str]) -> str:
    """` Did you mean …?`, or what is known where nothing is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(words)}"


# What pydantic puts into paths for the kind of a space, and for a key in place of its value.
_UNWRITTEN = ("dimensions", "ready", "[key]")


def _message(fault: Any) -> str:
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            steps = _steps(fault["loc"])
            name, siblings = steps[-1]
            return f"there is no field {str(name)!r} here; {closest(str(name), siblings)}"
        case "missing":
            return "this field is required"
        case "union_tag_not_found":
            kinds = ", ".join(_tags(fault["loc"]))
            return f"the field {context['discriminator']} is required; one of {kinds}"
        case "union_tag_invalid":
            nearest = closest(context["tag"], _tags(fault["loc"]))
            return f"{context['discriminator']} {context['tag']!r} is unknown; {nearest}"
        case "literal_error":
            return f"{fault['input']!r} is not possible here; write {context['expected']}"
        case "value_error":
            return str(context["error"])
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, and not {_shown(fault['input'])}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _steps(loc: Sequence[int | str]) -> list[tuple[int | str, list[str]]]:
    """The items of `loc` that the user wrote, each with the fields that are known beside it."""
    node = _schema()
    steps: list[tuple[int | str, list[str]]] = []
    for item in loc:
        node = _resolved(node)
        if item in _UNWRITTEN:
            continue
        mapping = node.get("discriminator", {}).get("mapping", {})
        if item in mapping:
            node = {"$ref": mapping[item]}
            continue
        steps.append((item, list(node.get("properties", {}))))
        node = _below(node, item)
    return steps


def _tags(loc: Sequence[int | str]) -> list[str]:
    node = _schema()
    for item in loc:
        node = _resolved(node)
        if item in _UNWRITTEN:
            continue
        mapping = node.get("discriminator", {}).get("mapping", {})
        node = {"$ref": mapping[item]} if item in mapping else _below(node, item)
    return list(_resolved(node).get("discriminator", {}).get("mapping", {}))


def _below(node: dict[str, Any], item: int | str) -> dict[str, Any]:
    """The field of that name, or the value under that key."""
    of_keys: dict[str, Any] = next(iter(node.get("patternProperties", {}).values()), {})
    found: dict[str, Any] = node.get("properties", {}).get(item, of_keys)
    return found


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a `$ref`, through `X | None` to X, and through a choice between a mapping and words to the mapping."""
    if "oneOf" in node and "discriminator" not in node:
        node = next((option for option in node["oneOf"] if option.get("type") == "object"), node)
    if "anyOf" in node:
        node = next((option for option in node["anyOf"] if option.get("type") != "null"), node)
    if "$ref" in node:
        resolved: dict[str, Any] = _schema()["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return resolved
    return node


@cache
def _schema() -> dict[str, Any]:
    return JOB_SPEC.json_schema()
