"""Describes a backbone by its stages, and computes the maps of some strides with it."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Body(NamedTuple):
    """Holds a backbone and the names of the parts of its stem and its four stages."""

    module: nn.Module
    stages: tuple[tuple[str, ...], ...]
    """Names of the module's children: of the stem, then of the stages of stride 4, 8, 16 and 32."""
    stage_channels: tuple[int, int, int, int]
    output_norms: tuple[str, str, str, str] | None = None
    """Names of the children that turn the outputs of the stages into maps. The next stage gets the output itself. None
    if the outputs are the maps."""

    def output_of(self, stride: int) -> str:
        """Return the name of the child whose output has this stride: 4, 8, 16 or 32."""
        return self.stages[_stage(stride)][-1]

    def output_norm_of(self, stride: int) -> str | None:
        """Return the name of the child that turns the output of this stride into a map; None if there is none."""
        return self.output_norms[_stage(stride) - 1] if self.output_norms is not None else None

    def first(self, num_stages: int) -> tuple[str, ...]:
        """Return the names of the children of the first stages, counted from the stem, with their output norms."""
        names = [name for stage in self.stages[:num_stages] for name in stage]
        return (*names, *(self.output_norms or ())[: max(num_stages - 1, 0)])


class StageMaps(nn.ModuleDict):
    """Runs the children of a backbone, under their names, and returns the maps of some strides."""

    def __init__(self, body: Body, strides: Sequence[int]) -> None:
        super().__init__()
        self._chain = [name for stage in body.stages for name in stage]
        self._norms = {body.output_of(stride): body.output_norm_of(stride) for stride in strides}
        kept = [*self._chain, *filter(None, self._norms.values())]
        self.update({name: body.module.get_submodule(name) for name in kept})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps: (N, 3, H, W) to (N, C, H / stride, W / stride), named `0`, `1`, …, finest first."""
        maps: dict[str, Tensor] = {}
        values = images
        for name in self._chain:
            values = self[name](values)
            if name in self._norms:
                norm = self._norms[name]
                maps[str(len(maps))] = values if norm is None else self[norm](values)
        return maps


def _stage(stride: int) -> int:
    """Return the index of the stage of a stride, counted from the stem: 4, 8, 16, 32 to 1, 2, 3, 4."""
    return stride.bit_length() - 2
