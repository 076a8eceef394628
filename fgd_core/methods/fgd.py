"""Computes Focal and Global Distillation for one pyramid level.

Source: arXiv:2111.11837, and the authors' code where it differs: every loss is a sum over channels and cells, divided
by the batch size only; the teacher's attention weighs both networks; and the two context blocks of the relation loss
train with the student and are discarded afterwards. Two points differ from the authors' code: the mask `geometric` (see
`FGDLoss`), and boxes that start left of the image or above it. Here such a box covers its cells inside the image. In
the authors' code a negative index counts from the opposite border, so the box covers other cells or none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Terms, adapter
from fgd_core.methods.parts.attention import attention_of_means, temperature_of
from fgd_core.methods.parts.map_sums import Focus, MapTerms, map_terms
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.parts.scale_masks import Rounding, ScaleMasks, Size, scale_masks
from fgd_core.methods.per_level import PerLevel, per_level
from fgd_core.methods.temperature import advise_temperature
from fgd_core.spec.methods.fgd import Fgd


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
        mask: Rounding = "geometric",
        cell_factor: Callable[[Size], float] = lambda _: 1.0,
    ) -> None:
        super().__init__()
        self.weights = {"foreground": alpha, "background": beta, "attention": gamma, "relation": lambda_}
        self.temperature = temperature
        self.mask = mask
        self._cell_factor = cell_factor
        self.adapter = adapter(student_channels, teacher_channels)
        self.student_context = ContextBlock(teacher_channels)
        self.teacher_context = ContextBlock(teacher_channels)
        self._compute: Callable[[Tensor, Tensor, ScaleMasks, float], MapTerms] = self._parts

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compute the loss of maps (N, C, H, W); see `compare`."""
        return self.compare(student, teacher, lesson.targets.boxes, lesson.targets.image_sizes, lesson.input_size)

    def compare(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: Sequence[Tensor],
        image_sizes: Sequence[Size],
        input_size: Size,
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
        _check_boxes(boxes, image_sizes, len(student))
        (masks,) = scale_masks(boxes, [input_size] if self.mask == "geometric" else image_sizes, [student], self.mask)
        return self.weighed(student, teacher, masks, input_size)

    def weighed(self, student: Tensor, teacher: Tensor, masks: ScaleMasks, input_size: Size) -> Terms:
        """Compute the loss of one level as `compare` does, from its masks (N, H, W)."""
        _check_maps(student, teacher)
        adapted = self.adapter(student)
        with torch.autocast(student.device.type, enabled=False):
            parts = self._compute(adapted, teacher.detach(), masks, self._cell_factor(input_size))
            return Terms(parts._asdict(), self.weights)

    def compile_sums(self, backend: str | Callable[..., object] = "inductor") -> None:
        """Compile the terms, as one graph; only an accelerator runs them faster then."""
        self._compute = torch.compile(self._parts, fullgraph=True, backend=backend)

    def _parts(self, student: Tensor, teacher: Tensor, masks: ScaleMasks, cell_factor: float) -> MapTerms:
        """Compute the terms from maps (N, C, H, W) of any precision."""
        temperature = None if self.temperature == "auto" else self.temperature
        blocks = self.student_context.parameters(), self.teacher_context.parameters()
        return map_terms(student, teacher, Focus(masks, temperature, cell_factor), blocks)


class EagerFGDLoss(FGDLoss):
    """Computes the same with one operation after another, as the paper writes it: the reference of tests."""

    def _parts(self, student: Tensor, teacher: Tensor, masks: ScaleMasks, cell_factor: float) -> MapTerms:
        """Compute the terms from maps (N, C, H, W) of any precision."""
        with in_float32(student, teacher) as (ours, theirs):
            temperature = temperature_of(theirs) if self.temperature == "auto" else self.temperature
            spatial_s, channel_s = self._attention(ours, temperature)
            spatial_t, channel_t = self._attention(theirs, temperature)
            weighed = (ours - theirs).square() * spatial_t[:, None] * channel_t[:, :, None, None]
            spatial_gap, channel_gap = (spatial_s - spatial_t).abs().sum(), (channel_s - channel_t).abs().sum()
            relation = (self.student_context(ours) - self.teacher_context(theirs)).square().sum()
            return MapTerms(
                foreground=(weighed * masks.foreground[:, None]).sum() / len(student),
                background=(weighed * masks.background[:, None]).sum() / len(student),
                attention=(cell_factor * spatial_gap + channel_gap) / len(student),
                relation=relation / len(student) * cell_factor,
            )

    @staticmethod
    def _attention(features: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Compute the spatial (N, H, W) and channel (N, C) attention of a map (N, C, H, W)."""
        magnitude = features.abs()
        cells, channel = attention_of_means(magnitude.mean(1).flatten(1), magnitude.mean((2, 3)), temperature)
        return cells.view(-1, *features.shape[2:]), channel


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
        """Add the context to every cell of a map (N, C, H, W)."""
        cells = self.pool(features).flatten(2).softmax(2)  # (N, 1, HW)
        context = torch.einsum("nchw,nhw->nc", features, cells.view(-1, *features.shape[2:]))
        added: Tensor = self.transform(context[:, :, None, None])
        return features + added


class Levels(PerLevel):
    """Computes the loss of each level, with the masks of all levels made at once."""

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of each pair, by the name of the student's level."""
        targets, pairs = lesson.targets, list(self.compared(lesson))
        losses = [cast(FGDLoss, pair.loss) for pair in pairs]
        rounding = losses[0].mask
        spans = [lesson.input_size] if rounding == "geometric" else targets.image_sizes
        masks = scale_masks(targets.boxes, spans, [pair.student for pair in pairs], rounding)
        return {
            pair.name: loss.weighed(pair.student, pair.teacher, mask, lesson.input_size)
            for pair, loss, mask in zip(pairs, losses, masks, strict=True)
        }

    def compile_losses(self) -> None:
        """Compile the losses of all levels."""
        for loss in self.children():
            cast(FGDLoss, loss).compile_sums()


def _check_maps(student: Tensor, teacher: Tensor) -> None:
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"student map {tuple(student.shape)} and teacher map {tuple(teacher.shape)} differ in batch size or grid; "
            "compare levels of the same stride"
        )


def _check_boxes(boxes: Sequence[Tensor], image_sizes: Sequence[Size], num_images: int) -> None:
    if not len(boxes) == len(image_sizes) == num_images:
        raise ValueError(
            f"expected boxes and a size for each of {num_images} images, got {len(boxes)} and {len(image_sizes)}"
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


build_fgd = per_level(_build, advise=advise, kind=Levels)
