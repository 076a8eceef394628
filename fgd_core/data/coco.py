"""Any data set in COCO format, checked at opening."""

from pathlib import Path

from fgd_core.data.coco_file import read_annotations
from fgd_core.data.findings import Findings
from fgd_core.data.listed import ListedDataset
from fgd_core.data.samples import Split
from fgd_core.errors import DataError
from fgd_core.spec import data as spec


class CocoDataset(ListedDataset):
    """See `DetectionDataset`."""

    def __init__(self, coco: spec.Coco, split: Split, *, with_masks: bool = False) -> None:
        """
        Args:
            with_masks: read the objects' masks too, at some 25 µs an object.
        Raises:
            DataError: a file or folder is missing, or the file is not in COCO format.
        """
        part, other = (coco.train, coco.val) if split == "train" else (coco.val, coco.train)
        folder = Path(part.images).expanduser()
        findings = Findings(coco.on_bad)
        listed = read_annotations(
            Path(part.annotations).expanduser(),
            findings,
            with_masks=with_masks,
            other=Path(other.annotations).expanduser(),
        )
        if not folder.is_dir():
            raise DataError(f"there is no such images folder; correct data.{split}.images", path=str(folder))
        super().__init__(listed, findings, split=split, images_folder=folder, source=part.annotations)
