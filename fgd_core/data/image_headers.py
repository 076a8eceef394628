"""Reads the headers of image files without decoding the pixels, of many files at once into columns."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fgd_core import confined
from fgd_core.data import jpeg_headers
from fgd_core.data.file_states import UNKNOWN, State, States, state_of
from fgd_core.data.image_faults import HEAD_BYTES, Unusable, find_fault
from fgd_core.data.processes import map_in_processes, may_fork, num_cores
from fgd_core.prediction.pixels import DECODE_ERRORS, FORMATS, READABLE_MODES, SIXTEEN_BIT
from fgd_core.stopping import Stopped, stoppable

UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd", ".tga"})
"""Suffixes of formats that fgd does not read. In a folder, such files give a finding and are not ignored."""

MANY_FILES = 8192
"""From this number on, the readers of headers are processes."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1
_ORIENTATIONS = range(1, 9)
_SWAP_SIDES = (5, 6, 7, 8)

# The last bytes of a complete file. Some cameras append more, so a file with another end is decoded to be sure.
_JPEG_TRAILER = b"\xff\xd9"
_TRAILERS = {"JPEG": _JPEG_TRAILER, "MPO": _JPEG_TRAILER, "PNG": b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"}

_READERS = 16
_MIN_PROCESSES = 4
_FILES_PER_TASK = 512


@dataclass(frozen=True)
class Header:
    """Holds the properties of an image file."""

    width: int
    """In pixels as stored, before any rotation."""
    height: int
    orientation: int
    """EXIF orientation: 1 is upright, 5 to 8 swap the sides."""
    is_16_bit: bool = False
    """Whether a pixel has 16 bits for each colour, of which fgd reads the upper 8."""

    @property
    def upright_size_px(self) -> tuple[int, int]:
        """(width, height) after the rotation."""
        return (self.height, self.width) if self.orientation in _SWAP_SIDES else (self.width, self.height)

    def rotation_for(self, size_px: tuple[int, int]) -> Literal["rotate", "keep"] | None:
        """Return what makes the pixels fit the annotated (width, height); None if neither does.

        If both fit (a square, a half turn), the EXIF orientation decides: annotation tools show the rotated image.
        """
        if size_px == self.upright_size_px:
            return "keep" if self.orientation == _UPRIGHT else "rotate"
        return "keep" if size_px == (self.width, self.height) else None


class Headers(NamedTuple):
    """Holds the headers of n files as columns: a hundred thousand objects would take longer to send than to read."""

    sizes_px: npt.NDArray[np.int64]
    """(n, 2) width and height of upright 8-bit images; 0 for other files."""
    states: States
    """(n, 3) of the files, before they were read."""
    others: Mapping[int, Header | Unusable]
    """The headers of the other files, or what is wrong with them, by index."""

    def at(self, index: int) -> Header | Unusable:
        """Return the header of one file, or what is wrong with it."""
        width, height = self.sizes_px[index].tolist()
        return self.others.get(index) or Header(width, height, orientation=_UPRIGHT)


class HeadersAhead(NamedTuple):
    """Holds the headers that other processes read while this one reads the annotations."""

    paths: Sequence[str]
    parts: Iterator[Headers]
    """Of consecutive files; see `joined`."""


def read_headers(paths: Sequence[str]) -> Headers:
    """Read the header of each file. Decodes pixels only if a file seems incomplete.

    Many readers wait for the disk together. Of many files, they are processes: threads would wait for each other.

    Raises:
        Stopped: the run should stop.
    """
    tasks = header_tasks(paths)
    if is_for_processes(len(paths)):
        return joined(map_in_processes(read_part, tasks, processes=num_readers()))
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            return joined(stoppable(pool.map(read_part, tasks)))
        except Stopped:
            # Otherwise the pool would first read all other files.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def is_for_processes(num_files: int) -> bool:
    """Return whether so many headers are read by other processes."""
    return num_files >= MANY_FILES and may_fork()


def header_tasks(paths: Sequence[str]) -> list[Sequence[str]]:
    """Divide files into parts for `read_part`."""
    return [paths[start : start + _FILES_PER_TASK] for start in range(0, len(paths), _FILES_PER_TASK)]


def num_readers() -> int:
    """Return how many processes read headers: more than cores, because they wait for the disk."""
    return min(_READERS, max(_MIN_PROCESSES, num_cores()))


def joined(parts: Iterable[Headers]) -> Headers:
    """Return the headers of consecutive parts as one."""
    sizes, states = [np.zeros((0, 2), np.int64)], [np.zeros((0, 3), np.int64)]
    others: dict[int, Header | Unusable] = {}
    first = 0
    for part in parts:
        sizes.append(part.sizes_px)
        states.append(part.states)
        others |= {first + place: other for place, other in part.others.items()}
        first += len(part.sizes_px)
    return Headers(np.concatenate(sizes), np.concatenate(states), others)


def read_part(paths: Sequence[str]) -> Headers:
    """Read the headers of some files one after the other."""
    sizes: list[tuple[int, int]] = []
    states: list[State] = []
    others: dict[int, Header | Unusable] = {}
    is_limited = confined.is_limited()
    for place, path in enumerate(paths):
        state, found = _read(path, is_limited=is_limited)
        if isinstance(found, jpeg_headers.Size):
            sizes.append(found)
        else:
            sizes.append((0, 0))
            others[place] = found
        states.append(state)
    return Headers(np.array(sizes, dtype=np.int64), np.array(states, dtype=np.int64), others)


def _read(path: str, *, is_limited: bool) -> tuple[State, jpeg_headers.Size | Header | Unusable]:
    """Return the state of a file, and its size if it is a plain and complete JPEG file; Pillow reads any other file."""
    try:
        # Without limits nothing is checked, and to ask for them would take longer than to open a file.
        descriptor = confined.open_file(path) if is_limited else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return UNKNOWN, Unusable("missing_image", "a broken link" if Path(path).is_symlink() else "")
    except OSError as error:
        return UNKNOWN, Unusable("unreadable_image", error.strerror or "")
    try:
        # Before the file is read: if it changes meanwhile, it has another state afterwards.
        state = state_of(path, follows=False) if is_limited else state_of(descriptor, follows=True)
        return state, _plain_size(descriptor, state[0]) or _header_in(descriptor, Path(path).suffix.lower())
    except OSError as error:
        return UNKNOWN, Unusable("unreadable_image", error.strerror or "")
    finally:
        os.close(descriptor)


def _plain_size(descriptor: int, size_bytes: int) -> jpeg_headers.Size | None:
    if size_bytes < len(_JPEG_TRAILER):
        return None
    size = jpeg_headers.plain_size(os.pread(descriptor, jpeg_headers.HEAD_BYTES, 0))
    end = os.pread(descriptor, len(_JPEG_TRAILER), size_bytes - len(_JPEG_TRAILER))
    return size if end == _JPEG_TRAILER else None


def _header_in(descriptor: int, suffix: str) -> Header | Unusable:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return _header_by_pillow(file, suffix)


def _header_by_pillow(file: BinaryIO, suffix: str) -> Header | Unusable:
    unread = Unusable("unread_image_format", suffix) if suffix in UNREAD_SUFFIXES else None
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.format == "TIFF" and unread is not None:
                return unread  # Raw camera files are TIFF, and their first picture is only a thumbnail.
            if image.mode not in READABLE_MODES:
                return Unusable("unread_pixel_format", f"Pillow mode {image.mode}")
            header = header_of(image)
            if not _has_trailer(file, image.format or ""):
                try:
                    image.load()
                except DECODE_ERRORS:
                    return Unusable("truncated_image")
            return header
    except Image.DecompressionBombError as error:
        # Pillow gives the number of pixels and the limit only in its message.
        pixels = re.findall(r"\d+", str(error))
        return Unusable("image_too_large", " pixels, limit ".join(f"{int(number):,}" for number in pixels[:2]))
    except DECODE_ERRORS:
        file.seek(0)
        fault = find_fault(file.read(HEAD_BYTES))
        return unread if unread is not None and fault.problem == "unreadable_image" else fault


def _has_trailer(file: BinaryIO, image_format: str) -> bool:
    trailer = _TRAILERS.get(image_format)
    if trailer is None:
        return False
    file.seek(-len(trailer), os.SEEK_END)
    return file.read() == trailer


def header_of(image: Image.Image) -> Header:
    """Return the header of an image that Pillow has opened."""
    # Pillow reduces 16-bit colours to 8 bits and gives such images an 8-bit mode.
    is_16_bit = image.mode in SIXTEEN_BIT or any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return Header(width=image.width, height=image.height, orientation=_orientation(image), is_16_bit=is_16_bit)


def _orientation(image: Image.Image) -> int:
    # Pillow itself rotates TIFF, and would decode a whole PNG to search for an EXIF block after the pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return _UPRIGHT
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)
    except DECODE_ERRORS:
        return _UPRIGHT  # The EXIF block is damaged; the pixels do not depend on it.
    return orientation if orientation in _ORIENTATIONS else _UPRIGHT
