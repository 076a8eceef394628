"""Draws the worst images as pictures: rows are images, columns are detectors or maps."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

from fgd_core.spec.worst_images import VERDICT_COLOURS, ShownImage, judged

_SIDE_PX = 320
_MARGIN_PX = 6
_HEADING_PX = 20
_LINE_PX = 2
_Cell: TypeAlias = Callable[[ShownImage], Image.Image | None]


def draw_boxes(images: Sequence[ShownImage]) -> bytes:
    """Draw a PNG with the boxes of each detector: right green, wrong orange, missed yellow."""
    names = dict.fromkeys(name for image in images for name in image.found)
    return _table(images, {name: partial(_with_boxes, name=name) for name in names})


def draw_maps(images: Sequence[ShownImage]) -> bytes:
    """Draw a PNG with the maps over each image."""
    names = dict.fromkeys(each.name for image in images for each in image.maps)
    return _table(images, {name: partial(_with_map, name=name) for name in names})


def _with_boxes(image: ShownImage, name: str) -> Image.Image:
    picture = _reduced(image)
    draw, font, ratio = ImageDraw.Draw(picture), ImageFont.load_default(), picture.width / image.width
    for box, caption, verdict in judged(image.truth, image.found.get(name, [])):
        colour, (left, top, right, bottom) = VERDICT_COLOURS[verdict], (round(side * ratio) for side in box)
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=_LINE_PX)
        draw.text((left + _LINE_PX + 1, top + _LINE_PX), caption, fill=colour, font=font)
    return picture


def _with_map(image: ShownImage, name: str) -> Image.Image | None:
    for each in image.maps:
        if each.name == name:
            picture = _reduced(image).convert("RGBA")
            drawn = Image.open(io.BytesIO(base64.b64decode(each.png))).resize(picture.size, Image.Resampling.BILINEAR)
            return Image.alpha_composite(picture, drawn).convert("RGB")
    return None


def _reduced(image: ShownImage) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(image.jpeg))).convert("RGB")
    picture.thumbnail((_SIDE_PX, _SIDE_PX))
    return picture


def _table(images: Sequence[ShownImage], columns: Mapping[str, _Cell]) -> bytes:
    """Draw a row for each image and a column for each name; returns a PNG."""
    cell_px = _SIDE_PX + _MARGIN_PX
    canvas = Image.new("RGB", (cell_px * len(columns), _HEADING_PX + cell_px * len(images)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for column, (name, cell) in enumerate(columns.items()):
        draw.text((column * cell_px, 4), name, fill="black", font=font)
        for row, image in enumerate(images):
            picture = cell(image)
            if picture is not None:
                canvas.paste(picture, (column * cell_px, _HEADING_PX + row * cell_px))
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=4)
    return file.getvalue()
