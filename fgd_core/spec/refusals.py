"""Explains why a spec was refused: each reason with its path, and a suggestion for misspelt words."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from pydantic import ValidationError

from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.views import ProblemReason

Fault: TypeAlias = Mapping[str, Any]
"""An item of `ValidationError.errors()`."""

MAX_EXPLAINED = 50
"""More faults are only counted: users do not read more, and formatting each one takes time."""
MORE_FAULTS = "more_faults"
"""The code of the reason that counts them."""
_LONGEST_NAME = 100
_LONGEST_MESSAGE = 2000


def spec_reasons(error: ValidationError) -> list[ProblemReason]:
    """Return what is wrong with a job's spec, in the order of its fields.

    Args:
        error: raised by `JOB_SPEC`.
    Returns:
        As in `explained`. `loc` is the path as the user wrote it, without tags of unions.
    """
    return explained(error.errors(include_url=False), spec_reason)


def explained(faults: Sequence[Fault], explain: Callable[[Fault], ProblemReason]) -> list[ProblemReason]:
    """Return the reasons for the first MAX_EXPLAINED faults; if there are more, the last reason counts them.

    A field that takes several types, such as a number or `auto`, has a fault for each type, and one reason.
    """
    kept: list[ProblemReason] = []
    for reason in bounded([explain(fault) for fault in faults[: MAX_EXPLAINED + 1]], len(faults)):
        if kept and kept[-1].loc == reason.loc and reason.code != MORE_FAULTS:
            message = shortened(f"{kept[-1].message}; or: {reason.message}", _LONGEST_MESSAGE)
            kept[-1] = kept[-1].model_copy(update={"message": message})
        else:
            kept.append(reason)
    return kept


def bounded(reasons: Sequence[ProblemReason], num_faults: int | None = None) -> list[ProblemReason]:
    """Return the first MAX_EXPLAINED reasons and, if there are more, one that counts the rest.

    Args:
        num_faults: the number of faults, if it is larger than the number of reasons.
    """
    left = (len(reasons) if num_faults is None else num_faults) - MAX_EXPLAINED
    if left <= 0:
        return list(reasons)
    message = f"this and {left - 1} more faults are not explained; correct the faults above first"
    more = ProblemReason(loc=reasons[MAX_EXPLAINED].loc, code=MORE_FAULTS, message=message)
    return [*reasons[:MAX_EXPLAINED], more]


def spec_reason(fault: Fault) -> ProblemReason:
    """Return the reason for one item of `ValidationError.errors()`, with its path from the top of the spec."""
    message = shortened(_message(fault), _LONGEST_MESSAGE)
    return ProblemReason(loc=spec_path(fault["loc"]), code=fault["type"], message=message)


def value_message(fault: Fault) -> str:
    """Return which value was refused, and which values are possible."""
    match fault["type"]:
        case "missing":
            return "this field is required"
        case "literal_error" | "enum":
            return f"{_shown(fault['input'])} is not a possible value; write {fault['ctx']['expected']}"
        case "value_error":
            return f"{_shown(fault['input'])} is refused: {fault['ctx']['error']}"
    wanted = f"{fault['msg'][:1].lower()}{fault['msg'][1:]}"
    return f"this field is empty; {wanted}" if fault["input"] is None else f"{wanted}, and not {_shown(fault['input'])}"


def spec_path(loc: Sequence[int | str]) -> str:
    """Return `training.optimizer.learning_rate` for `("train", "training", "optimizer", "adamw", "learning_rate")`."""
    return ".".join(shortened(str(item)) for item in _written(loc))


def _written(loc: Sequence[int | str]) -> list[int | str]:
    return [item for item, _ in _steps(loc)]


def shortened(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return the text, cut to `longest` characters with `...` at the end."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def closest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean …?`, or the list of known words if none is similar."""
    words = sorted(known)
    # No known word is similar to such a long word, and the comparison would take long.
    near = [] if len(word) > _LONGEST_NAME else difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(words)}"


# Parts that pydantic adds to paths: the kind of a search space, and a mark for a key in place of its value.
_UNWRITTEN = ("dimensions", "preset", "[key]")


def _message(fault: Fault) -> str:
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            steps = _steps(fault["loc"])
            name, siblings = steps[-1]
            return f"there is no field {shortened(str(name))!r} here; {closest(str(name), siblings)}"
        case "union_tag_not_found":
            kinds = ", ".join(_tags(fault["loc"]))
            return f"the field {context['discriminator']} is required; one of {kinds}"
        case "union_tag_invalid":
            nearest = closest(context["tag"], _tags(fault["loc"]))
            return f"{context['discriminator']} {shortened(context['tag'])!r} is unknown; {nearest}"
        case "value_error":
            return str(context["error"])
    return value_message(fault)


def _shown(value: object) -> str:
    return shortened(repr(value), 60)


def _steps(loc: Sequence[int | str]) -> list[tuple[int | str, list[str]]]:
    """Return the items of `loc` that the user wrote, each with the names of its sibling fields."""
    node = _schema()
    steps: list[tuple[int | str, list[str]]] = []
    for item in loc:
        if _is_choice_of_types(node):
            break  # what follows is pydantic's name of one of the types
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


def _is_choice_of_types(node: Mapping[str, Any]) -> bool:
    """Whether a field takes values of several types of which none has fields, such as a number or `auto`."""
    types = node.get("anyOf", ())
    return bool(types) and all("$ref" not in each and each.get("type") not in ("object", "array") for each in types)


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
    """Return the schema of the field with that name, of the value under that key, or of the items of a list."""
    if isinstance(item, int):
        items: dict[str, Any] = node.get("items", {})
        return items
    of_keys: dict[str, Any] = next(iter(node.get("patternProperties", {}).values()), {})
    found: dict[str, Any] = node.get("properties", {}).get(item, of_keys)
    return found


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a `$ref`; of `X | None` take X, and of a choice between an object and strings take the object."""
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
