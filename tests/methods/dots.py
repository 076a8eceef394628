"""Textured dots with depth, and networks that learn where a dot is: what a depth teacher knows that labels do not."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import interpolate, l1_loss

from fgd_core.methods.embedding import cosine_distance

SIZE_PX = 24
STRIDE_PX = 2
LABEL_NOISE_PX = 3.0
"""Deviation of the labels: a keypoint that is only roughly known, as one that is found without supervision."""
_TRAINED, _TESTED, _STEPS, _BATCH = 500, 300, 400, 16


class Dots(NamedTuple):
    """Holds one dot in each image."""

    images: Tensor
    """(N, 3, S, S) a textured dot before another texture"""
    depths: Tensor
    """(N, 3, S, S) a bump before nothing"""
    centres: Tensor
    """(N, 2) x and y in pixels"""


def draw_dots(number: int, generator: Generator) -> Dots:
    """Draw images of one dot each."""
    along = torch.arange(SIZE_PX, dtype=torch.float32)
    centres = torch.rand(number, 2, generator=generator) * (SIZE_PX - 10) + 5
    radius = torch.rand(number, 1, 1, generator=generator) * 2 + 2.5
    x, y = centres[:, 0, None, None], centres[:, 1, None, None]
    squared = (along[None, None, :] - x) ** 2 + (along[None, :, None] - y) ** 2
    inside = (squared < radius**2).float()
    blotches = interpolate(torch.rand(number, 3, 6, 6, generator=generator), size=(SIZE_PX, SIZE_PX), mode="bilinear")
    background = blotches + 0.3 * torch.rand(number, 3, SIZE_PX, SIZE_PX, generator=generator)
    colour = 0.6 * torch.rand(number, 3, 1, 1, generator=generator)
    dot = colour + 0.7 * torch.rand(number, 3, SIZE_PX, SIZE_PX, generator=generator)
    images = torch.where(inside[:, None] > 0, dot, background) - 0.5
    depths = (inside * (1 - squared / (2 * radius**2)))[:, None].expand(-1, 3, -1, -1) - 0.2
    return Dots(images, depths, centres)


class Finder(nn.Module):
    """Finds a dot by the mean place of a heat map; its embeddings are the map before the last convolution."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for stride in (STRIDE_PX, 1, 1):
            layers += [nn.Conv2d(width, width, 3, stride, padding=1), nn.ReLU()]
        # As the levels of a pyramid: without an activation at the end.
        self.body, self.head = nn.Sequential(*layers[:-1]), nn.Sequential(nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Map pictures (N, 3, S, S) to embeddings (N, C, S / 2, S / 2) and centres (N, 2) in pixels."""
        embeddings = self.body(pictures)
        heat = self.head(embeddings).flatten(1).softmax(1).view(len(pictures), *embeddings.shape[2:])
        places = torch.arange(heat.shape[1], dtype=torch.float32) * STRIDE_PX + 0.5
        centres = torch.stack([(heat.sum(1) * places).sum(1), (heat.sum(2) * places).sum(1)], 1)
        return embeddings, centres


def keypoint_errors(seed: int, weight: float) -> tuple[float, float]:
    """Return the mean errors in pixels of a student alone, and of one that imitates a depth teacher's embeddings."""
    generator = torch.Generator().manual_seed(seed)
    train = draw_dots(_TRAINED, generator)
    noise = LABEL_NOISE_PX * torch.randn(train.centres.shape, generator=generator)
    train = train._replace(centres=train.centres + noise)
    test = draw_dots(_TESTED, generator)
    torch.manual_seed(seed)
    teacher = _fit(Finder(), train.depths, train.centres, generator)
    with torch.no_grad():
        embeddings = teacher(train.depths)[0]
    return _student(seed, train, None, test), _student(seed, train, _Imitated(embeddings, weight), test)


class _Imitated(NamedTuple):
    embeddings: Tensor
    """(N, C, S / 2, S / 2) of the teacher"""
    weight: float


def _student(seed: int, train: Dots, imitated: _Imitated | None, test: Dots) -> float:
    torch.manual_seed(seed + 1)
    student = _fit(Finder(), train.images, train.centres, torch.Generator().manual_seed(seed), imitated)
    with torch.no_grad():
        return (student(test.images)[1] - test.centres).norm(dim=1).mean().item()


def _fit(
    finder: Finder, pictures: Tensor, centres: Tensor, generator: Generator, imitated: _Imitated | None = None
) -> Finder:
    optimizer = torch.optim.Adam(finder.parameters(), 3e-3)
    for _ in range(_STEPS):
        chosen = torch.randint(len(pictures), (_BATCH,), generator=generator)
        own, found = finder(pictures[chosen])
        loss = l1_loss(found, centres[chosen])
        if imitated is not None:
            loss = loss + imitated.weight * cosine_distance(own, imitated.embeddings[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return finder
