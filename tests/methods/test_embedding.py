"""Cosine distillation of embeddings: directions by hand, and what the loss ignores."""

import math

import pytest
import torch
from torch import Tensor

from fgd_core.methods.embedding import EmbeddingLoss, cosine_distance, pooled
from fgd_core.spec.methods import Embedding
from tests.methods.dots import keypoint_errors
from tests.methods.waves import PAIR, golden_maps, lesson
from tests.tiers import slow


def distance_by_hand(student: list[float], teacher: list[float]) -> float:
    product = sum(s * t for s, t in zip(student, teacher, strict=True))
    return 1 - product / math.hypot(*student) / math.hypot(*teacher)


def test_the_distance_equals_a_loop_over_all_cells() -> None:
    student, teacher = golden_maps()
    cells = [(n, y, x) for n in range(2) for y in range(6) for x in range(8)]
    distances = [distance_by_hand(student[n, :, y, x].tolist(), teacher[n, :, y, x].tolist()) for n, y, x in cells]
    assert cosine_distance(student, teacher).item() == pytest.approx(sum(distances) / len(cells), abs=1e-12)


def test_pooled_embeddings_are_the_means_of_each_image() -> None:
    student, teacher = golden_maps()
    means = [[each[n].flatten(1).mean(1).tolist() for n in range(2)] for each in (student, teacher)]
    distances = [distance_by_hand(*pair) for pair in zip(*means, strict=True)]
    found = cosine_distance(pooled(student), pooled(teacher))
    assert found.item() == pytest.approx(sum(distances) / 2, abs=1e-12)


@pytest.mark.parametrize("embeddings", ["cells", "image"])
def test_a_scaled_copy_has_no_loss_and_its_negative_the_largest(embeddings: str) -> None:
    _, teacher = golden_maps()
    loss = EmbeddingLoss(Embedding.model_validate({"embeddings": embeddings}), PAIR)
    assert loss(7 * teacher, teacher, lesson()).total.item() == pytest.approx(0, abs=1e-12)
    assert loss(-teacher, teacher, lesson()).total.item() == pytest.approx(2, abs=1e-12)


def test_pooled_embeddings_ignore_where_things_are_and_cells_do_not() -> None:
    _, teacher = golden_maps()
    mirrored = teacher.flip(3)
    assert cosine_distance(pooled(mirrored), pooled(teacher)).item() == pytest.approx(0, abs=1e-12)
    assert cosine_distance(mirrored, teacher).item() > 0.1


def test_an_empty_map_has_a_finite_gradient() -> None:
    _, teacher = golden_maps()
    student: Tensor = torch.zeros_like(teacher).requires_grad_()
    distance = cosine_distance(student, teacher)
    distance.backward()
    assert distance.item() == 1
    assert student.grad is not None and student.grad.isfinite().all()


def test_the_settings_reach_the_loss() -> None:
    student, teacher = golden_maps()
    terms = EmbeddingLoss(Embedding(weight=3.0, embeddings="image"), PAIR)(student, teacher, lesson())
    assert terms.total.item() == pytest.approx(3 * cosine_distance(pooled(student), pooled(teacher)).item(), abs=1e-12)


@slow("tests/training/test_depth_teacher.py::test_a_student_on_images_learns_from_the_depth_maps")
@pytest.mark.parametrize("seeds", [(2,), (0, 1, 2)], ids=["one seed", "three"])
def test_on_textured_dots_a_depth_teacher_lowers_the_keypoint_error(seeds: tuple[int, ...]) -> None:
    # Over 12 seeds: 1.169 px alone and 1.024 px distilled, lower in 9 of them; the labels are off by 3 px in deviation.
    alone, distilled = zip(*(keypoint_errors(seed, Embedding().weight) for seed in seeds), strict=True)
    assert sum(distilled) < 0.95 * sum(alone)
