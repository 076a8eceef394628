"""Reads and checks the names of keypoints in the categories of a COCO file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fgd_core.data.coco_values import Fields, IdNumbers, read_id, read_text, show_fields
from fgd_core.data.findings import Findings
from fgd_core.data.samples import Category


def with_keypoint_names(
    categories: Sequence[Category], numbers: IdNumbers, entries: Sequence[Fields], findings: Findings
) -> tuple[Category, ...]:
    """Add the names of their keypoints to categories; all categories that have keypoints must have the same.

    Args:
        numbers: of the ids in the file.
        entries: the categories in the file, of which `categories` are the valid ones.
    """
    named: dict[int, tuple[str, ...]] = {}
    for entry in entries:
        category_id = read_id(entry.get("id"), set())
        if category_id is not None:
            named.setdefault(numbers.number_of(category_id), _names(entry, findings))
    _report_differences(categories, named, findings)
    return tuple(replace(category, keypoints=named.get(category.id, ())) for category in categories)


def _names(entry: Fields, findings: Findings) -> tuple[str, ...]:
    """Return the names of the keypoints of a category; empty if it has none or they are malformed."""
    listed = entry.get("keypoints")
    if listed in (None, []):
        return ()
    names = [read_text(name) for name in listed] if isinstance(listed, list) else [None]
    known = tuple(name for name in names if name is not None)
    if len(set(known)) != len(names):
        findings.add("malformed_keypoint_names", f"category {show_fields(entry, 'id', 'keypoints')}")
        return ()
    if not _is_skeleton(entry.get("skeleton"), len(known)):
        findings.add("malformed_skeleton", f"category {show_fields(entry, 'id', 'skeleton')}")
    return known


def _is_skeleton(value: object, num_keypoints: int) -> bool:
    """Return whether a skeleton is absent, or consists of pairs of numbers from 1 to `num_keypoints`."""
    if value is None:
        return True
    return isinstance(value, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(end) is int and 1 <= end <= num_keypoints for end in pair)
        for pair in value
    )


def _report_differences(
    categories: Sequence[Category], named: Mapping[int, tuple[str, ...]], findings: Findings
) -> None:
    having = [category for category in categories if named.get(category.id)]
    for category in having[1:]:
        if named[category.id] != named[having[0].id]:
            findings.add("differing_keypoint_names", f"{category.name} and {having[0].name}")
