from collections.abc import Iterator
from pathlib import Path

import pytest
from small_control_plane import SmallControlPlane

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.training import TrainingSpec


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    return Assignment(
        attempt_id="job1-1",
        number=1,
        job_id="job1",
        spec=TrainSpec(
            name="tiny",
            detector=RetinaNet(backbone=ResNet(name="resnet18", stem_width=8, blocks=(1, 1, 1, 1)), fpn_width=16),
            data=Shapes(num_train=8, num_val=4, image_size_px=64),
            input=InputSpec(shorter_px=64, longer_px=64),
            training=TrainingSpec(epochs=1, batch_size=4),
        ),
        job_uri=(tmp_path / "job1").as_uri(),
        heartbeat_s=0.5,
    )


@pytest.fixture
def control_plane(assignment: Assignment) -> Iterator[SmallControlPlane]:
    server = SmallControlPlane(assignment)
    server.start()
    yield server
    server.stop()
