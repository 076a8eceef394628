"""Several ranks share the batches of one process, with every random change and both samplings."""

import torch

from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.data.shapes import ShapesDataset
from fgd_core.spec.data import InputSpec, Shapes
from tests.ranks.processes import on_ranks

INPUT = InputSpec.model_validate(
    {
        "shorter_px": 64,
        "train_shorter_px": (48, 80),
        "train_shorter_from": "range",
        "augment": [{"type": kind} for kind in ("large_scale_jitter", "photometric_jitter", "mosaic", "mixup")],
        "sampling": {"aspect_groups": 3, "repeat_threshold": 0.6, "fraction": 0.9},
    }
)


def batches() -> list[Batch]:
    dataset = ShapesDataset(Shapes(num_train=14, image_size_px=64), "train")
    return [*TrainLoader(dataset, INPUT, batch_size=4, seed=0, workers=0).epoch(1, 1)]


def test_ranks_get_their_parts_of_the_batches_of_one_process() -> None:
    alone, parts = batches(), on_ranks(2, batches)
    assert len(alone) == len(parts[0]) == len(parts[1]) > 1
    for whole, first, second in zip(alone, *parts, strict=True):
        assert torch.equal(torch.cat([first.images, second.images]), whole.images)
        assert [*first.image_ids, *second.image_ids] == whole.image_ids
        assert all(map(torch.equal, [*first.boxes, *second.boxes], whole.boxes))
