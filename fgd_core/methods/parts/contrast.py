"""Contrasts the student's vectors with the teacher's, and remembers the teacher's vectors of earlier steps."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, pad
from torchvision.ops import box_iou

from fgd_core.ranks import divisor


def info_nce(
    queries: Tensor, keys: Tensor, is_negative: Tensor, memory: Tensor, temperature: float, *, first: int = 0
) -> Tensor:
    """Compute how well each query finds its own key among negatives: -log of the share of its own key.

    Args:
        queries: (n, D) of the student.
        keys: (k, D) of the teacher, of all ranks; key `first + i` belongs to query i. No gradient flows into them.
        is_negative: (n, n) bool, whether the key of query j counts as a negative of query i; the diagonal is ignored.
            The keys of other ranks are negatives: they are of other images.
        memory: (m, D) more negatives of every query; rows of zeros are left out.
        temperature: divides the cosines.
        first: number of keys of the ranks before this one.
    Returns:
        Scalar (), the mean over the queries of all ranks; log(K + 1) for unrelated vectors and K negatives; 0 without
        a query.
    Source: arXiv:1807.03748 equation 4, as in G-DetKD, arXiv:2108.07482.
    """
    count = len(queries)
    num_queries = divisor(queries.new_tensor(count))
    if count == 0:
        return queries.sum() * 0
    queries, keys, memory = (normalize(each, dim=1) for each in (queries, keys.detach(), memory))
    own = torch.eye(count, dtype=torch.bool, device=queries.device)
    counts = pad(is_negative | own, (first, len(keys) - first - count), value=True)  # (n, k)
    within = (queries @ keys.T / temperature).masked_fill(~counts, -torch.inf)  # (n, k)
    earlier = (queries @ memory.T / temperature).masked_fill(~memory.any(1), -torch.inf)  # (n, m)
    places = first + torch.arange(count, device=queries.device)
    return cross_entropy(torch.cat([within, earlier], dim=1), places, reduction="sum") / num_queries


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
        added_per_step: the largest number of vectors that a step adds.
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
        """Overwrite the oldest vectors with the first of (n, D).

        It adds the same number of rows in every step: fewer vectors than `added_per_step` are filled up with zeros.

        Args:
            vectors: of all ranks, so that each rank remembers the same.
        """
        if self._added == 0:
            return
        chosen = vectors[: self._added].to(self.vectors.dtype)
        rows = pad(chosen, (0, 0, 0, self._added - len(chosen)))
        places = (self.position + torch.arange(len(rows), device=rows.device)) % len(self.vectors)
        self.vectors[places] = rows
        self.position.copy_((self.position + len(rows)) % len(self.vectors))
