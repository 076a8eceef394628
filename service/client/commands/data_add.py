"""`fgd data add`"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails
from typer import Argument, Option

from fgd_core.spec.datasets import NewDataset
from service.client.client import FgdClient
from service.client.commands.data_check import check_and_show
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.errors import UsageError
from service.client.exits import guarded
from service.client.paths import resolved
from service.client.spec_file import yaml_value

_PATHS = ("images", "annotations", "folder", "data_yaml", "root")
_FOLDERS_OF_PICTURES = ("train", "val")


@guarded
def add(
    name: Annotated[str, Argument(metavar="NAME", help="The name that jobs will use.")],
    *,
    coco: Annotated[
        tuple[str, str, str, str] | None,
        Option(
            metavar="IMAGES ANNOTATIONS IMAGES ANNOTATIONS",
            help="COCO: images and annotations for training, then for validation.",
        ),
    ] = None,
    voc: Annotated[
        str | None, Option(metavar="DIR", help="VOC: the folder with Annotations, JPEGImages and ImageSets.")
    ] = None,
    yolo: Annotated[str | None, Option(metavar="FILE", help="YOLO: the file data.yaml.")] = None,
    train: Annotated[
        str | None, Option(metavar="NAME", help="Image set (VOC) or entry of data.yaml for training.")
    ] = None,
    val: Annotated[str | None, Option(metavar="NAME", help="The same, for validation.")] = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="FIELD=VALUE", help="Set another field: `--set on_bad=drop`. Repeatable."),
    ] = None,
    project: Annotated[str | None, Option(metavar="NAME", help="The project that the data set belongs to.")] = None,
    check: Annotated[bool, Option("--check", help="Check the data set at once, and wait for the result.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Register a data set under a name. Its files stay where they are; runs must find them at the same paths.

    `fgd catalogue voc`, `fgd catalogue coco` and `fgd catalogue yolo` list the settings of each format.

    **Examples**

    `fgd data add blood --coco train/ train.json val/ val.json --check`

    `fgd data add voc07 --voc VOCdevkit/VOC2007 --train trainval --val test`

    `fgd data add hats --yolo hats/data.yaml --set on_bad=drop`

    `fgd data add rooms --yolo rooms/data.yaml --set 'pictures={depth: {train: depth/train, val: depth/val}}'`
    """
    data = _data(coco, voc, yolo)
    data |= {field: value for field, value in (("train", train), ("val", val)) if value is not None}
    for setting in settings or ():
        field, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting} has no value; write --set field=value, as in --set on_bad=drop")
        data[field] = yaml_value(value, option=f"--set {setting}")
    new = _new_dataset(name, _absolute(data), project)
    with FgdClient(server) as client:
        made = client.datasets.add(new.name, new.data, project=new.project)
        if check:
            check_and_show(client, made.dataset_id, None, as_json=as_json)
        elif as_json:
            print_json(made)
        else:
            output().print(f"added {made.name} {made.dataset_id}", markup=False)
            output().print(f"  check it: fgd data check {made.name}", style="dim")


def _data(coco: tuple[str, str, str, str] | None, voc: str | None, yolo: str | None) -> dict[str, JsonValue]:
    given: list[dict[str, JsonValue]] = []
    if coco is not None:
        train, val = ({"images": coco[i], "annotations": coco[i + 1]} for i in (0, 2))
        given.append({"type": "coco", "train": dict(train), "val": dict(val)})
    if voc is not None:
        given.append({"type": "voc", "folder": voc})
    if yolo is not None:
        given.append({"type": "yolo", "data_yaml": yolo})
    if len(given) != 1:
        raise UsageError("give one of --coco, --voc and --yolo to say where the data is")
    return given[0]


def _absolute(data: Mapping[str, JsonValue], paths: Sequence[str] = _PATHS) -> dict[str, JsonValue]:
    """Make paths absolute: the server does not know the current folder."""
    found = dict(data)
    for field, value in data.items():
        if isinstance(value, dict):
            found[field] = _absolute(value, _FOLDERS_OF_PICTURES if field == "pictures" else paths)
        elif field in paths and isinstance(value, str) and "://" not in value:
            found[field] = str(resolved(value))
    return found


def _new_dataset(name: str, data: Mapping[str, JsonValue], project: str | None) -> NewDataset:
    try:
        return NewDataset.model_validate({"name": name, "data": data, "project": project})
    except ValidationError as cause:
        faults = cause.errors(include_url=False)
        raise UsageError(f"this is not a data set: {'; '.join(map(_describe, faults))}") from cause


def _describe(fault: ErrorDetails) -> str:
    where = ".".join(map(str, fault["loc"]))
    if where == "name" and fault["type"] == "string_pattern_mismatch":
        return (
            f"name {fault['input']!r}: begin with a letter or a digit, and use only letters, digits, '.', '_' and '-'"
        )
    return f"{where} {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
