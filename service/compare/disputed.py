"""Finds the images of a split on which several runs disagree."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fgd_core.spec.disputed_images import DisputedImage, DisputedImages
from fgd_core.spec.views import ProblemReason
from fgd_core.spec.worst_images import ImagePanel, ShownBox, judged
from service.compare.detections import FoundObjects, read


class RunDetections(NamedTuple):
    """A run and the content of its file `detections.npz`."""

    job_id: str
    name: str
    content: bytes


class _Run(NamedTuple):
    job_id: str
    name: str
    objects: FoundObjects


def disputed_images(runs: Sequence[RunDetections], *, first: int, limit: int) -> DisputedImages:
    """Return a page of the images on which runs disagree, without pictures and without a cursor.

    Runs on other images than those of the first run are left out. On top are the images with the most objects that some
    runs have found and others have missed; among these the ones with the largest difference in false positives.

    Args:
        first: place of the page's first image, from 0.
    """
    usable, left_out = _usable(runs)
    if len(usable) < 2:
        return DisputedImages(items=[], num_images=0, num_disputed=0, left_out=left_out, next_cursor=None)
    ranked = _ranked([run.objects for run in usable])
    return DisputedImages(
        items=[_image(usable, place, number) for place, number in ranked[first : first + limit]],
        num_images=usable[0].objects.image_ids.size,
        num_disputed=len(ranked),
        left_out=left_out,
        next_cursor=None,
    )


def _usable(runs: Sequence[RunDetections]) -> tuple[list[_Run], list[ProblemReason]]:
    usable, left_out = list[_Run](), list[ProblemReason]()
    for job_id, name, content in runs:
        objects = read(content)
        if objects is None:
            code, message = (
                "damaged",
                "has left detections that cannot be read; evaluate its checkpoint, and compare that",
            )
        elif not objects.has_truth:
            code, message = "old", "ran with an older version, which stored no objects; evaluate its checkpoint again"
        elif usable and not _on_same_images(objects, usable[0].objects):
            code, message = "other_data", f"was evaluated on other images than {usable[0].name}"
        else:
            usable.append(_Run(job_id, name, objects))
            continue
        left_out.append(ProblemReason(loc=job_id, code=code, message=f"{name} {message}"))
    return usable, left_out


def _on_same_images(one: FoundObjects, other: FoundObjects) -> bool:
    # The fingerprint comes from the file, which a run wrote: the numbers of images and objects must agree as well.
    return (
        one.fingerprint == other.fingerprint
        and np.array_equal(one.image_ids, other.image_ids)
        and np.array_equal(one.image_of_object(), other.image_of_object())
    )


def _ranked(runs: Sequence[FoundObjects]) -> list[tuple[int, int]]:
    """Return (place, number of disputed objects) of each image on which runs disagree."""
    found = np.stack([run.is_found() for run in runs])  # (R, G)
    is_disputed = found.any(0) & ~found.all(0)
    num_disputed = np.bincount(runs[0].image_of_object()[is_disputed], minlength=runs[0].image_ids.size)
    num_wrong = np.stack([run.num_wrong() for run in runs])  # (R, I)
    spread = num_wrong.max(0) - num_wrong.min(0)
    order = np.lexsort((-spread, -num_disputed))
    return [(int(place), int(num_disputed[place])) for place in order if num_disputed[place] or spread[place]]


def _image(runs: Sequence[_Run], place: int, num_disputed: int) -> DisputedImage:
    objects = runs[0].objects
    width, height = objects.size(place)
    return DisputedImage(
        image_id=int(objects.image_ids[place]),
        file_name=objects.name(place),
        width=width,
        height=height,
        num_disputed=num_disputed,
        jpeg=None,
        picture_url=None,
        panels=[ImagePanel(name=run.name, boxes=_boxes(run.objects, place)) for run in runs],
    )


def _boxes(objects: FoundObjects, place: int) -> list[ShownBox]:
    return [ShownBox.model_validate(box._asdict()) for box in judged(objects.truth(place), objects.found(place))]
