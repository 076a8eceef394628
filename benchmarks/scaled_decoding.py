"""Decodes JPEG files at half size or less before they are shrunk: what it saves, and how much it changes the pixels.

    python -m benchmarks.scaled_decoding [--data ../shared/data/bccd/images] [--images 364]

libjpeg can leave out the high frequencies of each block of 8×8 pixels, and so decode an image at 1/2, 1/4 or 1/8 of its
size. `scaled` decodes at the smallest such size that is not below the wanted one, and resizes the rest of the way, as
fgd resizes a whole image. Pixels are compared with those of the whole image; `saved again` is the yardstick: the whole
image after it was saved once more as JPEG of quality 95. Times are CPU seconds, of both ways in turn. About a minute.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console

from fgd_core.data.image_files import decode
from fgd_core.data.transforms import resize

FACTORS = (2.0, 2.5, 3.0, 4.0)
_LARGE_DIFFERENCE = 8
_AGAIN_QUALITY = 95


class Difference(NamedTuple):
    """Compares shrunk images with those that were decoded as a whole."""

    factor: float
    way: str
    mean_levels: float
    """Mean absolute difference, of 255 levels."""
    large: float
    """Share of values that differ by more than 8 levels."""
    cpu_ratio: float | None
    """CPU time of the whole way by that of this one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/bccd/images"))
    parser.add_argument("--images", type=int, help="use only so many images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(options.data.glob("*.jp*g"))[: options.images]
    found = [each for factor in FACTORS for each in _compared(paths, factor)]
    Console().print(_markdown(found, len(paths)), markup=False)


def _compared(paths: Sequence[Path], factor: float) -> list[Difference]:
    whole, scaled, again = [], [], []
    whole_s = scaled_s = 0.0
    for path in paths:
        with Image.open(path) as image:
            full_px = image.size
        size_px = (max(1, int(full_px[1] / factor + 0.5)), max(1, int(full_px[0] / factor + 0.5)))
        pixels, took_s = _timed(partial(_decoded_whole, path, full_px, size_px))
        whole_s += took_s
        whole.append(pixels)
        pixels, took_s = _timed(partial(_decoded_scaled, path, size_px))
        scaled_s += took_s
        scaled.append(pixels)
        again.append(_shrunk(_saved_again(decode(path, full_px)), size_px))
    return [
        _difference(factor, "scaled", whole, scaled, whole_s / scaled_s),
        _difference(factor, "saved again", whole, again, None),
    ]


def _timed(work: Callable[[], npt.NDArray[np.uint8]]) -> tuple[npt.NDArray[np.uint8], float]:
    began_s = time.process_time()
    found = work()
    return found, time.process_time() - began_s


def _decoded_whole(path: Path, full_px: tuple[int, int], size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Decode at full size, and resize to (3, height, width)."""
    return _shrunk(decode(path, full_px), size_px)


def _decoded_scaled(path: Path, size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Decode at the smallest scale of libjpeg that is not below (height, width), and resize to (3, height, width)."""
    with Image.open(path) as image:
        image.draft("RGB", (size_px[1], size_px[0]))
        return _shrunk(np.asarray(image.convert("RGB")), size_px)


def _saved_again(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) pixels after they were saved as JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_AGAIN_QUALITY)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _shrunk(pixels: npt.NDArray[np.uint8], size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize (H, W, 3) as a run does, to (3, height, width)."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()
    shrunk: npt.NDArray[np.uint8] = resize(image, torch.zeros(0, 4), size_px)[0].numpy()
    return shrunk


def _difference(
    factor: float,
    way: str,
    whole: Sequence[npt.NDArray[np.uint8]],
    other: Sequence[npt.NDArray[np.uint8]],
    cpu_ratio: float | None,
) -> Difference:
    differences = np.concatenate(
        [np.abs(one.astype(np.int16) - two).ravel() for one, two in zip(whole, other, strict=True)]
    )
    large = float((differences > _LARGE_DIFFERENCE).mean())
    return Difference(factor, way, float(differences.mean()), large, cpu_ratio)


def _markdown(found: Sequence[Difference], num_images: int) -> str:
    lines = [
        f"{num_images} JPEG images, shrunk; compared with decoding the whole image.",
        "",
        "| shrunk by | | mean difference, levels | more than 8 levels | faster by CPU time |",
        "|---|---|---|---|---|",
    ]
    for each in found:
        faster = "" if each.cpu_ratio is None else f"{each.cpu_ratio:.2f}"
        lines.append(f"| {each.factor:g} | {each.way} | {each.mean_levels:.2f} | {each.large:.2%} | {faster} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
