"""Lists the files and folders that a spec names."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from fgd_core.spec.checkpoint_references import checkpoint_sources
from fgd_core.spec.data import Coco, DataSpec, Registered, Voc, Yolo, files_of
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.pretrained import is_torchvision_name

PathKind: TypeAlias = Literal["file", "folder"]


@dataclass(frozen=True)
class NamedPath:
    """A file or folder that a spec names, with its path in the spec."""

    loc: str
    path: str
    kind: PathKind
    may_be_missing: bool = False


def paths(spec: JobSpec) -> list[NamedPath]:
    """List the files and folders that the spec names."""
    prefix, trained = ("base.", spec.base) if isinstance(spec, SweepSpec | StudySpec) else ("", spec)
    found = list(
        data_paths(trained.data, f"{prefix}data", both_splits=not isinstance(trained, EvaluateSpec | ExportSpec))
    )
    if isinstance(spec, EvaluateSpec):
        for name, data in spec.more_data.items():
            found += data_paths(data, f"more_data.{name}", both_splits=False)
    if isinstance(spec, DeriveDataSpec):
        found.append(NamedPath("folder", spec.folder, "folder", may_be_missing=True))
    for loc, source in checkpoint_sources(spec):
        if not source.startswith("job:") and not is_torchvision_name(source):
            found.append(NamedPath(loc, source, "file"))
    return found


def data_paths(data: DataSpec, loc: str, *, both_splits: bool = True) -> Iterator[NamedPath]:
    """List the files and folders of a data set; those of a registered one at the path of its name.

    Args:
        loc: path of the data in the spec.
    """
    if isinstance(data, Registered):
        files = files_of(data)
        if files is not None:
            yield from (replace(item, loc=f"{loc}.name") for item in data_paths(files, loc, both_splits=both_splits))
        return
    match data:
        case Coco():
            for name, split in (("train", data.train), ("val", data.val)) if both_splits else (("val", data.val),):
                yield NamedPath(f"{loc}.{name}.images", split.images, "folder")
                yield NamedPath(f"{loc}.{name}.annotations", split.annotations, "file")
        case Voc():
            yield NamedPath(f"{loc}.folder", data.folder, "folder")
        case Yolo():
            yield NamedPath(f"{loc}.data_yaml", data.data_yaml, "file")
            if data.root is not None:
                yield NamedPath(f"{loc}.root", data.root, "folder")
    if data.pool is not None and both_splits:
        yield NamedPath(f"{loc}.pool.images", data.pool.images, "folder")
    for name, folders in data.pictures.items():
        for of_split, folder in (("train", folders.train), ("val", folders.val)):
            if folder is not None and (both_splits or of_split == "val"):
                yield NamedPath(f"{loc}.pictures.{name}.{of_split}", folder, "folder")
