"""The classes of data that no check knows yet: the server reads them itself, where it may."""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from control_plane import ControlPlane
from pydantic import TypeAdapter
from test_studies import gain_spec

from fgd_core.spec.data import DataSpec
from service.api.data_classes import classes_in_files
from service.jobs.admission_facts import Facts
from service.jobs.confinement import Places
from service.settings import Settings

pytestmark = pytest.mark.one_database
DATA: TypeAdapter[DataSpec] = TypeAdapter(DataSpec)
CELLS = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "RBC"}, {"id": 2, "name": " Platelets"}]}


def coco(folder: Path, content: str = json.dumps(CELLS)) -> dict[str, Any]:
    path = folder / "val.json"
    path.write_text(content)
    split = {"images": str(folder), "annotations": str(path)}
    return {"type": "coco", "train": split, "val": split}


async def classes_of(data: dict[str, Any], root: Path, **changes: Any) -> list[str]:
    facts = Facts(**{"paths": {}, "places": Places(roots=[PurePosixPath(root)])} | changes)
    return [*await classes_in_files(DATA.validate_python(data), facts)]


@pytest.mark.parametrize("indent", [None, 2])
async def test_coco_files_name_their_classes(tmp_path: Path, indent: int | None) -> None:
    assert await classes_of(coco(tmp_path, json.dumps(CELLS, indent=indent)), tmp_path) == ["RBC", "Platelets"]


@pytest.mark.parametrize("names", ["[cat, 7]", "{0: cat, 4: 7}"])
async def test_yolo_files_name_their_classes(tmp_path: Path, names: str) -> None:
    (tmp_path / "data.yaml").write_text(f"names: {names}\ntrain: a\nval: b\n")
    assert await classes_of({"type": "yolo", "data_yaml": f"{tmp_path}/data.yaml"}, tmp_path) == ["cat", "7"]


async def test_voc_data_has_the_classes_that_the_spec_names(tmp_path: Path) -> None:
    data = {"type": "voc", "folder": str(tmp_path)}
    assert await classes_of(data | {"classes": ["dog"]}, tmp_path, paths=None) == ["dog"]
    assert await classes_of(data, tmp_path) == []


@pytest.mark.parametrize(
    "content",
    ["", '{"categories": [', '{"categories": [{"id": 1}]}', '{"a": {"categories": []}, "categories": [{"name": "x"}]}'],
)
async def test_an_unusual_file_is_left_to_the_run(tmp_path: Path, content: str) -> None:
    assert await classes_of(coco(tmp_path, content), tmp_path) == []


async def test_no_file_is_read_that_a_job_may_not_read(tmp_path: Path) -> None:
    inside = tmp_path / "data"
    inside.mkdir()
    data = coco(tmp_path)
    assert await classes_of(data, inside) == []
    (inside / "link.json").symlink_to(tmp_path / "val.json")
    data["val"] = {"images": str(inside), "annotations": f"{inside}/link.json"}
    assert await classes_of(data, inside) == []
    assert await classes_of(data, tmp_path, paths=None) == []
    os.mkfifo(inside / "pipe")
    data["val"] = {"images": str(inside), "annotations": f"{inside}/pipe"}
    assert await classes_of(data, inside) == []


async def test_a_study_of_a_misspelt_class_is_refused_at_its_submission(
    plane: ControlPlane, settings: Settings, tmp_path: Path
) -> None:
    local = ControlPlane(settings.model_copy(update={"local_cluster": True}), plane.cluster, plane.clock)
    groups = {"cells": {"rare": {"classes": ["Plateletts"]}, "other": {"classes": ["RBC"]}}}
    spec = gain_spec(data=coco(tmp_path)) | {"study": {"type": "left_over", "groups": groups}}
    answer = await local.http.post("/v1/jobs", json=spec)
    reasons = {each["loc"]: each["message"] for each in answer.json()["reasons"]}
    message = "the data of the base has no class 'Plateletts'; did you mean 'Platelets'?"
    assert reasons["study.groups.cells.rare.classes"] == message
    await local.close()
