"""The images of a split that can be used: found in the folder, readable, and of the size that boxes were drawn on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fgd_core.data import file_names, image_files
from fgd_core.data.annotations import AnnotationFile, ImageEntry
from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.image_faults import Unusable
from fgd_core.data.image_files import Header


@dataclass(frozen=True, eq=False)
class Images:
    """In the order of the file."""

    entries: list[ImageEntry]
    sizes_px: npt.NDArray[np.int64]
    """(N, 2) width and height."""


def sound_images(listed: AnnotationFile, folder: Path, findings: Findings) -> Images:
    entries: list[ImageEntry] = []
    sizes_px: list[tuple[int, int]] = []
    found = _headers(_inside(listed.images, folder, findings), folder, findings)
    deep = [entry.file_name for entry, header in found if header.is_16_bit]
    _note_dark(folder, deep, findings)
    for entry, header in found:
        if entry.size_px is None and not listed.is_normalised and not entry.has_bad_size:
            findings.add("image_without_size", entry.file_name)
        size_px = entry.size_px or header.upright_size_px
        turn = header.turn_for(size_px)
        if turn is None:
            stored, annotated = f"{header.width}x{header.height}", f"{size_px[0]}x{size_px[1]}"
            is_transposed = size_px == (header.height, header.width)
            findings.add(
                "size_transposed" if is_transposed else "size_mismatch",
                f"{entry.file_name} is {stored}, annotated {annotated}",
            )
            continue
        if turn == "turn":
            findings.add("rotated_by_exif", entry.file_name)
        elif size_px != header.upright_size_px:
            findings.add("exif_ignored", entry.file_name)
        entries.append(entry)
        sizes_px.append(size_px)
    return Images(entries=entries, sizes_px=np.array(sizes_px, dtype=np.int64).reshape(-1, 2))


def _inside(entries: Sequence[ImageEntry], folder: Path, findings: Findings) -> list[ImageEntry]:
    # Where tokens say who may read what, folders are confined; a list of files must not lead out of them again.
    kept = []
    for entry in entries:
        file_name = file_names.inside(folder, entry.file_name)
        if file_name is None:
            findings.add("image_outside_folder", entry.file_name)
        else:
            kept.append(entry if file_name == entry.file_name else replace(entry, file_name=file_name))
    return kept


def _headers(entries: Sequence[ImageEntry], folder: Path, findings: Findings) -> list[tuple[ImageEntry, Header]]:
    """The images that can be read, those among them that are spelled in another way than their file."""
    headers = image_files.read_headers([folder / entry.file_name for entry in entries])
    meant = _meant(entries, headers, folder)
    again = dict(zip(meant, image_files.read_headers([folder / one.file_name for one in meant.values()]), strict=True))
    readable: list[tuple[ImageEntry, Header]] = []
    for place, (listed, header) in enumerate(zip(entries, headers, strict=True)):
        entry, found = listed, header
        other = meant.get(place)
        if other is not None:
            findings.add(other.problem, f"{listed.file_name}: {other.file_name}")
            if other.problem == "file_under_other_path":
                continue
            entry, found = replace(listed, file_name=other.file_name), again[place]
        if isinstance(found, Unusable):
            findings.add(found.problem, found.named(entry.file_name))
        else:
            readable.append((entry, found))
    return readable


def _meant(
    entries: Sequence[ImageEntry], headers: Sequence[Header | Unusable], folder: Path
) -> dict[int, file_names.Meant]:
    """By the place of the entry, of those that are missing."""
    missing = [
        place
        for place, header in enumerate(headers)
        if isinstance(header, Unusable) and header.problem == "missing_image"
    ]
    if not missing:
        return {}
    taken = [entry.file_name for place, entry in enumerate(entries) if place not in set(missing)]
    found = file_names.meant(folder, [(entries[place].file_name, entries[place].also_at) for place in missing], taken)
    return {place: one for place, one in zip(missing, found, strict=True) if one is not None}


def _note_dark(folder: Path, deep: Sequence[str], findings: Findings) -> None:
    """Decided over all 16-bit images: one that is dark among bright ones shows a dark place."""
    bits = image_files.bits_in_use([folder / name for name in deep]) if deep else 16
    if bits < 16:
        examples = [f"{name} ({bits} bits in use)" for name in deep[:NUM_EXAMPLES]]
        findings.add_many("dark_16_bit_image", examples, num_in_all=len(deep))
