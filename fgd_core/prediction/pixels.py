"""Reads images and prepares them for a detector, with Pillow and numpy alone."""

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from fgd_core.errors import DataError
from fgd_core.spec.data import InputSpec

# An explicit list: by default, Pillow passes some files to programs on the machine, such as Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpf", ".jpx",
})  # fmt: skip
"""Lower-case suffixes of these formats. In a folder, files with these suffixes are images."""
SIXTEEN_BIT = ("I;16", "I;16L", "I;16B")
READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", *SIXTEEN_BIT)
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises if a file does not have the content that its format requires."""

# Pillow warns about images above half of its pixel limit. Images above the limit are errors; fgd reads the others.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(height, width, 3) RGB"""


@runtime_checkable
class TensorLike(Protocol):
    """A tensor of PyTorch, without importing PyTorch."""

    def numpy(self, *, force: bool = False) -> npt.NDArray[np.generic]:
        """Return the values as an array."""
        ...


ImageLike: TypeAlias = str | Path | Image.Image | npt.NDArray[np.uint8] | TensorLike
"""A path, an image of Pillow, an array (height, width, 3) of uint8 RGB, or a tensor (3, height, width) of uint8 RGB."""


def read_pixels(image: ImageLike) -> Pixels:
    """Return an image as RGB, turned upright.

    Raises:
        DataError: the file cannot be read, or the array is no image.
    """
    match image:
        case str() | Path():
            return _read_file(Path(image))
        case Image.Image():
            return _upright(image)
        case np.ndarray():
            return _checked(image)
        case TensorLike():
            array = image.numpy(force=True)
            return _checked(array.transpose(1, 2, 0) if array.ndim == 3 else array)
    raise DataError(
        f"an image is a path, a Pillow image, an array or a tensor, and not a {type(image).__name__}; convert it"
    )


def _read_file(path: Path) -> Pixels:
    try:
        with Image.open(path, formats=FORMATS) as image:
            return _upright(image)
    except Image.DecompressionBombError as error:
        raise DataError(f"the image is too large: {error}; make it smaller", path=str(path)) from error
    except DECODE_ERRORS as error:
        raise DataError("the image cannot be read; give a JPEG, PNG or another image file", path=str(path)) from error


def _upright(image: Image.Image) -> Pixels:
    if image.mode not in READABLE_MODES:
        raise DataError(
            f"the pixels have Pillow's mode {image.mode}, whose range is unknown; convert them to 8 bits",
            path=str(getattr(image, "filename", "")),
        )
    image.load()
    try:
        return rgb(ImageOps.exif_transpose(image))
    except DECODE_ERRORS:
        return rgb(image)  # The EXIF block is damaged; the pixels do not depend on it.


def rgb(image: Image.Image) -> Pixels:
    """Convert an image to 8-bit RGB, without alpha, and without the lower byte of 16-bit grey."""
    if image.mode in SIXTEEN_BIT:
        # Pillow's own conversion clips at 255, which makes almost all pixels white.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _checked(array: npt.NDArray[np.generic]) -> Pixels:
    if array.ndim != 3 or array.shape[2] != 3 or not array.size or array.dtype != np.uint8:
        raise DataError(
            "an array has the shape (height, width, 3) and a tensor (3, height, width), both of uint8; convert it",
            shape=[*array.shape],
            dtype=str(array.dtype),
        )
    pixels: Pixels = array.astype(np.uint8, copy=False)
    return pixels


class ImageBatch(NamedTuple):
    """Holds N images as a detector takes them."""

    images: npt.NDArray[np.float32]
    """(N, 3, H, W) RGB from 0 to 255, resized; the padding is 0"""
    sizes: npt.NDArray[np.int64]
    """(N, 2) height and width after resizing, before padding"""
    original_sizes: npt.NDArray[np.int64]
    """(N, 2) height and width of the given images"""

    def to_original(self, index: int) -> npt.NDArray[np.float64]:
        """Return the factors (2,) of x and y from the resized image to the given one."""
        factors: npt.NDArray[np.float64] = (self.original_sizes[index] / self.sizes[index])[::-1]
        return factors


def prepare(images: Sequence[Pixels], spec: InputSpec, size_px: tuple[int, int] | None = None) -> ImageBatch:
    """Resize images and pad them to one size.

    Args:
        size_px: the (height, width) after padding; None: the smallest multiple of `pad_to_px` that fits.
    """
    sizes = [_resized_size((image.shape[0], image.shape[1]), spec, size_px) for image in images]
    height, width = size_px or (-(-max(sides) // spec.pad_to_px) * spec.pad_to_px for sides in zip(*sizes, strict=True))
    batch = np.zeros((len(images), 3, height, width), np.float32)
    for target, image, (own_height, own_width) in zip(batch, images, sizes, strict=True):
        # Pillow rounds a few pixels to another integer than training's resizing, which PyTorch does.
        resized = Image.fromarray(image).resize((own_width, own_height), Image.Resampling.BILINEAR)
        target[:, :own_height, :own_width] = np.asarray(resized).transpose(2, 0, 1)
    originals = np.array([image.shape[:2] for image in images], np.int64)
    return ImageBatch(batch, np.array(sizes, np.int64), originals)


def _resized_size(size_px: tuple[int, int], spec: InputSpec, limit: tuple[int, int] | None) -> tuple[int, int]:
    """Compute the (height, width) of a resized image; as `fgd_core.data.transforms.resized_size`."""
    height, width = size_px
    scale = min(spec.shorter_px / min(height, width), spec.longer_px / max(height, width))
    if limit is not None:
        scale = min(scale, limit[0] / height, limit[1] / width)
    sides = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    return sides if limit is None else (min(sides[0], limit[0]), min(sides[1], limit[1]))
