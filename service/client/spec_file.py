"""Reads a YAML or JSON file as a job's spec: applies overrides, resolves paths, and finds the line of each fault."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import yaml
from pydantic import JsonValue, ValidationError

from fgd_core.errors import FgdError
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.pretrained import is_torchvision_name
from fgd_core.spec.refusals import spec_reasons
from fgd_core.spec.views import ProblemReason
from service.catalogue.recipes import recipe_text
from service.client.errors import SpecFileError, UsageError
from service.client.paths import current_folder, expanded, resolved

Document: TypeAlias = dict[str, JsonValue]

# Fields that may hold a path; `*` is any name or index. A checkpoint may also be `job:<id>/best`, and weights may be a
# name.
_PATHS = (
    *(f"data.{split}.{kind}" for split in ("train", "val") for kind in ("images", "annotations")),
    *("folder", "data.folder", "data.data_yaml", "data.root", "data.pictures.*.train", "data.pictures.*.val"),
    "data.pool.images",
    *("checkpoint", "teacher.checkpoint", "more_teachers.*.checkpoint", "detector.weights", "student.weights"),
)
_RECIPE = "recipe:"
_WEIGHTS_SUFFIXES = (".pt", ".pth")


def read_spec(
    source: str, *, overrides: Sequence[str] = (), name: str | None = None, under: Path | None = None
) -> JobSpec:
    """Read a job.

    Args:
        source: the path of a file, `-` for standard input, or `recipe:<name>`.
        overrides: `path=value` with the value in YAML: `training.epochs=3`.
        name: replaces the job's name.
        under: the folder from which relative paths in the file start; default: the file's folder, or the current folder
            for standard input and recipes. Relative paths in `overrides` start from the current folder.
    Returns:
        A valid spec with absolute paths.
    Raises:
        UsageError: the file cannot be read, or an override is malformed.
        NotFoundError: no recipe has this name.
        SpecFileError: the file is not a valid job; `reasons` holds every fault with its path and, if known, its line.
    """
    text, folder = _read(source)
    title = "standard input" if source == "-" else source
    document, lines = _parse(text, title)
    _make_absolute(document, resolved(under) if under is not None else folder)
    return changed(document, title, overrides=overrides, name=name, lines=lines)


def changed(
    document: Document,
    source: str,
    *,
    overrides: Sequence[str],
    name: str | None,
    lines: Mapping[str, int] | None = None,
) -> JobSpec:
    """Apply changes to a document, and return it as a job; raises as `read_spec` does.

    Args:
        source: the name of the document in errors.
        lines: the line of each field, if the document comes from a file.
    """
    options = _options(overrides, name)
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals or not path:
            raise UsageError(f"--set {override} has no value; write --set path=value, as in --set training.epochs=3")
        _put(document, path, yaml_value(value, option=f"--set {override}"))
    if name is not None:
        document["name"] = name
    _make_absolute(document, current_folder())
    try:
        return JOB_SPEC.validate_python(document)
    except ValidationError as cause:
        reasons: list[JsonValue] = [
            {**reason.model_dump(), **_origin(_field(reason), lines or {}, options)} for reason in spec_reasons(cause)
        ]
        fault = "a fault" if len(reasons) == 1 else f"{len(reasons)} faults"
        changes = " with the changes of the command" if options else ""
        raise SpecFileError(f"{source}{changes} has {fault}; nothing was submitted", reasons=reasons) from cause


def yaml_value(text: str, *, option: str) -> JsonValue:
    """Read the value of an option as YAML.

    Args:
        option: the option as the user wrote it, for the error.
    Raises:
        UsageError: the text is not YAML.
    """
    try:
        value: JsonValue = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise UsageError(f"{option}: {text!r} is not a YAML value; put quotes around it") from cause
    return value


def locate(refusal: FgdError, source: str, *, overrides: Sequence[str], name: str | None) -> None:
    """Add to each reason of a server's refusal the line or the option that set the value."""
    reasons = refusal.details.get("reasons")
    if not isinstance(reasons, list):
        return
    # Standard input can be read only once.
    lines = _parse(_read(source)[0], source)[1] if source != "-" else {}
    options = _options(overrides, name)
    refusal.details["reasons"] = [
        {**reason, **_origin(str(reason.get("loc")), lines, options)} if isinstance(reason, dict) else reason
        for reason in reasons
    ]


def _options(overrides: Sequence[str], name: str | None) -> dict[str, str]:
    """Return the option that set each field; an option replaces what earlier ones set inside its field."""
    found: dict[str, str] = {}
    for override in overrides:
        path = override.partition("=")[0]
        found = {field: option for field, option in found.items() if not field.startswith(f"{path}.")}
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
        raise UsageError(
            f"{source} is not a text file; a spec is YAML or JSON, such as examples/demo/teacher.yaml"
        ) from cause
    except OSError as cause:
        raise UsageError(
            f"cannot read {source}: {cause.strerror}; give the path of a spec file, or - for standard input"
        ) from cause


def _parse(text: str, source: str) -> tuple[Document, dict[str, int]]:
    """Return the document, and the line of every field in it."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecFileError(f"{source}{where}: {cause.problem or cause}; the file is neither YAML nor JSON") from cause
    except yaml.YAMLError as cause:
        raise SpecFileError(f"{source}: {cause}; the file is neither YAML nor JSON") from cause
    if not isinstance(root, yaml.MappingNode) or not isinstance(document, dict):
        raise SpecFileError(
            f"{source} has no job; a spec begins with `kind:` train, distill, chain, evaluate, sweep or study"
        )
    lines: dict[str, int] = {}
    _collect_lines(root, "", lines, source)
    return document, lines


def _collect_lines(node: yaml.Node, path: str, lines: dict[str, int], source: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            field = f"{path}.{key.value}" if path else str(key.value)
            line = key.start_mark.line + 1
            # In YAML a later value silently replaces an earlier one; a reader may see only the first one.
            if field in lines:
                raise SpecFileError(
                    f"{source}: {field} is on line {lines[field]} and again on line {line}; keep one of them"
                )
            lines[field] = line
            _collect_lines(value, field, lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, f"{path}.{index}", lines, source)


def _field(reason: ProblemReason) -> str:
    """Return the field at fault; the refusal of an unknown kind of job names no field."""
    return "kind" if not reason.loc and reason.code.startswith("union_tag") else reason.loc


def _origin(path: str, lines: Mapping[str, int], options: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return where a field's value was set: the option, or else its line and the options that set parts of it.

    A missing field has no line; it gets the line of the nearest field around it.
    """
    inside: list[JsonValue] = [option for field, option in options.items() if field.startswith(f"{path}.")]
    # An option replaces everything inside its field, so the lines of the file are no longer valid there.
    for field in _around(path):
        if field in options:
            return {"line": None, "options": [options[field]]}
    line = next((lines[field] for field in _around(path) if field in lines), None)
    return {"line": line, "options": inside}


def _around(path: str) -> Iterator[str]:
    """Yield `a.b.c`, `a.b` and `a` for `a.b.c`."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _put(document: Document, path: str, value: JsonValue) -> None:
    """Set the field at `path`, and create the fields around it."""
    space = document.get("space")
    if path.startswith("space.") and isinstance(space, dict):
        _put_dimension(space, path.removeprefix("space."), value)
        return
    *parents, last = path.split(".")
    target: JsonValue = document
    for parent in parents:
        if isinstance(target, list) and parent.isdigit() and int(parent) < len(target):
            target = target[int(parent)]
            continue
        if not isinstance(target, dict):
            break
        if not isinstance(target.get(parent), dict | list):
            target[parent] = {}
        target = target[parent]
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise UsageError(f"--set {path}: the spec has no such field; `fgd show` prints a complete spec")


def _put_dimension(space: Document, path: str, value: JsonValue) -> None:
    """Set a field of a space. Its keys are paths: `method.alpha.high` is the upper end of `method.alpha`."""
    known = [field for field in space if path == field or path.startswith(f"{field}.")]
    field = max(known, key=len, default=path)
    dimension = space.get(field)
    if field != path and isinstance(dimension, dict):
        _put(dimension, path.removeprefix(f"{field}."), value)
    elif value is None:
        space.pop(field, None)
    else:
        space[path] = value


def _make_absolute(document: Document, folder: Path) -> None:
    base = document.get("base")
    if document.get("kind") in ("sweep", "study") and isinstance(base, dict):
        _make_absolute(base, folder)
        return
    stages = document.get("stages")
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, dict):
            _make_absolute(stage, folder)
    for path in _PATHS:
        *parents, last = path.split(".")
        for target in _parts(document, parents):
            value = target.get(last)
            if isinstance(value, str) and _is_path(last, value):
                target[last] = str((folder / expanded(value)).resolve())


def _parts(document: JsonValue, names: Sequence[str]) -> Iterator[Document]:
    """Yield the parts of a document at a path in which `*` stands for any name or index."""
    if not names:
        if isinstance(document, dict):
            yield document
        return
    name, *rest = names
    inner: list[JsonValue] = []
    if isinstance(document, dict):
        inner = [*document.values()] if name == "*" else [document.get(name)]
    elif isinstance(document, list) and name == "*":
        inner = document
    for each in inner:
        yield from _parts(each, rest)


def _is_path(field: str, value: str) -> bool:
    if value.startswith("job:") or "://" in value or is_torchvision_name(value):
        return False
    if field == "weights":
        return "/" in value or value.endswith(_WEIGHTS_SUFFIXES)
    return bool(value)
