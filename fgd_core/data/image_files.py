"""Reads image files: headers without decoding the pixels, and pixels as upright 8-bit RGB."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from fgd_core import confined
from fgd_core.data import jpeg_headers
from fgd_core.data.image_faults import HEAD_BYTES, Unusable, find_fault
from fgd_core.data.processes import map_in_processes, may_fork, num_cores
from fgd_core.errors import DataError
from fgd_core.prediction.pixels import DECODE_ERRORS, FORMATS, READABLE_MODES, SIXTEEN_BIT, rgb
from fgd_core.stopping import Stopped, stoppable

UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd", ".tga"})
"""Suffixes of formats that fgd does not read. In a folder, such files give a finding and are not ignored."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAP_SIDES = (5, 6, 7, 8)

# The last bytes of a complete file. Some cameras append more, so a file with another end is decoded to be sure.
_TRAILERS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"}

_READERS = 16
_MIN_PROCESSES = 4
_FILES_PER_TASK = 256
_MANY_FILES = 8192

_MAX_16_BIT_FILES = 16
_DARK_BELOW = 64
"""If all 16-bit pixels are below this in 8 bits, the camera used 10 to 14 bits, and the images are nearly black."""


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


def read_headers(paths: Sequence[Path | str]) -> list[Header | Unusable]:
    """Return the header of each file, or what is wrong with it. Decodes pixels only if the file seems incomplete.

    Many readers wait for the disk together. Of many files, they are processes: threads would wait for each other.
    """
    tasks = [paths[start : start + _FILES_PER_TASK] for start in range(0, len(paths), _FILES_PER_TASK)]
    if len(paths) >= _MANY_FILES and may_fork():
        processes = min(_READERS, max(_MIN_PROCESSES, num_cores()))
        return [*chain.from_iterable(map_in_processes(_read_headers, tasks, processes=processes))]
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            return [*chain.from_iterable(stoppable(pool.map(_read_headers, tasks)))]
        except Stopped:
            # Otherwise the pool would first read all other files.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def bits_in_use(paths: Sequence[Path]) -> int:
    """Return how many bits the brightest pixel of the first few 16-bit images needs; 16 if unknown."""
    brightest = 0
    for path in paths[:_MAX_16_BIT_FILES]:
        try:
            with confined.opened(path) as file, Image.open(file, formats=FORMATS) as image:
                brightest = max(brightest, int(rgb(image).max()))
        except DECODE_ERRORS:
            return 16
        if brightest >= _DARK_BELOW:
            return 16
    return 8 + brightest.bit_length()


def decode(path: Path, size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Decode an image, without alpha, and without the lower byte of 16-bit grey.

    Args:
        size_px: (width, height) from the annotations.
    Returns:
        (H, W, 3) RGB.
    Raises:
        DataError: the file is missing, damaged, or has a different size.
    """
    try:
        with confined.opened(path) as file:
            plain = _decode_plain(file.read(), size_px)
            file.seek(0)
            pixels = _decode(file, size_px) if plain is None else plain
    except DECODE_ERRORS as error:
        raise DataError(
            "an image cannot be decoded; replace the file, or remove it from the annotations",
            path=str(path),
            cause=str(error),
        ) from error
    if pixels.shape != (size_px[1], size_px[0], 3):
        raise DataError(
            "an image and its annotation have different sizes; correct one of them",
            path=str(path),
            size_in_file_px=[pixels.shape[1], pixels.shape[0]],
            size_annotated_px=list(size_px),
        )
    return pixels


def _decode_plain(content: bytes, size_px: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    """Decode a plain JPEG file as (H, W, 3), a third faster than Pillow and to the same pixels; None for others."""
    if jpeg_headers.plain_size(content[: jpeg_headers.HEAD_BYTES]) != size_px:
        return None
    try:
        decoded = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    except RuntimeError:
        return None  # Pillow says what is wrong with the file.
    pixels: npt.NDArray[np.uint8] = decoded.permute(1, 2, 0).numpy()
    return pixels


def _decode(file: BinaryIO, size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    with Image.open(file, formats=FORMATS) as image:
        rotation = _header(image).rotation_for(size_px)
        orientation = _orientation(image)
        image.load()
        return rgb(image.transpose(_TURNS[orientation]) if rotation == "rotate" else image)


def _read_headers(paths: Sequence[Path | str]) -> list[Header | Unusable]:
    return [_read_header(Path(path)) for path in paths]


def _read_header(path: Path) -> Header | Unusable:
    try:
        with confined.opened(path) as file:
            return _plain_header(file) or _header_in(file, path.suffix.lower())
    except (FileNotFoundError, NotADirectoryError):
        return Unusable("missing_image", "a broken link" if path.is_symlink() else "")
    except OSError as error:
        return Unusable("unreadable_image", error.strerror or "")


def _plain_header(file: BinaryIO) -> Header | None:
    """Read the header of a plain and complete JPEG file; None for others, which Pillow must read."""
    size = jpeg_headers.plain_size(file.read(jpeg_headers.HEAD_BYTES))
    if size is not None and _has_trailer(file, "JPEG"):
        return Header(*size, orientation=_UPRIGHT)
    file.seek(0)
    return None


def _header_in(file: BinaryIO, suffix: str) -> Header | Unusable:
    unread = Unusable("unread_image_format", suffix) if suffix in UNREAD_SUFFIXES else None
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.format == "TIFF" and unread is not None:
                return unread  # Raw camera files are TIFF, and their first picture is only a thumbnail.
            if image.mode not in READABLE_MODES:
                return Unusable("unread_pixel_format", f"Pillow mode {image.mode}")
            header = _header(image)
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


def _header(image: Image.Image) -> Header:
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
    return orientation if orientation in _TURNS else _UPRIGHT
