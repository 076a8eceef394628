"""Opens a folder of images without labels, and keeps validation and training images out of it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from fgd_core import confined
from fgd_core.data.annotations import Annotations, ImageEntry, object_table
from fgd_core.data.file_dataset import Contents, FileDataset, join_contents
from fgd_core.data.file_states import file_states
from fgd_core.data.findings import NUM_EXAMPLES, Findings, refusal_of
from fgd_core.data.folders import images_below
from fgd_core.data.samples import DetectionDataset
from fgd_core.data.usable_images import usable_images
from fgd_core.errors import DataError
from fgd_core.spec.events import PoolChecked
from fgd_core.spec.pool import PoolFolder
from fgd_core.stopping import stoppable

_CHECK_EVERY = 64
"""Files that are read before the run checks whether it should stop."""


class Pool:
    """Implements `DetectionDataset` for images without labels: it has the classes of the labelled data and no objects.

    Args:
        train, val: the splits of the labelled data. Files of the same bytes are the same image, whatever their names.
    Raises:
        DataError: the folder does not exist or has no images, or some images are bad or in the validation split and
            `folder.on_bad` is `refuse`; the error names them.
    """

    refusal = None

    def __init__(self, folder: PoolFolder, train: DetectionDataset, val: DetectionDataset) -> None:
        root = Path(folder.images).expanduser()
        if not root.is_dir():
            raise DataError("the folder of the pool does not exist; correct data.pool.images", path=str(root))
        names = [str(path.relative_to(root)) for path in images_below(root)]
        if not names:
            raise DataError("the folder of the pool has no images; correct data.pool.images", path=str(root))
        findings = Findings(folder.on_bad)
        for split, dataset in (("val", val), ("train", train)):
            shared = _also_in(root, names, dataset)
            findings.add_many(f"pool_image_in_{split}", sorted(shared)[:NUM_EXAMPLES], count=len(shared))
            names = [name for name in names if name not in shared]
        contents = _contents(root, names, train, findings)
        refusal = refusal_of(
            contents.checked.findings,
            f"the pool in {root}",
            missing=None if contents.samples else "the pool has no images",
            on_bad="data.pool.on_bad",
        )
        if refusal is not None:
            raise refusal
        # It reads the images; that it misses boxes does not matter here.
        self._files = FileDataset(contents, images_folder=root, source=str(root))
        self.categories, self.samples, self.checked = contents.categories, contents.samples, contents.checked
        self.fingerprint = contents.checked.fingerprint

    @property
    def event(self) -> PoolChecked:
        """What was found, for the user."""
        return PoolChecked(
            num_images=len(self.samples), findings=self.checked.findings, fingerprint=self.checked.fingerprint
        )

    def load_image(self, index: int) -> Tensor:
        """Return an image as (3, H, W) uint8 RGB; see `DetectionDataset`."""
        return self._files.load_image(index)


def _contents(root: Path, names: Sequence[str], train: DetectionDataset, findings: Findings) -> Contents:
    entries = [ImageEntry(number, name, None) for number, name in enumerate(names)]
    annotations = Annotations(
        categories=train.categories,
        images=entries,
        listed_ids=frozenset(range(len(entries))),
        objects=object_table([]),
        # Otherwise each image without an annotated size would be a finding.
        is_normalised=True,
    )
    return join_contents(annotations, usable_images(annotations, root, findings), findings, split="train")


def _also_in(root: Path, names: Sequence[str], dataset: DetectionDataset) -> set[str]:
    """Return the files of a pool that have the bytes of an image of a split. Only files of equal size are read."""
    if not isinstance(dataset, FileDataset):
        return set()  # Its images are drawn and have no files.
    others = [sample.file_name for sample in dataset.samples]
    own_bytes, other_bytes = (file_states(*each)[:, 0] for each in ((root, names), (dataset.folder, others)))
    like_own, like_other = np.isin(other_bytes, own_bytes), np.isin(own_bytes, other_bytes)
    shown = stoppable(np.flatnonzero(like_own).tolist(), every=_CHECK_EVERY)
    known = {_digest(dataset.folder / others[index]) for index in shown} - {None}
    return {
        names[index]
        for index in stoppable(np.flatnonzero(like_other).tolist(), every=_CHECK_EVERY)
        if _digest(root / names[index]) in known
    }


def _digest(path: Path) -> bytes | None:
    """Return the SHA-256 of a file; None if it cannot be read, which is a finding of its own."""
    try:
        with confined.opened(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
