"""Distillation methods and their hyper-parameters."""

from typing import Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command


class Fgd(Command):
    """Focal and Global Distillation (arXiv:2111.11837). The defaults are the published values for RetinaNet."""

    type: Literal["fgd"] = "fgd"
    alpha: float = Field(default=1e-3, ge=0)
    """Weight of the foreground's feature loss."""
    beta: float = Field(default=5e-4, ge=0)
    """Weight of the background's feature loss."""
    gamma: float = Field(default=5e-4, ge=0)
    """Weight of the attention loss."""
    lambda_: float = Field(default=5e-6, ge=0)
    """Weight of the relation (global) loss."""
    temperature: float = Field(default=0.5, gt=0)
    """Temperature of the spatial and channel attention."""
    scale: float = Field(default=1.0, ge=0)
    """A common factor on all four weights. The losses are sums over cells, so the published weights suit pretrained
    networks at 800x1333 pixels. Small networks without pretrained weights need about 0.2."""
    mask: Literal["geometric", "official"] = "geometric"
    """How boxes are placed on the feature map. `geometric`: at their true position. `official`: stretched over the
    padding, as in the authors' code."""

    @property
    def weighs_nothing(self) -> bool:
        """Whether all weights are zero, as in the baseline without distillation of a sweep."""
        return self.scale == 0 or not any((self.alpha, self.beta, self.gamma, self.lambda_))


# It has one member today. With a second one it becomes `Annotated[Fgd | Other, Field(discriminator="type")]`.
MethodSpec: TypeAlias = Fgd
