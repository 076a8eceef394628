"""Relates the cells of a map through a small graph (GloRe, arXiv:1811.12814)."""

import torch
from torch import Tensor, nn

from fgd_core.methods.parts.batch_norm import BatchNorm


class GraphReasoning(nn.Module):
    """Projects the cells of a map to a few nodes, relates the nodes, and adds the result to the cells.

    It does not divide by the number of cells, so its values grow with the size of the map, and it does not start as the
    identity. Source: the code of DRKD (arXiv:2302.05637).

    Args:
        channels: C of the map.
        nodes: number of nodes; each has a state of twice as many values.
    """

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        self.state = nn.Conv2d(channels, 2 * nodes, 1)
        self.projection = nn.Conv2d(channels, nodes, 1)
        self.over_nodes = nn.Conv1d(nodes, nodes, 1)
        self.over_states = nn.Conv1d(2 * nodes, 2 * nodes, 1, bias=False)
        self.extension = nn.Conv2d(2 * nodes, channels, 1, bias=False)
        self.norm = BatchNorm(channels, epsilon=1e-4)

    def forward(self, features: Tensor) -> Tensor:
        """Relate the cells of a map: (N, C, H, W) to (N, C, H, W)."""
        projection = self.projection(features)  # (N, nodes, H, W)
        nodes = torch.einsum("nshw,nmhw->nsm", self.state(features), projection)
        nodes = nodes + self.over_nodes(nodes.transpose(1, 2)).transpose(1, 2)
        nodes = self.over_states(nodes.relu())
        cells = torch.einsum("nsm,nmhw->nshw", nodes, projection)
        related: Tensor = self.norm(self.extension(cells))
        return features + related
