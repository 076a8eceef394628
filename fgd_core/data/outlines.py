"""Computes which pixels the shapes of `shapes` cover, without rounding errors."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Direction: TypeAlias = tuple[float, float]
_Points: TypeAlias = npt.NDArray[np.float64]
_Mask: TypeAlias = npt.NDArray[np.bool_]
_Inside: TypeAlias = Callable[[_Points, _Points], _Mask]

_STEPS = 4096
"""Corners and directions are multiples of 1/4096: the last digit of sin and cos differs between machines, and products
of such multiples with pixel positions are exact in float64."""


def draw(name: str, diameter_px: int, angle_deg: int, half_x: int, half_y: int) -> _Mask:
    """Draw a shape in a square window that just contains the circle around the shape.

    Args:
        diameter_px: diameter of the circle.
        half_x, half_y: 1 to move the centre right or down by half a pixel from the middle of the window, else 0.
    Returns:
        (H, W), True if the centre of the pixel is inside the shape.
    """
    half = diameter_px // 2 + 2
    offsets = np.arange(-half, half) + 0.5
    x, y = offsets[None, :] - half_x / 2, offsets[:, None] - half_y / 2
    cos, sin = _direction(angle_deg)
    # Inside tests multiply the corners by the radius: dividing the pixel positions by it would round.
    return OUTLINES[name](diameter_px / 2)(x * cos + y * sin, y * cos - x * sin)


def _direction(angle_deg: float) -> tuple[float, float]:
    angle = math.radians(angle_deg)
    return round(math.cos(angle) * _STEPS) / _STEPS, round(math.sin(angle) * _STEPS) / _STEPS


def _circle(r: float) -> _Inside:
    return lambda u, v: u**2 + v**2 <= r**2


def _polygon(corners: Sequence[tuple[float, float]]) -> Callable[[float], _Inside]:
    """Return an inside test by the even-odd rule: a ray to the right of an inside point crosses an odd number of edges.

    Args:
        corners: x and y, for a radius of 1.
    """
    x0, y0 = np.array(corners).T[:, :, None, None]
    x1, y1 = np.roll(x0, -1, axis=0), np.roll(y0, -1, axis=0)

    def scaled(r: float) -> _Inside:
        def inside(u: _Points, v: _Points) -> _Mask:
            straddles = (y0 * r > v) != (y1 * r > v)
            side = (x1 - x0) * (v - y0 * r) - (u - x0 * r) * (y1 - y0)
            odd: _Mask = np.logical_xor.reduce(straddles & ((side > 0) == (y1 > y0)), axis=0)
            return odd

        return inside

    return scaled


def _regular(num_corners: int, *, every_other: float = 1.0) -> list[tuple[float, float]]:
    """Return the corners of a regular polygon; with `every_other`, the radius of every other corner, of a star."""
    radii = [1.0 if k % 2 == 0 else every_other for k in range(num_corners)]
    directions = [_direction(360 * k / num_corners) for k in range(num_corners)]
    return [(c * r, s * r) for (c, s), r in zip(directions, radii, strict=True)]


def _plus(arm: float) -> list[tuple[float, float]]:
    tip = 1 - arm * arm / 2
    return [
        (tip, -arm), (tip, arm), (arm, arm), (arm, tip), (-arm, tip), (-arm, arm),
        (-tip, arm), (-tip, -arm), (-arm, -arm), (-arm, -tip), (arm, -tip), (arm, -arm),
    ]  # fmt: skip


OUTLINES: Mapping[str, Callable[[float], _Inside]] = {
    "circle": _circle,
    "square": _polygon(_regular(4)),
    "triangle": _polygon(_regular(3)),
    "star": _polygon(_regular(10, every_other=0.4375)),
    "cross": _polygon(_plus(0.3125)),
    "pentagon": _polygon(_regular(5)),
    "hexagon": _polygon(_regular(6)),
    "diamond": _polygon([(1, 0), (0, 0.5), (-1, 0), (0, -0.5)]),
    "bar": _polygon([(0.9375, -0.3125), (0.9375, 0.3125), (-0.9375, 0.3125), (-0.9375, -0.3125)]),
    "arrow": _polygon(
        [(1, 0), (0.25, 0.75), (0.25, 0.25), (-0.875, 0.25), (-0.875, -0.25), (0.25, -0.25), (0.25, -0.75)]
    ),
}
"""Name, in the order of the categories -> function from a radius in pixels to an inside test for points relative to the
centre."""

KEYPOINTS = ("centre", "right", "bottom", "left", "top")
"""The names of the points that `keypoints` returns, in order."""


def keypoints(name: str, angle_deg: int) -> list[Direction]:
    """Return five points of a shape as x and y from its centre, for a radius of 1, in exact multiples of 1/4096².

    The points on the outline are corners of the shape, or the ends of its axes. A circle looks the same at every tilt,
    so its points are not tilted.
    """
    cos, sin = (1.0, 0.0) if name == "circle" else _direction(angle_deg)
    return [(u * cos - v * sin, u * sin + v * cos) for u, v in _POINTS[name]]


def _around(
    right: Direction = (1, 0), bottom: Direction = (0, 1), left: Direction = (-1, 0), top: Direction = (0, -1)
) -> tuple[Direction, ...]:
    return (0, 0), right, bottom, left, top


_TIP = 1 - 0.3125**2 / 2
_POINTS: Mapping[str, Sequence[Direction]] = {
    "circle": _around(),
    "square": _around(),
    "triangle": _around(bottom=_direction(120), left=(-0.5, 0), top=_direction(240)),
    "star": _around(bottom=_direction(72), left=(-0.4375, 0), top=_direction(288)),
    "cross": _around((_TIP, 0), (0, _TIP), (-_TIP, 0), (0, -_TIP)),
    "pentagon": _around(bottom=_direction(72), left=(_direction(144)[0], 0), top=_direction(288)),
    "hexagon": _around(bottom=(0, _direction(60)[1]), top=(0, -_direction(60)[1])),
    "diamond": _around(bottom=(0, 0.5), top=(0, -0.5)),
    "bar": _around((0.9375, 0), (0, 0.3125), (-0.9375, 0), (0, -0.3125)),
    "arrow": _around(bottom=(0.25, 0.75), left=(-0.875, 0), top=(0.25, -0.75)),
}
"""x and y of the five points of each shape that is not tilted."""
