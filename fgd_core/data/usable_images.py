"""Selects the images of a split that exist, are readable and have the annotated size; reports the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fgd_core.data import file_names, image_files
from fgd_core.data.annotations import Annotations, ImageEntry
from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.image_faults import Unusable
from fgd_core.data.image_files import Header


@dataclass(frozen=True, eq=False)
class UsableImages:
    """Holds the usable images in file order."""

    entries: list[ImageEntry]
    sizes_px: npt.NDArray[np.int64]
    """(N, 2) width and height as annotated."""


def usable_images(annotations: Annotations, folder: Path, findings: Findings) -> UsableImages:
    """Read the headers of the images and select the usable ones.

    Args:
        folder: that file names are relative to.
    """
    entries: list[ImageEntry] = []
    sizes_px: list[tuple[int, int]] = []
    readable = _readable(_inside(annotations.images, folder, findings), folder, findings)
    _report_dark(folder, [entry.file_name for entry, header in readable if header.is_16_bit], findings)
    for entry, header in readable:
        if entry.size_px is None and not annotations.is_normalised and not entry.has_bad_size:
            findings.add("image_without_size", entry.file_name)
        size_px = entry.size_px or header.upright_size_px
        rotation = header.rotation_for(size_px)
        if rotation is None:
            stored, annotated = f"{header.width}x{header.height}", f"{size_px[0]}x{size_px[1]}"
            is_transposed = size_px == (header.height, header.width)
            findings.add(
                "size_transposed" if is_transposed else "size_mismatch",
                f"{entry.file_name} is {stored}, annotated {annotated}",
            )
            continue
        if rotation == "rotate":
            findings.add("rotated_by_exif", entry.file_name)
        elif size_px != header.upright_size_px:
            findings.add("exif_ignored", entry.file_name)
        entries.append(entry)
        sizes_px.append(size_px)
    return UsableImages(entries=entries, sizes_px=np.array(sizes_px, dtype=np.int64).reshape(-1, 2))


def _inside(entries: Sequence[ImageEntry], folder: Path, findings: Findings) -> list[ImageEntry]:
    # If access tokens limit what a run may read, folders are confined; file names must not lead out of them again.
    inside = []
    for entry in entries:
        file_name = file_names.relative_name(folder, entry.file_name)
        if file_name is None:
            findings.add("image_outside_folder", entry.file_name)
        else:
            inside.append(entry if file_name == entry.file_name else replace(entry, file_name=file_name))
    return inside


def _readable(entries: Sequence[ImageEntry], folder: Path, findings: Findings) -> list[tuple[ImageEntry, Header]]:
    """Return the readable images with their headers; an entry with another spelling gets the name of its file."""
    headers = image_files.read_headers([f"{folder}/{entry.file_name}" for entry in entries])
    matches = _matches(entries, headers, folder)
    matched_paths = [folder / match.file_name for match in matches.values()]
    matched_headers = dict(zip(matches, image_files.read_headers(matched_paths), strict=True))
    readable: list[tuple[ImageEntry, Header]] = []
    for place, (listed, header) in enumerate(zip(entries, headers, strict=True)):
        entry, found = listed, header
        match = matches.get(place)
        if match is not None:
            findings.add(match.problem, f"{listed.file_name}: {match.file_name}")
            if match.problem == "file_under_other_path":
                continue
            entry, found = replace(listed, file_name=match.file_name), matched_headers[place]
        if isinstance(found, Unusable):
            findings.add(found.problem, found.example(entry.file_name))
        else:
            readable.append((entry, found))
    return readable


def _matches(
    entries: Sequence[ImageEntry], headers: Sequence[Header | Unusable], folder: Path
) -> dict[int, file_names.Match]:
    """Find a file for each entry whose file is missing; returns the matches by index of the entry."""
    missing = [
        place
        for place, header in enumerate(headers)
        if isinstance(header, Unusable) and header.problem == "missing_image"
    ]
    if not missing:
        return {}
    taken = [entry.file_name for place, entry in enumerate(entries) if place not in set(missing)]
    names = [(entries[place].file_name, entries[place].original_path) for place in missing]
    matches = file_names.find_matches(folder, names, taken)
    return {place: match for place, match in zip(missing, matches, strict=True) if match is not None}


def _report_dark(folder: Path, names: Sequence[str], findings: Findings) -> None:
    """Report dark 16-bit images, but only if all are dark: one dark image among bright ones shows a dark scene."""
    bits = image_files.bits_in_use([folder / name for name in names]) if names else 16
    if bits < 16:
        examples = [f"{name} ({bits} bits in use)" for name in names[:NUM_EXAMPLES]]
        findings.add_many("dark_16_bit_image", examples, count=len(names))
