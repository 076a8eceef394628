"""Focal and Global Distillation for one pyramid level.

Source: arXiv:2111.11837, and the behaviour of the authors' code where the two differ: every loss is a sum over channels
and cells divided by the batch size alone, the teacher's attention weighs both sides, and the two context blocks of the
relation loss are trained with the student and thrown away. Two things are not the authors': where `mask` is `geometric`
(see `FGDLoss`), and boxes that begin left of the image or above it. Those keep their cells inside it here, while a
negative index counts from the far border there, so that such a box covers other cells or none.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

# Boxes compared with the grid at once. More costs memory, N * 64 * H * W floats; it is no loop over single boxes.
_BOXES_AT_ONCE = 64


class LossTerms(NamedTuple):
    """Scalars. The first four are unweighted; `total` is their weighted sum."""

    foreground: Tensor
    background: Tensor
    attention: Tensor
    relation: Tensor
    total: Tensor

    def unweighted(self) -> dict[str, Tensor]:
        return {name: term for name, term in self._asdict().items() if name != "total"}


class FGDLoss(nn.Module):
    """The focal and the global loss between a student's and a teacher's feature map of one stride.

    Args:
        student_channels: C of the student's map; where it is not `teacher_channels`, a trained 1x1 convolution leads
            there.
        teacher_channels: C of the teacher's map.
        alpha: weight of the foreground's feature loss.
        beta: weight of the background's feature loss.
        gamma: weight of the attention loss.
        lambda_: weight of the relation loss.
        temperature: of the spatial and the channel softmax.
        mask: where boxes lie on the grid of a padded batch. `geometric`: where they are. `official`: stretched from the
            top left corner by padded over unpadded size, as the authors' code has it; the same where nothing is padded.
            Neither follows that code where a corner is negative.
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
        temperature: float,
        mask: Literal["geometric", "official"] = "geometric",
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma, self.lambda_ = alpha, beta, gamma, lambda_
        self.temperature = temperature
        self.mask = mask
        self.adapter: nn.Module = (
            nn.Identity() if student_channels == teacher_channels else nn.Conv2d(student_channels, teacher_channels, 1)
        )
        self.student_context = ContextBlock(teacher_channels)
        self.teacher_context = ContextBlock(teacher_channels)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        input_size: tuple[int, int],
    ) -> LossTerms:
        """See `LevelLoss`.

        Raises:
            ValueError: the maps differ in batch size, height or width, or the boxes are not one (n, 4) for each image.
        """
        _check(student, teacher, boxes, image_sizes)
        student = self.adapter(student)
        # bfloat16 has 8 bits of mantissa: a sum over 10,000 cells would lose nearly all of them.
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = _at_least_float32(student), _at_least_float32(teacher.detach())
            foreground_mask = foreground_weights(
                boxes, [input_size] * len(boxes) if self.mask == "geometric" else image_sizes, student, self.mask
            )
            return self._terms(student, teacher, foreground_mask, background_weights(foreground_mask))

    def _terms(self, student: Tensor, teacher: Tensor, mask_fg: Tensor, mask_bg: Tensor) -> LossTerms:
        num_images = len(student)
        spatial_s, channel_s = attention(student, self.temperature)
        with torch.no_grad():
            spatial_t, channel_t = attention(teacher, self.temperature)

        difference = student - teacher  # (N, C, H, W)
        squared = difference.square()
        # sum_hw M A_S sum_c A_C d^2: the channels go first, so that both masks share one pass over the maps.
        weighed = spatial_t * torch.einsum("nchw,nc->nhw", squared, channel_t)
        foreground = (weighed * mask_fg).sum() / num_images
        background = (weighed * mask_bg).sum() / num_images
        attention_gap = ((spatial_s - spatial_t).abs().sum() + (channel_s - channel_t).abs().sum()) / num_images

        # The context is added to every cell of a channel. Expanded, the square is three sums that leave nothing of a
        # float32 where a trained context undoes an offset of a channel: a hundred thousand minus a hundred thousand.
        context = self.student_context(student) - self.teacher_context(teacher)  # (N, C)
        relation = (difference + context[:, :, None, None]).square().sum() / num_images
        total = self.alpha * foreground + self.beta * background + self.gamma * attention_gap + self.lambda_ * relation
        return LossTerms(foreground, background, attention_gap, relation, total)


class ContextBlock(nn.Module):
    """The context that a global-context block (arXiv:1904.11492) adds to every cell of a map.

    Its last convolution starts at zero, so that the block starts as the identity.
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
        """(N, C, H, W) to (N, C)."""
        cells = self.pool(features).flatten(2).softmax(2)  # (N, 1, HW)
        context = torch.einsum("nchw,nhw->nc", features, cells.view(-1, *features.shape[2:]))
        transformed: Tensor = self.transform(context[:, :, None, None])
        return transformed[:, :, 0, 0]


def attention(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Where and in which channels a map is strong.

    Args:
        features: (N, C, H, W).
    Returns:
        Spatial (N, H, W) and channel (N, C) attention, each with mean 1 over an image.
    """
    _, channels, height, width = features.shape
    magnitude = features.abs()
    spatial = (magnitude.mean(1) / temperature).flatten(1).softmax(1).view(-1, height, width) * (height * width)
    channel = (magnitude.mean((2, 3)) / temperature).softmax(1) * channels
    return spatial, channel


@torch.no_grad()
def foreground_weights(
    boxes: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    features: Tensor,
    rounding: Literal["geometric", "official"] = "geometric",
) -> Tensor:
    """Weigh the cells of a map so that every object counts the same, whatever its size.

    A box takes the cells from floor(min) to ceil(max), both included; where boxes overlap, the smallest counts.

    Args:
        boxes: for each image (n, 4) xyxy in pixels; n may be 0, boxes may pass the border.
        sizes: for each image the (height, width) in pixels that the whole grid is taken to span.
        features: (N, C, H, W); only its shape, type and device count.
        rounding: `official` divides before it multiplies, as the authors' code does, which now and then puts a border
            that lies on a cell's edge one cell further; `geometric` multiplies first, which is exact there.
    Returns:
        (N, H, W) in [0, 1]: 1 / area in cells of the smallest box over the cell, 0 on background.
    """
    height, width = features.shape[2:]
    weights = features.new_zeros(len(boxes), height, width)
    most = max((len(b) for b in boxes), default=0)
    if most == 0:
        return weights
    # Not in bfloat16, in which 801 px is 800 px.
    exact = torch.promote_types(boxes[0].dtype, torch.float32)
    # An image with fewer boxes is filled up with boxes that end before they begin and so cover no cell.
    padded = torch.stack(
        [nn.functional.pad(b.to(features.device, exact), (0, 0, 0, most - len(b)), value=-1e6) for b in boxes]
    )  # (N, most, 4)
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
    """The cells that no box covers, (N, H, W): an image's sum is 1, or 0 where boxes cover everything."""
    background = (foreground == 0).to(foreground.dtype)
    return background / background.sum((1, 2), keepdim=True).clamp(min=1)


def _at_least_float32(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _check(student: Tensor, teacher: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> None:
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"student map {tuple(student.shape)} and teacher map {tuple(teacher.shape)} differ in batch or grid; "
            "compare levels of the same stride"
        )
    if not len(boxes) == len(image_sizes) == len(student):
        raise ValueError(f"{len(student)} images, {len(boxes)} sets of boxes, {len(image_sizes)} image sizes")
    for index, image_boxes in enumerate(boxes):
        if image_boxes.ndim != 2 or image_boxes.shape[1] != 4:
            raise ValueError(f"boxes of image {index} have shape {tuple(image_boxes.shape)}, not (n, 4)")
