"""Computes Focal and Global Distillation for one pyramid level.

Source: arXiv:2111.11837, and the authors' code where it differs: every loss is a sum over channels and cells, divided
by the batch size only; the teacher's attention weighs both networks; and the two context blocks of the relation loss
train with the student and are discarded afterwards. Two points differ from the authors' code: the mask `geometric` (see
`FGDLoss`), and boxes that start left of the image or above it. Here such a box covers its cells inside the image. In
the authors' code a negative index counts from the opposite border, so the box covers other cells or none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Terms, adapter
from fgd_core.methods.parts.attention import attention, temperature_of
from fgd_core.methods.parts.objects import stacked
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.methods.temperature import advise_temperature
from fgd_core.spec.methods.fgd import Fgd

# Boxes compared with the grid in one step. They take N * 64 * H * W floats of memory; one box a step would be slow.
_BOXES_AT_ONCE = 64


class FGDLoss(nn.Module):
    """Computes the focal and the global loss between a student's and a teacher's feature map of the same stride.

    Args:
        student_channels: C of the student's map; if it differs from `teacher_channels`, a trained 1x1 convolution
            converts it.
        teacher_channels: C of the teacher's map.
        alpha: weight of the foreground's feature loss.
        beta: weight of the background's feature loss.
        gamma: weight of the attention loss.
        lambda_: weight of the relation loss.
        temperature: of the spatial and the channel softmax; `auto`: see `temperature_of`.
        mask: the positions of boxes on the grid of a padded batch. `geometric`: their true positions. `official`:
            scaled from the top left corner by padded over unpadded size, as in the authors' code; equal to `geometric`
            without padding. Neither follows the authors' code for negative corners.
        cell_factor: returns a factor on the terms that are sums over cells, given the padded (height, width) in pixels.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        alpha: float,
        beta: float,
        gamma: float,
        lambda_: float,
        temperature: float | Literal["auto"],
        mask: Literal["geometric", "official"] = "geometric",
        cell_factor: Callable[[tuple[int, int]], float] = lambda _: 1.0,
    ) -> None:
        super().__init__()
        self.weights = {"foreground": alpha, "background": beta, "attention": gamma, "relation": lambda_}
        self.temperature = temperature
        self.mask = mask
        self._cell_factor = cell_factor
        self.adapter = adapter(student_channels, teacher_channels)
        self.student_context = ContextBlock(teacher_channels)
        self.teacher_context = ContextBlock(teacher_channels)

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compute the loss of maps (N, C, H, W); see `compare`."""
        return self.compare(student, teacher, lesson.targets.boxes, lesson.targets.image_sizes, lesson.input_size)

    def compare(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        input_size: tuple[int, int],
    ) -> Terms:
        """Compute the loss of one level.

        Args:
            student: (N, C_student, H, W).
            teacher: (N, C_teacher, H, W); no gradient flows into it.
            boxes: for each image (n, 4) xyxy in pixels of the resized image; n may be 0.
            image_sizes: for each image (height, width) in pixels of the resized image, before padding.
            input_size: (height, width) in pixels of the padded batch.
        Raises:
            ValueError: the maps differ in batch size, height or width, or the boxes are not one (n, 4) for each image.
        """
        _check_shapes(student, teacher, boxes, image_sizes)
        with in_float32(self.adapter(student), teacher.detach()) as (ours, theirs):
            foreground_mask = foreground_weights(
                boxes, [input_size] * len(boxes) if self.mask == "geometric" else image_sizes, ours, self.mask
            )
            masks = (foreground_mask, background_weights(foreground_mask))
            return self._terms(ours, theirs, *masks, cell_factor=self._cell_factor(input_size))

    def _terms(
        self, student: Tensor, teacher: Tensor, mask_fg: Tensor, mask_bg: Tensor, *, cell_factor: float
    ) -> Terms:
        """Compute the terms from maps (N, C, H, W) and masks (N, H, W)."""
        num_images = len(student)
        temperature = temperature_of(teacher) if self.temperature == "auto" else self.temperature
        spatial_s, channel_s = attention(student, temperature)
        with torch.no_grad():
            spatial_t, channel_t = attention(teacher, temperature)

        difference = student - teacher  # (N, C, H, W)
        squared = difference.square()
        # sum_hw M A_S sum_c A_C d^2: summing channels first lets both masks share one pass over the maps.
        weighed = spatial_t * torch.einsum("nchw,nc->nhw", squared, channel_t)
        foreground = (weighed * mask_fg).sum() / num_images
        background = (weighed * mask_bg).sum() / num_images
        spatial_gap, channel_gap = (spatial_s - spatial_t).abs().sum(), (channel_s - channel_t).abs().sum()
        attention_gap = (cell_factor * spatial_gap + channel_gap) / num_images

        # The context is added to every cell of a channel. Do not expand the square into three sums: they lose all
        # float32 digits if a trained context cancels the offset of a channel, as in 100,000 minus 100,000.
        context = self.student_context(student) - self.teacher_context(teacher)  # (N, C)
        relation = (difference + context[:, :, None, None]).square().sum() / num_images * cell_factor
        parts = {
            "foreground": foreground,
            "background": background,
            "attention": attention_gap,
            "relation": relation,
        }
        return Terms(parts, self.weights)


class ContextBlock(nn.Module):
    """Computes the context that a global-context block (arXiv:1904.11492) adds to every cell of a map.

    The last convolution starts at zero, so the block starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.pool = nn.Conv2d(channels, 1, 1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.LayerNorm([hidden, 1, 1]),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
        )
        nn.init.kaiming_normal_(self.pool.weight, mode="fan_in")
        last = self.transform[-1]
        for parameter in (self.pool.bias, last.weight, last.bias):
            assert isinstance(parameter, Tensor)
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the context of a map: (N, C, H, W) to (N, C)."""
        cells = self.pool(features).flatten(2).softmax(2)  # (N, 1, HW)
        context = torch.einsum("nchw,nhw->nc", features, cells.view(-1, *features.shape[2:]))
        transformed: Tensor = self.transform(context[:, :, None, None])
        return transformed[:, :, 0, 0]


@torch.no_grad()
def foreground_weights(
    boxes: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    features: Tensor,
    rounding: Literal["geometric", "official"] = "geometric",
) -> Tensor:
    """Weigh the cells of a map so that every object has the same total weight, whatever its size.

    A box covers the cells from floor(min) to ceil(max), both included. If boxes overlap, the smallest box counts.

    Args:
        boxes: for each image (n, 4) xyxy in pixels; n may be 0, boxes may extend beyond the image.
        sizes: for each image the (height, width) in pixels that the whole grid covers.
        features: (N, C, H, W); only the shape, type and device are used.
        rounding: `official` divides before it multiplies, as in the authors' code; rounding then sometimes moves a
            border on the edge of a cell by one cell. `geometric` multiplies first and is exact there.
    Returns:
        (N, H, W) in [0, 1]: 1 / area in cells of the smallest box over the cell, 0 on background.
    """
    height, width = features.shape[2:]
    weights = features.new_zeros(len(boxes), height, width)
    most = max((len(b) for b in boxes), default=0)
    if most == 0:
        return weights
    padded = stacked(boxes, features.device).boxes  # (N, most, 4)
    span = padded.new_tensor([(w, h, w, h) for h, w in sizes])[:, None]
    cells = padded.new_tensor([width, height, width, height])
    corners = padded / span * cells if rounding == "official" else padded * cells / span
    low, high = corners[..., :2].floor(), corners[..., 2:].ceil()
    value = (1 / (high - low + 1).clamp(min=1).prod(-1)).to(features.dtype)  # (N, most)
    columns = torch.arange(width, device=features.device)
    rows = torch.arange(height, device=features.device)
    in_columns = (columns >= low[..., :1]) & (columns <= high[..., :1])  # (N, most, W)
    in_rows = (rows >= low[..., 1:]) & (rows <= high[..., 1:])  # (N, most, H)
    for start in range(0, most, _BOXES_AT_ONCE):
        part = slice(start, start + _BOXES_AT_ONCE)
        inside = in_rows[:, part, :, None] & in_columns[:, part, None, :]
        weights = torch.maximum(weights, (inside * value[:, part, None, None]).amax(1))
    return weights


@torch.no_grad()
def background_weights(foreground: Tensor) -> Tensor:
    """Weigh the cells that no box covers equally: (N, H, W) to (N, H, W).

    The sum over an image is 1, or 0 if boxes cover all cells.
    """
    background = (foreground == 0).to(foreground.dtype)
    return background / background.sum((1, 2), keepdim=True).clamp(min=1)


def _check_shapes(
    student: Tensor, teacher: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
) -> None:
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"student map {tuple(student.shape)} and teacher map {tuple(teacher.shape)} differ in batch size or grid; "
            "compare levels of the same stride"
        )
    if not len(boxes) == len(image_sizes) == len(student):
        raise ValueError(
            f"expected boxes and a size for each of {len(student)} images, got {len(boxes)} and {len(image_sizes)}"
        )
    for index, image_boxes in enumerate(boxes):
        if image_boxes.ndim != 2 or image_boxes.shape[1] != 4:
            raise ValueError(f"boxes of image {index} have shape {tuple(image_boxes.shape)}, expected (n, 4)")


def _build(method: Fgd, pair: LevelPair) -> FGDLoss:
    return FGDLoss(
        pair.student_channels,
        pair.teacher_channels,
        alpha=method.alpha,
        beta=method.beta,
        gamma=method.gamma,
        lambda_=method.lambda_,
        temperature=method.temperature,
        mask=method.mask,
        cell_factor=method.cell_factor,
    )


def advise(method: Fgd, maps: Mapping[str, Tensor]) -> str | None:
    """Advise another temperature for a teacher's maps, each (N, C, H, W), unless it follows them."""
    return None if method.temperature == "auto" else advise_temperature(method.temperature, maps)


build_fgd = per_level(_build, advise=advise)
