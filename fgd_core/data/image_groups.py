"""Divides the images of a split by an attribute: a key of a COCO file, or a property that every image has."""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np

from fgd_core.data.coco_annotations import objects
from fgd_core.data.coco_file import read_coco
from fgd_core.data.coco_images import read_images
from fgd_core.data.findings import Findings
from fgd_core.data.samples import DetectionDataset
from fgd_core.errors import SpecError
from fgd_core.spec.data import Coco, DataSpec, files_of
from fgd_core.spec.evaluation import Contents, ImageGroups
from fgd_core.spec.refusals import closest
from fgd_core.stopping import stoppable

MAX_VALUES = 10
"""Groups of an attribute without edges."""
_SHOWN = 5
_WHITE = 255
_NO_ATTRIBUTES = ("id", "file_name")

Value: TypeAlias = str | bool | int | float
Values: TypeAlias = Mapping[int, Value]
"""By image id."""


def image_groups(
    data: DataSpec, dataset: DetectionDataset, wanted: Mapping[str, ImageGroups]
) -> dict[str, dict[int, str]]:
    """Return the group of each image by its id, for each wanted attribute; images without a value have no group.

    Args:
        data: where the annotations of the validation split are.
        dataset: the validation split.
    Raises:
        SpecError: no image has the attribute, or its values do not suit the groups.
    """
    if not wanted:
        return {}
    known: dict[str, Callable[[], Values]] = {**_computed(dataset), **_annotated(data)}
    if unknown := sorted(set(wanted) - set(known)):
        raise SpecError(
            f"no image of the validation split has the attribute {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))}",
            attributes=[*unknown],
            known=[*sorted(known)],
        )
    return {name: _grouped(name, known[name](), groups.edges) for name, groups in wanted.items()}


def check_contents(dataset: DetectionDataset, expected: Contents) -> None:
    """Check that a validation split has the classes and images that somebody counts on.

    Raises:
        SpecError: it has not.
    """
    names = [category.name for category in dataset.categories]
    for name in expected.classes:
        if name not in names:
            message = f"the validation split has no class {name!r}; {closest(name, names)}"
            raise SpecError(message, classes=[name], known=[*names])
    image_ids = {sample.image_id for sample in dataset.samples}
    missing = [image_id for image_id in expected.image_ids if image_id not in image_ids]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise SpecError(
            f"the validation split has no image with the id {', '.join(map(str, missing[:_SHOWN]))}{more}; its "
            f"{len(image_ids)} images have ids from {min(image_ids)} to {max(image_ids)}",
            image_ids=[*missing[:_SHOWN]],
        )


def _computed(dataset: DetectionDataset) -> dict[str, Callable[[], Values]]:
    """Return what every data set has."""
    samples = dataset.samples
    return {
        "width": lambda: {each.image_id: each.width for each in samples},
        "height": lambda: {each.image_id: each.height for each in samples},
        "num_boxes": lambda: {each.image_id: int((~each.is_crowd).sum()) for each in samples},
        "brightness": lambda: {
            each.image_id: float(dataset.load_image(index).float().mean()) / _WHITE
            for index, each in enumerate(stoppable(samples))
        },
    }


def _annotated(data: DataSpec) -> dict[str, Callable[[], Values]]:
    """Return the keys of the images in a COCO file whose values are texts, numbers, true or false."""
    files = files_of(data)
    if not isinstance(files, Coco):
        return {}
    content = json.loads(read_coco(Path(files.val.annotations).expanduser()).content)
    entries = objects(content["images"])
    # Ids that are no integers have other numbers in the data set.
    ids = {each.file_name: each.image_id for each in read_images(entries, Findings("drop")).entries}
    values: dict[str, dict[int, Value]] = {}
    for entry in entries:
        image_id = ids.get(str(entry.get("file_name")))
        for key, value in entry.items():
            if image_id is not None and key not in _NO_ATTRIBUTES and _is_value(value):
                values.setdefault(key, {})[image_id] = value
    return {key: partial(values.__getitem__, key) for key in values}


def _is_value(value: object) -> TypeGuard[Value]:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) or (isinstance(value, str) and bool(value.strip()))


def _grouped(name: str, values: Values, edges: Sequence[float]) -> dict[int, str]:
    numbers = {each: value for each, value in values.items() if not isinstance(value, str | bool)}
    if edges:
        if other := sorted(str(values[each]) for each in {*values} - {*numbers}):
            raise SpecError(
                f"the attribute {name} has edges, and its value {other[0]!r} is not a number; leave out the edges",
                attribute=name,
            )
        ranges = [f"below {edges[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(edges))]
        ranges.append(f"{edges[-1]:g} or more")
        return {each: ranges[bisect_right(edges, value)] for each, value in numbers.items()}
    groups = {each: _text(value) for each, value in values.items()}
    distinct = sorted({*groups.values()})
    if len(distinct) > MAX_VALUES:
        cure = "choose an attribute with fewer"
        if len(numbers) == len(values):
            quartiles = np.unique(np.quantile([*numbers.values()], (0.25, 0.5, 0.75)))
            cure = f"set its edges; its quartiles are {', '.join(f'{each:.4g}' for each in quartiles)}"
        raise SpecError(
            f"the attribute {name} has {len(distinct)} different values, and the limit is {MAX_VALUES}, for example "
            f"{', '.join(distinct[:_SHOWN])}; {cure}",
            attribute=name,
            num_values=len(distinct),
        )
    return groups


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
