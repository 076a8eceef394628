"""From a YAML or JSON file to a job's spec: overrides, relative paths, and faults with their line."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue, ValidationError

from fgd_core.errors import FgdError
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.pretrained import is_torchvision_name
from fgd_core.spec.refusals import spec_reasons
from fgd_core.spec.views import ProblemReason
from service.catalogue.recipes import recipe_text
from service.client.errors import SpecFileError, UsageError
from service.client.places import current_folder, expanded, resolved

# Fields that hold a path, as long as they hold one: a checkpoint may be `job:<id>/best`, weights may be a name.
_PATHS = (
    "data.train.images",
    "data.train.annotations",
    "data.val.images",
    "data.val.annotations",
    "data.folder",
    "data.data_yaml",
    "data.root",
    "checkpoint",
    "teacher.checkpoint",
    "detector.weights",
    "student.weights",
)
_RECIPE = "recipe:"
_WEIGHTS_SUFFIXES = (".pt", ".pth")


def read_spec(
    source: str, *, overrides: Sequence[str] = (), name: str | None = None, under: Path | None = None
) -> JobSpec:
    """The job in the file `source`, on standard input where it is `-`, or in a recipe where it is `recipe:<name>`.

    Args:
        overrides: `path=value`, the value in YAML: `training.epochs=3`.
        name: in place of the job's own.
        under: where relative paths in it start from; None: from the folder of its file, else from the current one.
    Returns:
        A valid spec. Its paths are absolute; those of `overrides` were relative to the current folder.
    Raises:
        UsageError: the file cannot be read, or an override is none.
        NotFoundError: there is no such recipe.
        SpecFileError: it is no job; `reasons` holds every fault with its path and, where it can be told, its line.
    """
    text, folder = _read(source)
    called = "standard input" if source == "-" else source
    document, lines = _parse(text, called)
    _make_absolute(document, resolved(under) if under is not None else folder)
    return changed(document, called, overrides=overrides, name=name, lines=lines)


def changed(
    document: dict[str, Any],
    source: str,
    *,
    overrides: Sequence[str],
    name: str | None,
    lines: Mapping[str, int] | None = None,
) -> JobSpec:
    """The job in a document, with changes; raises as `read_spec` does.

    Args:
        source: what the document is called in errors.
        lines: of its fields, where it comes from a file.
    """
    options = _options(overrides, name)
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals or not path:
            raise UsageError(f"--set {override} is no override; write --set path=value, as in --set training.epochs=3")
        _put(document, path, _value(override, value))
    if name is not None:
        document["name"] = name
    _make_absolute(document, current_folder())
    try:
        return JOB_SPEC.validate_python(document)
    except ValidationError as cause:
        reasons: list[JsonValue] = [
            {**reason.model_dump(), **_origin(_place(reason), lines or {}, options)} for reason in spec_reasons(cause)
        ]
        fault = "a fault" if len(reasons) == 1 else f"{len(reasons)} faults"
        changes = " with the changes of the command" if options else ""
        raise SpecFileError(f"{source}{changes} has {fault}; nothing was submitted", reasons=reasons) from cause


def locate(refusal: FgdError, source: str, *, overrides: Sequence[str], name: str | None) -> None:
    """Add to each reason of a server's refusal the line or the option that wrote the value."""
    reasons = refusal.details.get("reasons")
    if not isinstance(reasons, list):
        return
    # Standard input has been read.
    lines = _parse(_read(source)[0], source)[1] if source != "-" else {}
    options = _options(overrides, name)
    refusal.details["reasons"] = [
        {**reason, **_origin(str(reason.get("loc")), lines, options)} if isinstance(reason, dict) else reason
        for reason in reasons
    ]


def _options(overrides: Sequence[str], name: str | None) -> dict[str, str]:
    """The option that set each field; a later one replaces all that earlier ones set below its field."""
    found: dict[str, str] = {}
    for override in overrides:
        path = override.partition("=")[0]
        found = {field: said for field, said in found.items() if not field.startswith(f"{path}.")}
        found[path] = f"--set {override}"
    return found if name is None else found | {"name": f"--name {shlex.quote(name)}"}


def _read(source: str) -> tuple[str, Path]:
    if source == "-":
        return sys.stdin.read(), current_folder()
    if source.startswith(_RECIPE):
        return recipe_text(source.removeprefix(_RECIPE)), current_folder()
    path = resolved(source)
    try:
        return path.read_text("utf-8"), path.parent
    except UnicodeDecodeError as cause:
        raise UsageError(f"{source} is not text; a spec is YAML or JSON, such as examples/demo/teacher.yaml") from cause
    except OSError as cause:
        raise UsageError(
            f"cannot read {source}: {cause.strerror}; give the path of a spec file, or - for stdin"
        ) from cause


def _parse(text: str, source: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The document, and the line of every field in it."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecFileError(f"{source}{where}: {cause.problem or cause}; this is neither YAML nor JSON") from cause
    except yaml.YAMLError as cause:
        raise SpecFileError(f"{source}: {cause}; this is neither YAML nor JSON") from cause
    if not isinstance(root, yaml.MappingNode) or not isinstance(document, dict):
        raise SpecFileError(f"{source} holds no job; a spec begins with `kind:` train, distill, evaluate or sweep")
    lines: dict[str, int] = {}
    _note_lines(root, "", lines, source)
    return document, lines


def _note_lines(node: yaml.Node, path: str, lines: dict[str, int], source: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            field = f"{path}.{key.value}" if path else str(key.value)
            line = key.start_mark.line + 1
            # YAML lets a second value silently win, and the run would train something else than the eye sees first.
            if field in lines:
                raise SpecFileError(f"{source}: {field} stands on line {lines[field]} and again on {line}; keep one")
            lines[field] = line
            _note_lines(value, field, lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, f"{path}.{index}", lines, source)


def _place(reason: ProblemReason) -> str:
    """The field at fault; an unknown kind of job has none in the refusal."""
    return "kind" if not reason.loc and reason.code.startswith("union_tag") else reason.loc


def _origin(path: str, lines: Mapping[str, int], options: Mapping[str, str]) -> dict[str, JsonValue]:
    """Where a field's value was written: the option that set it, else its line and the options that set parts of it.

    A missing field has no line of its own: that of the nearest field around it stands for it.
    """
    inside: list[JsonValue] = [said for field, said in options.items() if field.startswith(f"{path}.")]
    # An option replaces all that the file has below its field, so the file's lines there no longer count.
    for field in _around(path):
        if field in options:
            return {"line": None, "options": [options[field]]}
    line = next((lines[field] for field in _around(path) if field in lines), None)
    return {"line": line, "options": inside}


def _around(path: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _value(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise UsageError(f"--set {override}: {text!r} is not a YAML value; put quotes around it") from cause


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    space = document.get("space")
    if path.startswith("space.") and isinstance(space, dict):
        _put_dimension(space, path.removeprefix("space."), value)
        return
    *parents, last = path.split(".")
    place: Any = document
    for parent in parents:
        if isinstance(place, list) and parent.isdigit() and int(parent) < len(place):
            place = place[int(parent)]
            continue
        if not isinstance(place, dict):
            break
        if not isinstance(place.get(parent), dict | list):
            place[parent] = {}
        place = place[parent]
    if isinstance(place, list) and last.isdigit() and int(last) < len(place):
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise UsageError(f"--set {path}: there is no such place in the spec; `fgd show` prints a whole one")


def _put_dimension(space: dict[str, Any], path: str, value: Any) -> None:
    """The keys of a space are paths themselves: `method.alpha.high` is the upper end of `method.alpha`."""
    known = [field for field in space if path == field or path.startswith(f"{field}.")]
    field = max(known, key=len, default=path)
    if field != path and isinstance(space[field], dict):
        _put(space[field], path.removeprefix(f"{field}."), value)
    elif value is None:
        space.pop(field, None)
    else:
        space[path] = value


def _make_absolute(document: dict[str, Any], folder: Path) -> None:
    base = document.get("base")
    if document.get("kind") == "sweep" and isinstance(base, dict):
        _make_absolute(base, folder)
        return
    for path in _PATHS:
        *parents, last = path.split(".")
        place: Any = document
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if isinstance(place, dict) and isinstance(place.get(last), str) and _is_path(last, place[last]):
            place[last] = str((folder / expanded(place[last])).resolve())


def _is_path(field: str, value: str) -> bool:
    if value.startswith("job:") or "://" in value or is_torchvision_name(value):
        return False
    if field == "weights":
        return "/" in value or value.endswith(_WEIGHTS_SUFFIXES)
    return bool(value)
