"""Paints the images of `shapes`, with colours and textures that do not depend on the class. Computes in integers."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Pixels: TypeAlias = npt.NDArray[np.int32]
_Mask: TypeAlias = npt.NDArray[np.bool_]

NOISE = 1
"""Half grey levels per step; noise changes a pixel by up to 15 steps, usually by less."""

_BACKGROUND_GREYS, _FIRST_GREY, _GREYS_PER_OBJECT = 64, 120, 50
"""Of depth maps: the background is darker than the first object, and each further object brighter by at most this."""


def paint(rng: np.random.Generator, size_px: int, masks: Sequence[_Mask], min_contrast: int) -> npt.NDArray[np.uint8]:
    """Paint a background, strokes that are not objects, the objects, and noise.

    Args:
        size_px: S, both sides of the image.
        masks: each (S, S), True on the object.
        min_contrast: between the colour of an object and the mean colour behind it, in grey levels of the channel with
            the largest difference.
    Returns:
        (S, S, 3) RGB.
    """
    # `_fill` needs a view as a list of pixels; reshaping an array that is not in C order would copy it.
    canvas = np.ascontiguousarray(_background(rng, size_px))
    for _ in range(int(rng.integers(0, 3))):
        _stroke(rng, canvas)
    for mask in masks:
        _fill(rng, canvas, mask, min_contrast)
    canvas += _noise(rng, canvas.shape)
    return canvas.clip(0, 255, out=canvas).astype(np.uint8)


def depth_map(size_px: int, masks: Sequence[_Mask]) -> npt.NDArray[np.uint8]:
    """Draw how near everything is, without texture and noise: a background that slopes, and flat objects before it.

    Args:
        size_px: S, both sides of the image.
        masks: each (S, S), True on the object; later objects are nearer.
    Returns:
        (S, S, 3) grey, brighter the nearer.
    """
    slope = np.arange(size_px) * _BACKGROUND_GREYS // size_px
    depth = np.repeat(slope[:, None], size_px, axis=1)
    step = min(_GREYS_PER_OBJECT, (255 - _FIRST_GREY) // max(1, len(masks) - 1))
    for number, mask in enumerate(masks):
        depth[mask] = _FIRST_GREY + number * step
    return np.repeat(depth[:, :, None], 3, axis=2).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> _Pixels:
    """Return for each value the sum of two random integers below 16, both from one random byte, minus 15."""
    drawn = np.frombuffer(rng.bytes(int(np.prod(shape))), dtype=np.uint8).reshape(shape)
    steps = (drawn & 15).astype(np.int32) + (drawn >> 4) - 15
    noise: _Pixels = steps * NOISE // 2
    return noise


def _background(rng: np.random.Generator, size_px: int) -> _Pixels:
    """(S, S, 3) gradient between four colours, with blotches or stripes."""
    canvas = _interpolate(rng.integers(30, 226, size=(2, 2, 3), dtype=np.int32), size_px)
    strength = int(rng.integers(10, 50))
    if rng.integers(2):
        cells = int(rng.integers(4, 17))
        blotches = rng.integers(-strength, strength + 1, size=(cells, cells, 1), dtype=np.int32)
        return canvas + _interpolate(blotches, size_px)
    along = np.arange(size_px, dtype=np.int32)
    x, y = along[None, :], along[:, None]
    slope_x, slope_y = (int(slope) for slope in rng.integers(-8, 9, size=2))
    period = int(rng.integers(24, 97)) * max(1, size_px // 128)
    wave = np.abs((x * slope_x + y * slope_y) % period * 2 - period) * strength // period
    striped: _Pixels = canvas + wave[:, :, None]
    return striped


def _interpolate(grid: _Pixels, size_px: int) -> _Pixels:
    """Interpolate (G, G, C) bilinearly to (S, S, C), with aligned corners; |grid| <= 255 and S <= 1024 fit 32 bits."""
    last, ends = len(grid) - 1, size_px - 1
    place = np.arange(size_px, dtype=np.int32) * last
    low = np.minimum(place // ends, last - 1)
    far = place - low * ends
    near = ends - far
    rows = grid[low] * near[:, None, None] + grid[low + 1] * far[:, None, None]
    across: _Pixels = rows[:, low] * near[None, :, None] + rows[:, low + 1] * far[None, :, None]
    across //= ends**2
    return across


def _stroke(rng: np.random.Generator, canvas: _Pixels) -> None:
    """Paint a straight line between two random points, one to three pixels thick in an image of 128 px."""
    size_px = len(canvas)
    (x0, y0), (x1, y1) = rng.integers(0, size_px, size=(2, 2))
    thickness = int(rng.integers(1, 4)) * max(1, size_px // 128)
    steps = max(abs(int(x1 - x0)), abs(int(y1 - y0)), 1)
    along = np.arange(steps + 1)
    x = x0 + (x1 - x0) * along // steps
    y = y0 + (y1 - y0) * along // steps
    colour = rng.integers(0, 256, size=3)
    for dy in range(thickness):
        for dx in range(thickness):
            canvas[np.minimum(y + dy, size_px - 1), np.minimum(x + dx, size_px - 1)] = colour


def _fill(rng: np.random.Generator, canvas: _Pixels, mask: _Mask, min_contrast: int) -> None:
    """Paint an object in one random colour, with shading and texture."""
    pixels, places = canvas.view(), np.flatnonzero(mask)
    pixels.shape = (-1, 3)  # raises an error, where `reshape` would silently copy
    covered = pixels[places]
    mean = covered.sum(axis=0) // len(covered)
    colour = rng.integers(0, 256, size=3)
    while np.abs(colour - mean).max() < min_contrast:
        colour = rng.integers(0, 256, size=3)
    y, x = np.divmod(places, len(canvas))
    slope_x, slope_y = rng.integers(-24, 25, size=2)
    shade = ((x - x[0]) * slope_x + (y - y[0]) * slope_y) * 2 // len(canvas)
    grain = int(rng.integers(1, 16))
    texture = rng.integers(-grain, grain + 1, size=len(covered))
    pixels[places] = colour + (shade + texture)[:, None]
