"""The categories of a COCO file, without a root that stands above them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fgd_core.data.coco_ids import Numbers
from fgd_core.data.coco_values import Id, read_id, read_text, shown
from fgd_core.data.findings import Findings
from fgd_core.data.samples import Category


def read_categories(
    entries: Sequence[Mapping[str, Any]], findings: Findings, is_used: Callable[[Id], bool]
) -> tuple[tuple[Category, ...], Numbers]:
    """The categories in the order of their ids, and the numbers that stand for those.

    Args:
        is_used: whether an annotation has a category of that id.
    """
    by_id: dict[Id, str] = {}
    names: set[str] = set()
    for place, entry in enumerate(entries):
        odd: set[str] = set()
        category_id, name = read_id(entry.get("id"), odd), entry.get("name")
        if isinstance(name, int | float) and not isinstance(name, bool):
            odd.add("category_name_as_number")
            name = str(name)
        name = read_text(name)
        if category_id is None or name is None:
            findings.add("malformed_category", f"categories[{place}]: {shown(entry, 'id', 'name')}")
            if category_id is None:
                continue
            # Its annotations are not to blame.
            name = f"category {category_id}"
        for problem in odd:
            findings.add(problem, f"category {category_id}: {name}")
        if _is_root(category_id, name, entry, entries) and not is_used(category_id):
            findings.add("root_category", f"{category_id}: {name}")
            continue
        if category_id in by_id:
            findings.add("duplicate_category_id", f"{category_id}: {by_id[category_id]}, {name}")
        if name in names:
            findings.add("duplicate_category_name", name)
        by_id.setdefault(category_id, name)
        names.add(name)
    numbers = Numbers(by_id, in_order=True)
    categories = [Category(id=numbers.of(category_id), name=name) for category_id, name in by_id.items()]
    return tuple(sorted(categories, key=lambda category: category.id)), numbers


def _is_root(category_id: Id, name: str, entry: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether it is what Roboflow writes first into every export: a category 0 above all classes."""
    if category_id != 0 or str(entry.get("supercategory")).lower() != "none":
        return False
    return any(other is not entry and name in (other.get("supercategory"), other.get("name")) for other in entries)
