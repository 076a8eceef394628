"""Selects the images of a split that exist, are readable and have the annotated size; reports the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fgd_core.data import file_names, image_files
from fgd_core.data.annotations import Annotations, ImageEntry
from fgd_core.data.file_states import States
from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.image_faults import Unusable
from fgd_core.data.image_headers import Header, Headers, joined, read_headers


@dataclass(frozen=True, eq=False)
class UsableImages:
    """Holds the usable images in file order."""

    entries: Sequence[ImageEntry]
    sizes_px: npt.NDArray[np.int64]
    """(N, 2) width and height as annotated."""
    file_names: Sequence[str]
    """The M files that were looked for, also those that are unusable."""
    states: States
    """(M, 3) of these files, before they were read."""


def usable_images(annotations: Annotations, folder: Path, findings: Findings) -> UsableImages:
    """Read the headers of the images and select the usable ones.

    Args:
        folder: that file names are relative to.
    """
    listed = _inside(annotations.images, folder, findings)
    paths = [f"{folder}/{entry.file_name}" for entry in listed]
    ahead = annotations.headers
    headers = joined(ahead.parts) if ahead is not None and ahead.paths == paths else read_headers(paths)
    sizes_px = np.array([entry.size_px or (0, 0) for entry in listed], dtype=np.int64).reshape(-1, 2)
    is_usable = (sizes_px > 0).all(axis=1) & (headers.sizes_px == sizes_px).all(axis=1)
    # In most files, the others are few.
    readable = [*_readable(listed, np.flatnonzero(~is_usable).tolist(), headers, folder, findings)]
    _report_dark(folder, [entry.file_name for _, entry, header in readable if header.is_16_bit], findings)
    entries = [*listed]
    for place, entry, header in readable:
        size_px = _usable_size(entry, header, findings, is_normalised=annotations.is_normalised)
        if size_px is not None:
            entries[place], sizes_px[place], is_usable[place] = entry, size_px, True
    names = [entry.file_name for entry in listed]
    return UsableImages([*compress(entries, is_usable)], sizes_px[is_usable], names, headers.states)


def _usable_size(
    entry: ImageEntry, header: Header, findings: Findings, *, is_normalised: bool
) -> tuple[int, int] | None:
    """Return the (width, height) of a readable image; None if it differs from the annotated one."""
    if entry.size_px is None and not is_normalised and not entry.has_bad_size:
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
        return None
    if rotation == "rotate":
        findings.add("rotated_by_exif", entry.file_name)
    elif size_px != header.upright_size_px:
        findings.add("exif_ignored", entry.file_name)
    return size_px


def _inside(entries: Sequence[ImageEntry], folder: Path, findings: Findings) -> list[ImageEntry]:
    # If access tokens limit what a run may read, folders are confined; file names must not lead out of them again.
    inside = []
    for entry in entries:
        file_name = file_names.relative_name(folder, entry.file_name)
        if file_name is None:
            findings.add("image_outside_folder", entry.file_name)
        else:
            inside.append(entry if file_name == entry.file_name else entry._replace(file_name=file_name))
    return inside


def _readable(
    entries: Sequence[ImageEntry], places: Sequence[int], headers: Headers, folder: Path, findings: Findings
) -> Iterator[tuple[int, ImageEntry, Header]]:
    """Yield the readable images at the places, with their headers; an entry with another spelling gets the name of its
    file."""
    found = {place: headers.at(place) for place in places}
    missing = [
        place for place, header in found.items() if isinstance(header, Unusable) and header.problem == "missing_image"
    ]
    matches = _matches(entries, missing, folder) if missing else {}
    matched = read_headers([f"{folder}/{match.file_name}" for match in matches.values()])
    found |= {place: matched.at(index) for index, place in enumerate(matches)}
    for place, header in found.items():
        entry, match = entries[place], matches.get(place)
        if match is not None:
            findings.add(match.problem, f"{entry.file_name}: {match.file_name}")
            if match.problem == "file_under_other_path":
                continue
            entry = entry._replace(file_name=match.file_name)
        if isinstance(header, Unusable):
            findings.add(header.problem, header.example(entry.file_name))
        else:
            yield place, entry, header


def _matches(entries: Sequence[ImageEntry], missing: Sequence[int], folder: Path) -> dict[int, file_names.Match]:
    """Find files for the entries at the places `missing`; returns the matches by place."""
    is_missing = frozenset(missing)
    taken = [entry.file_name for place, entry in enumerate(entries) if place not in is_missing]
    names = [(entries[place].file_name, entries[place].original_path) for place in missing]
    matches = file_names.find_matches(folder, names, taken)
    return {place: match for place, match in zip(missing, matches, strict=True) if match is not None}


def _report_dark(folder: Path, names: Sequence[str], findings: Findings) -> None:
    """Report dark 16-bit images, but only if all are dark: one dark image among bright ones shows a dark scene."""
    bits = image_files.bits_in_use([folder / name for name in names]) if names else 16
    if bits < 16:
        examples = [f"{name} ({bits} bits in use)" for name in names[:NUM_EXAMPLES]]
        findings.add_many("dark_16_bit_image", examples, count=len(names))
