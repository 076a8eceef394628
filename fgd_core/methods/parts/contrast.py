"""Contrasts the student's vectors with the teacher's, and remembers the teacher's vectors of earlier steps."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, pad
from torchvision.ops import box_iou


def info_nce(queries: Tensor, keys: Tensor, is_negative: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """Compute how well each query finds its own key among negatives: -log of the share of its own key.

    Args:
        queries: (n, D) of the student.
        keys: (n, D) of the teacher; key i belongs to query i. No gradient flows into them.
        is_negative: (n, n) bool, whether key j counts as a negative of query i; the diagonal is ignored.
        memory: (m, D) more negatives of every query; rows of zeros are left out.
        temperature: divides the cosines.
    Returns:
        Scalar (), the mean over queries; log(K + 1) for unrelated vectors and K negatives; 0 without a query.
    Source: arXiv:1807.03748 equation 4, as in G-DetKD, arXiv:2108.07482.
    """
    if len(queries) == 0:
        return queries.sum() * 0
    queries, keys, memory = (normalize(each, dim=1) for each in (queries, keys.detach(), memory))
    own = torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    within = (queries @ keys.T / temperature).masked_fill(~(is_negative | own), -torch.inf)  # (n, n)
    earlier = (queries @ memory.T / temperature).masked_fill(~memory.any(1), -torch.inf)  # (n, m)
    return cross_entropy(torch.cat([within, earlier], dim=1), torch.arange(len(queries), device=queries.device))


@torch.no_grad()
def are_apart(boxes: list[Tensor], limit: float) -> Tensor:
    """Find the pairs of boxes that show different things: in other images, or with an IoU of at most `limit`.

    Args:
        boxes: for each image (n_i, 4) xyxy.
    Returns:
        (n, n) bool for the n boxes of all images.
    """
    image = torch.cat([torch.full((len(own),), index, device=own.device) for index, own in enumerate(boxes)])
    every = torch.cat(boxes)
    little_overlap: Tensor = box_iou(every, every) <= limit
    return little_overlap | (image[:, None] != image)


class Memory(nn.Module):
    """Holds the newest vectors in a buffer of fixed size, which checkpoints save; empty rows are zeros.

    Args:
        size: number of vectors.
        dimensions: of a vector.
        added_per_step: each process adds at most this number of vectors in a step.
    """

    vectors: Tensor
    """(size, D)"""
    position: Tensor
    """() int64, the row that is overwritten next"""

    def __init__(self, size: int, dimensions: int, added_per_step: int) -> None:
        super().__init__()
        self._added = min(size, added_per_step)
        self.register_buffer("vectors", torch.zeros(size, dimensions))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, vectors: Tensor) -> None:
        """Overwrite the oldest vectors with the first of (n, D), and with those of all other processes.

        Every process must call this in every step. It adds the same number of rows in every step: fewer vectors than
        `added_per_step` are filled up with zeros.
        """
        if self._added == 0:
            return
        chosen = vectors[: self._added].to(self.vectors.dtype)
        rows = gathered(pad(chosen, (0, 0, 0, self._added - len(chosen))))[: len(self.vectors)]
        places = (self.position + torch.arange(len(rows), device=rows.device)) % len(self.vectors)
        self.vectors[places] = rows
        self.position.copy_((self.position + len(rows)) % len(self.vectors))


def gathered(rows: Tensor) -> Tensor:
    """Join the rows (n, D) of all processes of a distributed training, by rank; n must be the same everywhere."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
