"""Writes what a comparison needs from an evaluation, so that any resample of the images can be scored without boxes.

The file is one .npz, read by `fgd_core.statistics.evidence`. K classes, I images, D detections, four area ranges, ten
overlaps (IoU 0.50 to 0.95):

    version, fingerprint, class_names (K,), image_ids (I,), areas (4,), overlaps (10,)
    starts (K + 1,)                  rows starts[k] to starts[k + 1] are the detections of class k, best first
    image (D,), score (D,)           image as an index into image_ids
    truth (D,)                       number of the true box that is found at IoU 0.5, or -1; older files lack it
    right (D, 5), ignored (D, 5)     40 bits a row: area by area, overlap by overlap. Neither bit: a false positive
    groups                           optional: JSON of {attribute: (I,) the group of each image, or null}
    truth_starts (K + 1,)            like `starts`, for the images in which class k has true boxes:
    truth_image (G,), truth_count (G, 4)    the number of true boxes that count, for each area range

Before compression a detection takes 20 bytes and an image of a class 12: at most 10.2 MB for COCO's 5,000 images with
100 detections each, about 3 MB compressed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from fgd_core.evaluation.coco import Evaluation
from fgd_core.evaluation.columns import Flags
from fgd_core.evaluation.matches import AREAS, OVERLAPS, Matches
from fgd_core.spec.comparison import EVIDENCE, EVIDENCE_VERSION
from fgd_core.spec.events import ArtifactSaved
from fgd_core.statistics.evidence import Evidence
from fgd_core.storage import write_atomically


def write_evidence(
    evaluation: Evaluation,
    *,
    fingerprint: str,
    class_names: Sequence[str],
    folder: Path,
    groups: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
) -> ArtifactSaved:
    """Write the evidence file of an evaluation into `folder`.

    Args:
        fingerprint: of the data set; only runs on the same data set can be compared.
        class_names: in the order of labels.
        groups: by attribute, the group of each image id that has one.
    Raises:
        StorageError: the file could not be written.
    """
    arrays = _arrays(evaluation.matches, fingerprint, class_names)
    if groups:
        image_ids = arrays["image_ids"].tolist()
        listed = {name: [of_image.get(each) for each in image_ids] for name, of_image in groups.items()}
        arrays["groups"] = np.array(json.dumps(listed))
    written = write_atomically(folder / EVIDENCE, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
    return written.artifact("application/octet-stream")


def evidence_of(evaluation: Evaluation, *, fingerprint: str, class_names: Sequence[str]) -> Evidence:
    """Return what the file of an evaluation would hold; arguments as of `write_evidence`."""
    return Evidence(_arrays(evaluation.matches, fingerprint, class_names))


def _arrays(matches: Matches, fingerprint: str, class_names: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
    of_image = np.uint16 if len(matches.image_ids) <= np.iinfo(np.uint16).max else np.uint32
    return {
        "version": np.array(EVIDENCE_VERSION),
        "fingerprint": np.array(fingerprint),
        "class_names": np.array(class_names, dtype=np.str_),
        "image_ids": matches.image_ids,
        "areas": np.array(AREAS, dtype=np.str_),
        "overlaps": OVERLAPS,
        "starts": matches.starts,
        "image": matches.image.astype(of_image),
        "score": matches.scores.astype(np.float32),
        "truth": matches.truth.astype(np.int32),
        "right": _packed(matches.is_right),
        "ignored": _packed(matches.is_ignored),
        "truth_starts": matches.truth_starts,
        "truth_image": matches.truth_image.astype(of_image),
        "truth_count": matches.truth_count.astype(np.uint16),
    }


def _packed(bits: Flags) -> npt.NDArray[np.uint8]:
    """Pack flags (D, A, T) into (D, A * T / 8) bytes."""
    return np.packbits(bits.reshape(len(bits), bits.shape[1] * bits.shape[2]), axis=1)
