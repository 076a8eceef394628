"""Distillation methods and their hyper-parameters."""

from typing import Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command


class Fgd(Command):
    """Focal and Global Distillation (arXiv:2111.11837). The defaults are the published ones for RetinaNet."""

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
    """One factor on all four weights at their ratio. The losses are sums over cells, so the published weights belong to
    pretrained features at 800x1333 pixels; small networks from scratch want about 0.2."""
    mask: Literal["geometric", "official"] = "geometric"
    """`official` stretches boxes over the padding as the authors' code does; `geometric` puts them where they are."""

    @property
    def weighs_nothing(self) -> bool:
        """Whether it leaves the student alone, as the plain baseline of a sweep does."""
        return self.scale == 0 or not any((self.alpha, self.beta, self.gamma, self.lambda_))


# One member so far. The second makes it `Annotated[Fgd | Other, Field(discriminator="type")]`.
MethodSpec: TypeAlias = Fgd
