"""What is compared: the data sets with their pairs of detectors, and the ways to train a student."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PLAIN = "plain"


class Setting(NamedTuple):
    """A data set, and how long teacher and students are trained on it from scratch."""

    data: dict[str, Any]
    size_px: tuple[int, int]
    """Of the images: the shorter and the longer side at most."""
    teacher_epochs: int
    epochs: int
    """Of every student."""

    @property
    def input(self) -> dict[str, int]:
        """The field `input` of its jobs."""
        shorter_px, longer_px = self.size_px
        return {"shorter_px": shorter_px, "longer_px": longer_px}


_FGD = {"type": "fgd", "temperature": "auto"}
ARMS: Mapping[str, dict[str, Any]] = {
    "fgd": {"type": "fgd", "temperature": 0.5},
    "pkd": {"type": "pkd"},
    "pkd published": {"type": "pkd", "scale": 1.0},
    "cwd": {"type": "cwd"},
    "mgd": {"type": "mgd"},
    "crosskd": {"type": "crosskd"},
    "composed": {"type": "composed"},
    "fgd auto T": _FGD,
    "fgd 0.03 auto T": {"type": "fgd", "scale": 0.03, "temperature": "auto"},
    "fgd 1 auto T": _FGD | {"scale": 1.0},
    "fgd and pkd": {"type": "mixed", "parts": {"fgd": _FGD, "pkd": {"type": "pkd"}}},
    "fgd and crosskd": {"type": "mixed", "parts": {"fgd": _FGD, "crosskd": {"type": "crosskd"}}},
    "fgd published": {"type": "fgd", "scale": 1.0, "temperature": 0.5},
    "fgd 0.05 T4": {"type": "fgd", "scale": 0.05, "temperature": 4},
}
"""The method of each distilled student; without a scale, it is the product's default. No student inherits weights."""


def _retinanet(*, stem_width: int, fpn_width: int) -> dict[str, Any]:
    """Without pretrained weights, heads learn much faster with group norm. Objects have from ten pixels on."""
    return {
        "type": "retinanet",
        "backbone": {"name": "resnet18", "stem_width": stem_width},
        "fpn_width": fpn_width,
        "anchor_base_size_px": 16,
        "head_norm": "group",
    }


TEACHER = _retinanet(stem_width=32, fpn_width=64)
STUDENT = _retinanet(stem_width=8, fpn_width=32)


def settings(shared: Path) -> dict[str, Setting]:
    """Return all settings by name.

    Args:
        shared: the folder with the real data sets.
    """
    return {
        "bccd": Setting(_coco(shared / "data/bccd"), (128, 171), teacher_epochs=30, epochs=15),
        "nuclei": Setting(_coco(shared / "data/nuclei_small"), (160, 160), teacher_epochs=60, epochs=30),
        "crowded_300": Setting(_crowded(300), (128, 128), teacher_epochs=60, epochs=24),
        "crowded_1200": Setting(_crowded(1200), (128, 128), teacher_epochs=24, epochs=8),
    }


def teacher_spec(setting: Setting) -> dict[str, Any]:
    """Return the job that trains the teacher."""
    return {"kind": "train", "name": "teacher", "detector": TEACHER} | _shared(
        setting, setting.teacher_epochs, seed=100
    )


def student_spec(setting: Setting, arm: str, seed: int, teacher: Path) -> dict[str, Any]:
    """Return the job that trains a student: plain, or with the teacher's checkpoint."""
    shared = {"name": f"{arm} {seed}"} | _shared(setting, setting.epochs, seed=seed)
    if arm == PLAIN:
        return {"kind": "train", "detector": STUDENT} | shared
    distilled = {"kind": "distill", "student": STUDENT, "teacher": {"checkpoint": str(teacher)}}
    return distilled | {"method": ARMS[arm], "inherit": "nothing"} | shared


def _crowded(num_train: int) -> dict[str, Any]:
    return {"type": "shapes", "scene": "crowded", "num_train": num_train, "num_val": 150, "image_size_px": 128}


def _coco(folder: Path) -> dict[str, Any]:
    splits = {
        split: {"images": str(folder / "images"), "annotations": str(folder / f"annotations_{split}.json")}
        for split in ("train", "val")
    }
    return {"type": "coco", **splits, "on_bad": "drop"}


def _shared(setting: Setting, epochs: int, *, seed: int) -> dict[str, Any]:
    return {
        "data": setting.data,
        "input": setting.input,
        "training": _training(epochs),
        "resources": {"cpus": 1},
        "seed": seed,
    }


def _training(epochs: int) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": 4,
        "optimizer": {"type": "adamw", "learning_rate": 0.002},
        "schedule": {"type": "cosine"},
        "warmup_steps": 100,
        "evaluate_every": 1,
    }
