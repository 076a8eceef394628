"""Draws predictions on their images, with Pillow and numpy alone."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fgd_core.prediction.model import Prediction
from fgd_core.prediction.pixels import Pixels

# Colours of Wong (Nature Methods 8, 441, 2011), which people with any colour vision can tell apart.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
_MASK_OPACITY = 0.5
_SIDE_PER_LINE_PX = 400
"""A line is one pixel wider for each of these pixels of the longer side."""


def draw(pixels: Pixels, found: Prediction) -> Image.Image:
    """Draw boxes with their classes and scores, masks and keypoints on an image."""
    canvas = Image.fromarray(pixels if found.masks is None else _with_masks(pixels, found.masks, found.labels))
    pen, width = ImageDraw.Draw(canvas), 2 + max(canvas.size) // _SIDE_PER_LINE_PX
    font = ImageFont.load_default(size=8 + 4 * width)
    # The best objects last, so that they cover others.
    for index in reversed(range(len(found.scores))):
        colour = _colour(int(found.labels[index]))
        left, top, right, bottom = found.boxes_xyxy_px[index].tolist()
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=width)
        caption = f"{found.names[index]} {found.scores[index]:.2f}"
        place = pen.textbbox((left + width, top + width), caption, font=font)
        pen.rectangle(place, fill=colour)
        pen.text((left + width, top + width), caption, fill="black", font=font)
        for x, y, _ in found.keypoints[index].tolist() if found.keypoints is not None else ():
            pen.ellipse((x - width, y - width, x + width, y + width), fill=colour, outline="black")
    return canvas


def _with_masks(pixels: Pixels, masks: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> Pixels:
    """Tint the pixels of masks (n, height, width); where several overlap, by the best."""
    tinted = pixels.copy()
    for mask, label in zip(masks[::-1], labels[::-1].tolist(), strict=True):
        tinted[mask] = (1 - _MASK_OPACITY) * pixels[mask] + _MASK_OPACITY * np.array(_colour(label))
    return tinted


def _colour(label: int) -> tuple[int, int, int]:
    return _COLOURS[label % len(_COLOURS)]
