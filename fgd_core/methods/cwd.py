"""Channel-wise distillation (arXiv:2011.13256): compares where each channel of two maps is large.

Each channel of each image becomes a distribution over the cells by a softmax at temperature T. The loss is
T^2 KL(teacher || student), as the mean over channels and images. The values keep their signs.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Method, Side, Terms, adapter
from fgd_core.methods.levels import Pair, match_levels
from fgd_core.methods.parts.comparable import check_same_classes, check_same_locations
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.outputs import DenseOutputs
from fgd_core.spec.methods.cwd import Cwd


def cwd_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the mean divergence of the channels of two maps, of features or of class logits.

    Args:
        student: (N, C, H, W), float32 or float64.
        teacher: (N, C, H, W).
        temperature: of the softmax over cells.
    Returns:
        Scalar (), at least 0; 0 if each channel is the same up to an offset.
    """
    ours, theirs = ((each.flatten(2) / temperature).log_softmax(2) for each in (student, teacher))  # (N, C, HW)
    divergence = (theirs.exp() * (theirs - ours)).sum(2)  # (N, C)
    return temperature**2 * divergence.mean()


class CwdLoss(nn.Module):
    """Compares the channels of one pair of levels; a student of other channels gets a trained 1x1 convolution."""

    def __init__(self, method: Cwd, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = adapter(pair.student_channels, pair.teacher_channels)
        self._method = method

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as (ours, theirs):
            loss = cwd_loss(ours, theirs, self._method.temperature)
        return Terms({"channels": loss}, {"channels": self._method.weight})


def _pairs(method: Cwd, student: Side, teacher: Side) -> Sequence[Pair]:
    pairs = match_levels(student.levels, teacher.levels, teacher.input_scale, derived=method.derived)
    return pairs[: method.levels]


_on_features = per_level(CwdLoss, pairing=_pairs)


class CwdOnLogits(Method):
    """Compares the class logits of each level, as maps with a channel for each class and anchor of a cell."""

    def __init__(self, method: Cwd, student: Side, teacher: Side) -> None:
        super().__init__()
        check_same_locations(method.name(), student, teacher)
        check_same_classes(method.name(), teacher)
        self._method = method
        self._level_names = [level.name for level in student.levels][: method.levels]

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of each level, by its name."""
        student, teacher = lesson.student.outputs, lesson.teacher.outputs
        assert isinstance(student, DenseOutputs) and isinstance(teacher, DenseOutputs)
        levels = zip(self._level_names, student.logit_maps(), teacher.logit_maps(), strict=False)
        return {name: self._level(ours, theirs) for name, ours, theirs in levels}

    def _level(self, student: Tensor, teacher: Tensor) -> Terms:
        """Compare maps (N, K anchors, H, W)."""
        with in_float32(student, teacher) as (ours, theirs):
            return Terms(
                {"channels": cwd_loss(ours, theirs, self._method.temperature)}, {"channels": self._method.weight}
            )

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return (f"the class logits of levels {', '.join(self._level_names)}",)


def build_cwd(method: Cwd, student: Side, teacher: Side) -> Method:
    """Build the method for the maps of the pyramid, or for the class logits."""
    return (CwdOnLogits if method.on == "logits" else _on_features)(method, student, teacher)
