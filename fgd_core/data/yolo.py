"""Opens data sets for YOLO and checks them: a data.yaml, folders of images, a label file for each image."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fgd_core.data.annotations import Annotations, ImageEntry, ObjectRow, object_table
from fgd_core.data.file_dataset import FileDataset, join_contents
from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.samples import Category, Split
from fgd_core.data.text_files import GIT_LFS, read_text
from fgd_core.data.usable_images import usable_images
from fgd_core.data.yolo_files import SplitFiles, split_files
from fgd_core.data.yolo_label_files import LabelFiles, LabelPlaces
from fgd_core.data.yolo_layout import (
    TOLERANCE,
    Layout,
    Numbers,
    are_corners,
    decides_layout,
    declared_layout,
    infer_layout,
)
from fgd_core.data.yolo_rows import LabelRow, UnknownClass, read_row
from fgd_core.data.yolo_yaml import DataYaml, read_data_yaml
from fgd_core.errors import DataError, StorageError
from fgd_core.spec import data as spec
from fgd_core.stopping import stoppable

_FILES_PER_STOP_CHECK = 256


class YoloDataset(FileDataset):
    """Holds one split of a YOLO data set; see `DetectionDataset`. The id of a category is the index of its class."""

    def __init__(
        self, yolo: spec.Yolo, split: Split, *, with_masks: bool = False, with_keypoints: bool = False
    ) -> None:
        """
        Args:
            with_masks: also read polygons as masks.
            with_keypoints: has no effect, because the keypoints of YOLO data have no names.
        Raises:
            DataError: a file or folder is missing.
            StorageError: a file exists but cannot be read.
        """
        findings = Findings(yolo.on_bad)
        path = Path(yolo.data_yaml).expanduser()
        data = read_data_yaml(path, Path(yolo.root).expanduser() if yolo.root is not None else None)
        own, other = (yolo.train, yolo.val) if split == "train" else (yolo.val, yolo.train)
        files = split_files(data, own)
        annotations = _read(data, files, other, findings, with_masks=with_masks)
        source = f"{path}, {files.entry}"
        images = usable_images(annotations, files.folder, findings)
        contents = join_contents(annotations, images, findings, split=split)
        super().__init__(contents, images_folder=files.folder, source=source)


@dataclass(frozen=True, slots=True)
class _Label:
    """Holds one line of a label file."""

    image_id: int
    name: str
    """How findings name the line."""
    text: str
    row: LabelRow


def _read(data: DataYaml, files: SplitFiles, other_entry: str, findings: Findings, *, with_masks: bool) -> Annotations:
    for name, times in Counter(name for _, name in data.names).items():
        if times > 1:
            findings.add("duplicate_category_name", name)
    for name, times in Counter(files.names).items():
        if times > 1:
            findings.add("repeated_image", name)
    names = list(dict.fromkeys(files.names))
    places = _label_places(data, files, names, findings)
    indices = _class_indices(data)
    images: list[ImageEntry] = []
    labels: list[_Label] = []
    for image_id, name in enumerate(stoppable(names, every=_FILES_PER_STOP_CHECK), start=1):
        lines = _lines_of(files.folder / name, name, places, findings)
        if lines is not None:
            images.append(ImageEntry(image_id=image_id, file_name=name, size_px=None))
            labels += _labels(lines, places.files.get(files.folder / name), image_id, indices, findings)
    _report_corners(labels, findings)
    layout = declared_layout(data) or _inferred_layout(data, [label.row.numbers for label in labels], other_entry)
    return Annotations(
        categories=tuple(Category(id=index, name=name) for index, name in data.names),
        images=images,
        listed_ids=frozenset(entry.image_id for entry in images),
        objects=object_table([*_objects(labels, layout, findings)], with_masks=with_masks),
        is_normalised=True,
    )


def _label_places(data: DataYaml, files: SplitFiles, names: Sequence[str], findings: Findings) -> LabelPlaces:
    images = [files.folder / name for name in names]
    label_files = LabelFiles(data.root)
    places = label_files.find(images)

    def in_root(path: Path) -> str:
        return path.relative_to(data.root).as_posix()

    for folder, place in places.elsewhere.items():
        findings.add("labels_elsewhere", f"{in_root(folder)}: {in_root(place)}")
    beside = [image.relative_to(files.folder).as_posix() for image in places.beside[:NUM_EXAMPLES]]
    findings.add_many("labels_beside_images", beside, count=len(places.beside))
    for image, both in places.in_two_places.items():
        found = ", ".join(map(in_root, both))
        findings.add("labels_in_two_places", f"{image.relative_to(files.folder).as_posix()}: {found}")
    orphans = [in_root(path) for path in label_files.orphans(places, images, files.lists)]
    findings.add_many("label_without_image", orphans[:NUM_EXAMPLES], count=len(orphans))
    return places


def _lines_of(image: Path, name: str, places: LabelPlaces, findings: Findings) -> list[str] | None:
    """Return the lines of the image's label file; None if the objects of the image are unknown, so it is unusable."""
    if image.parent in places.ambiguous:
        findings.add("labels_in_doubt", f"{name}: {', '.join(places.ambiguous[image.parent][:NUM_EXAMPLES])}")
        return None
    path = places.files.get(image)
    if path is None:
        findings.add("missing_label_file", name)
        return []
    if path in places.shared:
        findings.add("shared_label_file", name)
        return None
    if image in places.in_two_places:
        return None
    try:
        text = read_text(path)
    except (UnicodeError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
        findings.add("unreadable_label_file", path.name)
        return None
    except OSError as error:
        raise StorageError("a label file cannot be read", path=str(path), cause=str(error)) from error
    if text.startswith(GIT_LFS):
        findings.add("git_lfs_pointer", path.name)
        return None
    return text.splitlines()


def _class_indices(data: DataYaml) -> Mapping[str, int]:
    return {name: index for index, name in data.names}


def _labels(
    lines: Sequence[str], path: Path | None, image_id: int, class_indices: Mapping[str, int], findings: Findings
) -> Iterator[_Label]:
    seen = set()
    for number, line in enumerate(lines, start=1):
        if path is None or not line.strip():
            continue
        name, text = f"{path.name}, line {number}", line.strip()[:60]
        row = read_row(line, class_indices)
        if row is None:
            findings.add("malformed_label", f"{name}: {text}")
        elif isinstance(row, UnknownClass):
            findings.add("unknown_category", f"{name}: class {row.name[:60]}")
        elif (row.class_index, row.numbers) in seen:
            findings.add("repeated_annotation", name)
        else:
            seen.add((row.class_index, row.numbers))
            if row.has_class_name:
                findings.add("class_name_in_label", f"{name}: {text}")
            if row.has_commas:
                findings.add("comma_in_label", f"{name}: {text}")
            yield _Label(image_id, name, text, row)


def _report_corners(labels: Sequence[_Label], findings: Findings) -> None:
    boxes = [label for label in labels if len(label.row.numbers) == 4]
    if are_corners([label.row.numbers for label in boxes]):
        examples = [f"{label.name}: {label.text}" for label in boxes[:NUM_EXAMPLES]]
        findings.add_many("labels_as_corners", examples, count=len(boxes))


def _inferred_layout(data: DataYaml, own: list[Numbers], other_entry: str) -> Layout:
    """Infer one layout for both splits. Reads the other split only if it can matter."""
    return infer_layout(own if decides_layout(own) else [*own, *_numbers_in(data, other_entry)])


def _numbers_in(data: DataYaml, entry: str) -> list[Numbers]:
    try:
        files = split_files(data, entry)
    except DataError:
        return []
    ignored, indices = Findings("drop"), _class_indices(data)
    places = LabelFiles(data.root).find([files.folder / name for name in files.names])
    return [
        label.row.numbers
        for image, path in places.files.items()
        for label in _labels(_lines_of(image, "", places, ignored) or (), path, 0, indices, ignored)
    ]


def _objects(labels: Sequence[_Label], layout: Layout, findings: Findings) -> Iterator[ObjectRow]:
    known: list[tuple[_Label, Numbers, bool]] = []
    for label in labels:
        shape = layout.shape_of(label.row.numbers)
        if shape in ("box", "polygon"):
            known.append((label, label.row.numbers, shape == "polygon"))
        elif shape == "box with keypoints":
            known.append((label, label.row.numbers[:4], False))
            if layout.is_guessed:
                findings.add("keypoints_left_out", f"{label.name}: {label.text}")
        else:
            findings.add(shape, f"{label.name}: {label.text}")
    are_normalised = [all(-TOLERANCE <= number <= 1 + TOLERANCE for number in numbers) for _, numbers, _ in known]
    # If at least half of the labels are pixels or percent, then so are the labels near the top left corner.
    none_is = 2 * sum(are_normalised) <= len(known)
    for (label, numbers, is_polygon), is_normalised in zip(known, are_normalised, strict=True):
        if none_is or not is_normalised:
            findings.add("not_normalised", f"{label.name}: {label.text}")
            continue
        yield ObjectRow(
            name=label.name,
            image_id=label.image_id,
            category_id=label.row.class_index,
            box_xywh=_bounding_box(numbers) if is_polygon else _from_centre(numbers),
            polygon=numbers if is_polygon else (),
        )


def _bounding_box(polygon: Numbers) -> Numbers:
    """Return left, top, width and height."""
    x, y = polygon[0::2], polygon[1::2]
    return (min(x), min(y), max(x) - min(x), max(y) - min(y))


def _from_centre(box: Numbers) -> Numbers:
    """Return left, top, width and height."""
    cx, cy, width, height = box
    return (cx - width / 2, cy - height / 2, width, height)
