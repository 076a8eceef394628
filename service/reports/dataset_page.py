"""Renders a data set as one HTML file: counts, findings, and samples with their boxes."""

import base64
from collections.abc import Mapping
from datetime import datetime

from fgd_core.spec.datasets import DatasetView
from fgd_core.spec.profiles import Bin
from service.reports.page import as_yaml, policy, style_of, template


def render_dataset(dataset: DatasetView, pictures: Mapping[str, bytes], *, generated_at: datetime) -> str:
    """Render the page. Its security policy forbids every request to the network.

    Args:
        pictures: PNG of drawn samples by split; a split may have none.
    """
    outcome = dataset.outcome
    style = style_of("report.css", "dataset.css")
    return template("dataset.html").render(
        dataset=dataset,
        generated_at=generated_at,
        splits=outcome.splits if outcome is not None else [],
        profiles={profile.split: profile for profile in outcome.profiles} if outcome is not None else {},
        classes=list(dict.fromkeys(name for each in outcome.splits for name in each.boxes_per_category))
        if outcome is not None
        else [],
        pictures={split: base64.b64encode(picture).decode() for split, picture in pictures.items()},
        spec=as_yaml(dataset.data),
        bin_name=bin_name,
        share=share,
        policy=policy(styles=[style]),
        style=style,
    )


def bin_name(found: Bin) -> str:
    """Write the range of a bin: `6–10`, `51 and more`, `3`."""
    if found.last is None:
        return f"{found.first} and more"
    return str(found.first) if found.first == found.last else f"{found.first}–{found.last}"


def share(found: Bin, bins: list[Bin]) -> float:
    """Length of a bar in percent of the longest bar."""
    return 100 * found.count / max(1, *(each.count for each in bins))
