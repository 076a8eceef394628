"""Reads the pixels of image files as upright 8-bit RGB."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from fgd_core import confined
from fgd_core.data import jpeg_headers
from fgd_core.data.image_headers import header_of
from fgd_core.errors import DataError
from fgd_core.prediction.pixels import DECODE_ERRORS, FORMATS, rgb

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_MAX_16_BIT_FILES = 16
_DARK_BELOW = 64
"""If all 16-bit pixels are below this in 8 bits, the camera used 10 to 14 bits, and the images are nearly black."""


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
        header = header_of(image)
        image.load()
        is_turned = header.rotation_for(size_px) == "rotate"
        return rgb(image.transpose(_TURNS[header.orientation]) if is_turned else image)
