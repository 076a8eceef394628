"""Image files: a cheap look at the header, and pixels as 8-bit RGB the right way up."""

import os
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from fgd_core import confined
from fgd_core.data.image_faults import HEAD_BYTES, Unusable, fault_of
from fgd_core.errors import DataError
from fgd_core.stopping import Stopped, stoppable

# Pillow warns of images above half of its limit of pixels; those above the limit get a finding, the others are read.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Named one by one: left to itself Pillow also hands some files to programs of the machine, such as Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpf", ".jpx",
})  # fmt: skip
"""Of files of these formats, in small letters: what counts as an image where a folder says which there are."""

UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd", ".tga"})
"""Of images in formats that are not read: a folder that holds some gets a finding rather than fewer images."""

# What Pillow raises on files that are not what they claim to be.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B")
_READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", *_SIXTEEN_BIT)

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

# The last bytes of a whole file. Some cameras append more, so a file that ends otherwise is decoded to be sure.
_TRAILERS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"}

_THREADS = 16
_FILES_A_TASK = 256

_DEEP_FILES_LOOKED_AT = 16
_DARK_BELOW = 64
"""16-bit pixels that all stay below this in 8 bits are of a camera with 10 to 14 bits, and nearly black."""


@dataclass(frozen=True)
class Header:
    width: int
    """As stored, before any turn."""
    height: int
    orientation: int
    """EXIF: 1 is upright, 5 to 8 swap the sides."""
    is_16_bit: bool = False
    """Whether a pixel has 16 bits for each colour, of which the upper 8 are read."""

    @property
    def upright_size_px(self) -> tuple[int, int]:
        """(width, height) once turned."""
        return (self.height, self.width) if self.orientation in _SWAP_SIDES else (self.width, self.height)

    def turn_for(self, size_px: tuple[int, int]) -> Literal["turn", "leave"] | None:
        """What makes the pixels fit the (width, height) that the boxes were drawn on; None if nothing does.

        Where both would fit (a square, a half turn) EXIF is followed, as the viewers do in which boxes are drawn.
        """
        if size_px == self.upright_size_px:
            return "leave" if self.orientation == _UPRIGHT else "turn"
        return "leave" if size_px == (self.width, self.height) else None


def read_headers(paths: Sequence[Path]) -> list[Header | Unusable]:
    """What each file says of itself, or what is wrong with it; pixels are decoded only where the end looks cut off."""
    tasks = [paths[start : start + _FILES_A_TASK] for start in range(0, len(paths), _FILES_A_TASK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            return [found for headers in stoppable(pool.map(_read_headers, tasks)) for found in headers]
        except Stopped:
            # Else the pool would first read all the others.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def bits_in_use(deep: Sequence[Path]) -> int:
    """How many of its 16 bits the brightest pixel needs, over the first few of these 16-bit images; 16 if unsure."""
    brightest = 0
    for path in deep[:_DEEP_FILES_LOOKED_AT]:
        try:
            with confined.opened(path) as file, Image.open(file, formats=FORMATS) as image:
                brightest = max(brightest, int(_rgb(image).max()))
        except _BROKEN:
            return 16
        if brightest >= _DARK_BELOW:
            return 16
    return 8 + brightest.bit_length()


def decode(path: Path, size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) RGB; alpha is left aside, 16-bit grey loses its lower byte.

    Args:
        size_px: (width, height) that the annotations say.
    Raises:
        DataError: the file is missing, broken, or of another size.
    """
    try:
        with confined.opened(path) as file, Image.open(file, formats=FORMATS) as image:
            turn = _header(image).turn_for(size_px)
            orientation = _orientation(image)
            image.load()
            pixels = _rgb(image.transpose(_TURNS[orientation]) if turn == "turn" else image)
    except _BROKEN as error:
        raise DataError(
            "an image cannot be decoded; replace the file or take it out of the annotation file",
            path=str(path),
            cause=str(error),
        ) from error
    if pixels.shape != (size_px[1], size_px[0], 3):
        raise DataError(
            "an image has another size than its annotation says; correct the one or the other",
            path=str(path),
            size_in_file_px=[pixels.shape[1], pixels.shape[0]],
            size_annotated_px=list(size_px),
        )
    return pixels


def _read_headers(paths: Sequence[Path]) -> list[Header | Unusable]:
    return [_read_header(path) for path in paths]


def _read_header(path: Path) -> Header | Unusable:
    try:
        with confined.opened(path) as file:
            return _header_in(file, path.suffix.lower())
    except (FileNotFoundError, NotADirectoryError):
        return Unusable("missing_image", "a link that leads nowhere" if path.is_symlink() else "")
    except OSError as error:
        return Unusable("unreadable_image", error.strerror or "")


def _header_in(file: BinaryIO, suffix: str) -> Header | Unusable:
    unread = Unusable("unread_image_format", suffix) if suffix in UNREAD_SUFFIXES else None
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.format == "TIFF" and unread is not None:
                return unread  # Raw files of cameras are TIFF, and their first picture is a thumbnail.
            if image.mode not in _READABLE_MODES:
                return Unusable("unread_pixel_format", f"mode {image.mode} of Pillow")
            header = _header(image)
            if not _ends_as_it_should(file, image.format or ""):
                try:
                    image.load()
                except _BROKEN:
                    return Unusable("truncated_image")
            return header
    except Image.DecompressionBombError as error:
        # Pillow keeps the size to itself and names pixels and limit in its message alone.
        pixels = re.findall(r"\d+", str(error))
        return Unusable("image_too_large", " pixels of at most ".join(f"{int(number):,}" for number in pixels[:2]))
    except _BROKEN:
        file.seek(0)
        fault = fault_of(file.read(HEAD_BYTES))
        return unread if unread is not None and fault.problem == "unreadable_image" else fault


def _ends_as_it_should(file: BinaryIO, image_format: str) -> bool:
    trailer = _TRAILERS.get(image_format)
    if trailer is None:
        return False
    file.seek(-len(trailer), os.SEEK_END)
    return file.read() == trailer


def _header(image: Image.Image) -> Header:
    # Colours of 16 bits have a mode of 8 bits, into which Pillow cuts them.
    is_16_bit = image.mode in _SIXTEEN_BIT or any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return Header(width=image.width, height=image.height, orientation=_orientation(image), is_16_bit=is_16_bit)


def _orientation(image: Image.Image) -> int:
    # Pillow turns TIFF itself, and would decode a whole PNG in search of an EXIF block behind the pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return _UPRIGHT
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)
    except _BROKEN:
        return _UPRIGHT  # A broken EXIF block says nothing, and the pixels do not depend on it.
    return orientation if orientation in _TURNS else _UPRIGHT


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode in _SIXTEEN_BIT:
        # Pillow's own conversion cuts at 255, which turns almost all of a 16-bit image white.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))
