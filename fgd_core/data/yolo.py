"""Any data set for YOLO, checked at opening: data.yaml, folders of images, a text file of labels for each image."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fgd_core.data.annotations import AnnotationFile, ImageEntry
from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.listed import ListedDataset
from fgd_core.data.rows import ObjectRow, columns
from fgd_core.data.samples import Category, Split
from fgd_core.data.yolo_files import DataYaml, image_files, label_file, orphaned_labels, read_data_yaml, read_label
from fgd_core.errors import StorageError
from fgd_core.spec import data as spec


class YoloDataset(ListedDataset):
    """See `DetectionDataset`. A category's id is the index of its class."""

    def __init__(self, yolo: spec.Yolo, split: Split, *, with_masks: bool = False) -> None:
        """
        Args:
            with_masks: read polygons as masks too.
        Raises:
            DataError: a file or folder is missing.
            StorageError: a file is there and cannot be read.
        """
        findings = Findings(yolo.on_bad)
        path = Path(yolo.data_yaml).expanduser()
        data = read_data_yaml(path, Path(yolo.root).expanduser() if yolo.root is not None else None)
        entry = yolo.train if split == "train" else yolo.val
        folder, names = image_files(data, entry)
        listed = _read(data, folder, names, findings, with_masks=with_masks)
        super().__init__(listed, findings, split=split, images_folder=folder, source=f"{path}, {entry}")


def _read(data: DataYaml, folder: Path, listed: list[str], findings: Findings, *, with_masks: bool) -> AnnotationFile:
    names = list(dict.fromkeys(listed))
    for name, times in Counter(listed).items():
        if times > 1:
            findings.add("repeated_image", name)
    class_names = Counter(name for _, name in data.names)
    for name, times in class_names.items():
        if times > 1:
            findings.add("duplicate_category_name", name)
    files = {name: label_file(data.root, folder / name) for name in names}
    sharing = Counter(files.values())
    images: list[ImageEntry] = []
    rows: list[ObjectRow] = []
    for image_id, name in enumerate(names, start=1):
        if sharing[files[name]] > 1:
            findings.add("shared_label_file", name)
            continue
        lines = _lines(files[name], name, findings)
        if lines is not None:
            images.append(ImageEntry(image_id=image_id, file_name=name, size_px=None))
            rows.extend(_rows(data, lines, files[name].name, image_id, findings))
    orphans = list(orphaned_labels(data.root, [folder / name for name in names]))
    findings.add_many("label_without_image", orphans[:NUM_EXAMPLES], num_in_all=len(orphans))
    return AnnotationFile(
        categories=tuple(Category(id=index, name=name) for index, name in data.names),
        images=images,
        listed_ids=frozenset(entry.image_id for entry in images),
        objects=columns(rows, with_masks=with_masks),
        is_normalised=True,
    )


def _lines(path: Path, image: str, findings: Findings) -> list[str] | None:
    """None where they cannot be made sense of."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        findings.add("missing_label_file", image)
        return []
    except (UnicodeDecodeError, IsADirectoryError, NotADirectoryError):
        findings.add("unreadable_label_file", path.name)
        return None
    except OSError as error:
        raise StorageError("a label file cannot be read", path=str(path), cause=str(error)) from error


def _rows(data: DataYaml, lines: list[str], file_name: str, image_id: int, findings: Findings) -> Iterator[ObjectRow]:
    seen = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name = f"{file_name}, line {number}"
        label = read_label(line, has_keypoints=data.has_keypoints)
        if isinstance(label, str):
            findings.add(label, f"{name}: {line.strip()[:60]}")
        elif label in seen:
            findings.add("repeated_annotation", name)
        else:
            seen.add(label)
            yield ObjectRow(
                name=name,
                image_id=image_id,
                category_id=label.class_index,
                box_xywh=label.box_xywh,
                polygon=label.polygon,
            )
