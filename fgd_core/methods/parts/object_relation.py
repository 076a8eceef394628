"""Relates the objects of an image to each other."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Related(NamedTuple):
    """The relations of the objects of a batch."""

    matrix: Tensor
    """(N, most, most) the share of each object (last) in what is added to an object; a row sums to 1 over the objects
    that exist, and to 0 for a row that does not."""
    enhanced: Tensor
    """(N, most, D) the objects with what the others add."""


class ObjectRelation(nn.Module):
    """Computes A = softmax(theta(x) phi(x)^T) over the objects of an image, and W(A g(x)) + x. Source: DRKD's code.

    Args:
        size: D, the size of an object's vector.
        width: size of theta, phi and g.
        enhances: False leaves out g and W, where only the matrix is used.
        filters: multiply the products by a softmax over objects of x V x^T, with a trained V. DRKD's code draws a new
            random matrix in each step instead.
    """

    def __init__(self, size: int, width: int, *, enhances: bool = True, filters: bool = False) -> None:
        super().__init__()
        self.theta, self.phi = nn.Linear(size, width), nn.Linear(size, width)
        self.value = nn.Linear(size, width) if enhances else None
        self.out = nn.Linear(width, size) if enhances else None
        self.filter = nn.Linear(size, size, bias=False) if filters else None

    def forward(self, vectors: Tensor, exist: Tensor) -> Related:
        """Relate the objects of each image.

        Args:
            vectors: of shape (N, most, D).
            exist: (N, most) bool; an object that does not exist changes nothing.
        """
        products = self.theta(vectors) @ self.phi(vectors).transpose(1, 2)
        if self.filter is not None:
            products = products * _softmax(self.filter(vectors) @ vectors.transpose(1, 2), exist)
        matrix = _softmax(products, exist)
        if self.value is None or self.out is None:
            return Related(matrix, vectors)
        return Related(matrix, vectors + self.out(matrix @ self.value(vectors)))


def _softmax(products: Tensor, exist: Tensor) -> Tensor:
    """Normalise the rows of (N, most, most) over the objects that exist (N, most); an image may have none."""
    # Not -inf: in an image without objects, all of a row would be -inf, and its softmax NaN.
    least = torch.finfo(products.dtype).min
    shares = products.masked_fill(~exist[:, None], least).softmax(2)
    return shares * exist[:, :, None] * exist[:, None]
