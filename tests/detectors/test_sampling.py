"""Samples of anchors and regions: those of torchvision, but an image's draws do not depend on other images."""

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.sampling import sample_balanced


def labels(seed: int, count: int = 200) -> Tensor:
    return torch.randint(-1, 3, (count,), generator=torch.Generator().manual_seed(seed))


def targets(*seeds: int) -> Targets:
    nothing = torch.zeros(0, 4)
    return Targets([nothing] * len(seeds), [nothing[:, 0].long()] * len(seeds), [(64, 64)] * len(seeds), seeds=seeds)


def test_from_the_global_generator_it_is_torchvisions_sample() -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        images = [labels(seed), labels(seed + 10)]
        ours = sample_balanced(images, 60, 0.25, [None, None])
        torch.manual_seed(seed)
        positive, negative = BalancedPositiveNegativeSampler(60, 0.25)(images)
        for own, has_object, is_empty in zip(ours, positive, negative, strict=True):
            assert own.positive.tolist() == has_object.nonzero()[:, 0].tolist()
            assert own.chosen.tolist() == (has_object | is_empty).nonzero()[:, 0].tolist()


def test_the_draws_of_an_image_depend_on_its_seed_and_the_purpose_only() -> None:
    def drawn(purpose: str, *seeds: int) -> list[list[float]]:
        generators = targets(*seeds).generators(purpose, torch.device("cpu"))
        return [torch.rand(3, generator=generator).tolist() for generator in generators]

    assert drawn("anchors", 5, 6, 7) == [*drawn("anchors", 5), *drawn("anchors", 6, 7)]
    assert len({tuple(each) for purpose in ("anchors", "regions") for each in drawn(purpose, 5, 6)}) == 4
