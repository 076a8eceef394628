"""`fgd data add`"""

from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from fgd_core.spec.datasets import NewDataset
from service.client.client import FgdClient
from service.client.commands.data_check import check_and_show
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.errors import UsageError
from service.client.places import resolved

_PLACES = ("images", "annotations", "folder", "data_yaml", "root")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="By which jobs will name it.")],
    *,
    coco: Annotated[
        tuple[str, str, str, str] | None,
        typer.Option(
            "--coco", metavar="IMAGES ANNOTATIONS IMAGES ANNOTATIONS", help="COCO: for training, to score on."
        ),
    ] = None,
    voc: Annotated[
        str | None, typer.Option("--voc", metavar="DIR", help="The folder with Annotations, JPEGImages and ImageSets.")
    ] = None,
    yolo: Annotated[str | None, typer.Option("--yolo", metavar="FILE", help="The data.yaml.")] = None,
    train: Annotated[
        str | None, typer.Option("--train", metavar="WORD", help="Image set of VOC, or entry of data.yaml.")
    ] = None,
    val: Annotated[str | None, typer.Option("--val", metavar="WORD", help="The same, to score on.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any other setting: `--set on_bad=drop`. Repeatable."),
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="Whose it is.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Look through it at once, and wait for it.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Give a data set a name. Its files stay where they are; runs must reach them under the same paths.

    `fgd catalogue voc`, `coco` and `yolo` list the settings of each format.

    **Examples**

    `fgd data add blood --coco train/ train.json val/ val.json --check`

    `fgd data add voc07 --voc VOCdevkit/VOC2007 --train trainval --val test`

    `fgd data add hats --yolo hats/data.yaml --set on_bad=drop`
    """
    data = _data(coco, voc, yolo)
    data |= {field: value for field, value in (("train", train), ("val", val)) if value is not None}
    for setting in settings or ():
        field, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting} sets nothing; write --set field=value, as in --set on_bad=drop")
        data[field] = _value(setting, value)
    asked = _asked(name, _absolute(data), project)
    with FgdClient(server) as client:
        made = client.datasets.add(asked.name, asked.data, project=asked.project)
        if check:
            check_and_show(client, made.dataset_id, None, as_json=as_json)
        elif as_json:
            print_json(made.model_dump(mode="json"))
        else:
            output().print(f"{made.name} {made.dataset_id} is added", markup=False)
            output().print(f"  look through it: fgd data check {made.name}", style="dim")


def _data(coco: tuple[str, str, str, str] | None, voc: str | None, yolo: str | None) -> dict[str, Any]:
    given: list[dict[str, Any]] = []
    if coco is not None:
        train, val = ({"images": coco[at], "annotations": coco[at + 1]} for at in (0, 2))
        given.append({"type": "coco", "train": train, "val": val})
    if voc is not None:
        given.append({"type": "voc", "folder": voc})
    if yolo is not None:
        given.append({"type": "yolo", "data_yaml": yolo})
    if len(given) != 1:
        raise UsageError("say where the data lies: one of --coco, --voc and --yolo")
    return given[0]


def _value(setting: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise UsageError(f"--set {setting}: {text!r} is not a YAML value; put quotes around it") from cause


def _absolute(data: dict[str, Any]) -> dict[str, Any]:
    """Places seen from here, for the server does not know from where."""
    found = dict(data)
    for field, value in data.items():
        if isinstance(value, dict):
            found[field] = _absolute(value)
        elif field in _PLACES and isinstance(value, str) and "://" not in value:
            found[field] = str(resolved(value))
    return found


def _asked(name: str, data: dict[str, Any], project: str | None) -> NewDataset:
    try:
        return NewDataset.model_validate({"name": name, "data": data, "project": project})
    except ValidationError as cause:
        faults = cause.errors(include_url=False)
        raise UsageError(f"this is no data set: {'; '.join(map(_said, faults))}") from cause


def _said(fault: Any) -> str:
    where = ".".join(map(str, fault["loc"]))
    if where == "name" and fault["type"] == "string_pattern_mismatch":
        return (
            f"name {fault['input']!r}: begin with a letter or a digit, and use letters, digits, '.', '_' and '-' alone"
        )
    return f"{where} {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
