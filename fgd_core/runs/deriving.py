"""Makes another picture of each image of a data set, for example an adversarial copy."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from fgd_core import confined
from fgd_core.data.examples import Example, read_example, resized
from fgd_core.data.loading import denormalised, normalised
from fgd_core.data.pictures import ambiguous_names, written_name
from fgd_core.data.samples import DetectionDataset, Split
from fgd_core.data.targets import Targets
from fgd_core.detectors.base import Detector
from fgd_core.detectors.rescaled import at_input_scale
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.detectors.weights.digests import weights_digest
from fgd_core.detectors.weights.sources import LoadedTeacher, load_teacher
from fgd_core.errors import DataError, SpecError
from fgd_core.evaluation.inspection import inspect
from fgd_core.evaluation.relabelled import RelabelledDetector
from fgd_core.runs.opening import open_split
from fgd_core.spec.events import EvaluationProgress, RunFinished
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.teacher import teacher_detector
from fgd_core.stopping import stoppable
from fgd_core.storage import write_atomically
from fgd_core.training.adversarial import adversarial_change
from fgd_core.training.context import RunContext
from fgd_core.training.machine import choose_machine, seed_everything

_RECIPE = "derived.json"
_PROGRESS_EVERY_S = 1.0
_STREAM: Mapping[Split, int] = {"train": 0, "val": 1}


def derive_data(spec: DeriveDataSpec, context: RunContext) -> RunFinished:
    """Write the pictures that the folder lacks, and check the data set with them.

    Each picture depends only on the settings, the teacher, the seed and its image, so a resumed run writes the same.

    Raises:
        DataError: the folder holds something else, or two images would have the same picture.
        FgdError: see `fgd_core.errors`.
    """
    seed_everything(spec.seed)
    machine = choose_machine(spec.resources, "float32")
    context.emit(machine.describe())
    teacher = load_teacher(spec.teacher, resolve=context.resolve_checkpoint)
    context.emit(teacher.event)
    settings = teacher.checkpoint.detector if teacher.checkpoint is not None else teacher_detector(spec.teacher)
    assert settings is not None, "a loaded teacher has a detector"
    splits: tuple[Split, ...] = ("train", "val") if spec.with_val else ("train",)
    opened = {split: open_split(spec.data, split, context, settings) for split in splits}
    folder = Path(spec.folder).expanduser()
    _claim(folder, _recipe(spec, context, opened))
    for split, dataset in opened.items():
        detector = _labelled_like(dataset, spec, teacher).to(machine.device).eval().requires_grad_(requires_grad=False)
        draw = partial(_adversarial, spec, detector, dataset, device=machine.device, stream=_STREAM[split])
        what = f"{spec.derivation.picture} pictures of the {split} split"
        _write_missing(_Pictures(what, folder / split, draw), dataset, context)
    derived = spec.derived()
    if derived is None:
        raise SpecError("no control plane has resolved the name of the data; write its paths into the spec")
    inspect(derived, num_samples=spec.num_samples, folder=context.job_dir, emit=context.emit)
    return RunFinished(outcome="succeeded")


def _recipe(spec: DeriveDataSpec, context: RunContext, opened: Mapping[Split, DetectionDataset]) -> dict[str, object]:
    """Return everything that determines the pictures, as JSON; without the splits, of which one may be added later."""
    content = spec.model_dump(mode="json", include={"derivation": True, "input": True, "seed": True})
    of_teacher = spec.teacher.model_dump(mode="json", include={"detector", "classes", "input_scale"})
    digest = weights_digest(spec.teacher.checkpoint, context.resolve_checkpoint)
    return {**content, "teacher": {**of_teacher, "checkpoint": digest}, "train": opened["train"].fingerprint}


def _claim(folder: Path, recipe: Mapping[str, object]) -> None:
    """Note what the pictures in the folder are, or check that it holds such pictures already.

    Raises:
        DataError: the folder holds something else.
    """
    confined.check_folder(folder)
    path = folder / _RECIPE
    if path.exists():
        if json.loads(confined.read_bytes(path)) != recipe:
            raise DataError(
                "the folder holds pictures that were made with another teacher, other data or other settings; choose "
                "another folder, or delete it",
                path=str(folder),
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise DataError(
            "the folder is not empty, and its content is not from a job like this one; choose another folder",
            path=str(folder),
        )
    write_atomically(path, lambda file: file.write(json.dumps(recipe, indent=2).encode()))


def _labelled_like(dataset: DetectionDataset, spec: DeriveDataSpec, teacher: LoadedTeacher) -> Detector:
    """Return the teacher with the data's labels; objects of classes that it does not know are left out."""
    names = [category.name for category in dataset.categories]
    common = match_classes(teacher.classes, names)
    return RelabelledDetector(
        at_input_scale(teacher.detector, spec.teacher.input_scale), dict(common.pairs), len(names)
    )


class _Pictures(NamedTuple):
    """Describes the pictures of a split."""

    what: str
    """For progress events."""
    folder: Path
    draw: Callable[[int], Tensor]
    """Returns the picture of an image by its index, (3, H, W) uint8."""


def _write_missing(pictures: _Pictures, dataset: DetectionDataset, context: RunContext) -> None:
    names = [sample.file_name for sample in dataset.samples]
    _check_names(names)
    reported_s = 0.0
    for index, name in enumerate(stoppable(names)):
        path = pictures.folder / written_name(name)
        if not path.exists():
            write_atomically(path, partial(_save, pictures.draw(index)))
        if time.monotonic() - reported_s > _PROGRESS_EVERY_S or index + 1 == len(names):
            reported_s = time.monotonic()
            context.emit(EvaluationProgress(what=pictures.what, done=index + 1, total=len(names)))


def _check_names(names: Sequence[str]) -> None:
    """Raises DataError if two images would have one picture."""
    found = ambiguous_names(names)
    if found:
        raise DataError(
            f"{len(found)} images differ only by their suffix, so their pictures would have one name, for example "
            f"{', '.join(found[:5])}; rename them",
            images=[*found[:100]],
        )


def _adversarial(
    spec: DeriveDataSpec,
    detector: Detector,
    dataset: DetectionDataset,
    index: int,
    *,
    device: torch.device,
    stream: int,
) -> Tensor:
    """Make the adversarial copy (3, H, W) uint8 of an image."""
    original = read_example(dataset, index, {}, with_masks=detector.has_masks)
    example = resized(original, spec.input)
    seed = int(np.random.default_rng((stream, spec.seed, index)).integers(2**62))
    generator = torch.Generator().manual_seed(seed)
    # The samplers of two-stage detectors draw from the global generator.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        change = adversarial_change(
            detector,
            normalised(example.image)[None].to(device),
            _targets(example, device),
            spec.derivation,
            generator,
            pad_to_px=spec.input.pad_to_px,
        )
    return changed_image(original.image, change[0].cpu())


def changed_image(image: Tensor, change: Tensor) -> Tensor:
    """Add a change to an image.

    Args:
        image: (3, H, W) uint8.
        change: (3, h, w) of the normalised image at another size.
    Returns:
        (3, H, W) uint8. Resizing the change does not enlarge its largest value.
    """
    whole = interpolate(change[None], size=image.shape[1:], mode="bilinear", align_corners=False)[0]
    pixels = denormalised(normalised(image) + whole)
    return pixels.round().clamp(0, 255).to(torch.uint8)


def _targets(example: Example, device: torch.device) -> Targets:
    masks, keypoints = example.masks, example.keypoints
    return Targets(
        [example.boxes.to(device)],
        [example.labels.to(device)],
        [example.size_px],
        None if masks is None else [masks.to(device)],
        None if keypoints is None else [keypoints.to(device)],
    )


def _save(picture: Tensor, file: BinaryIO) -> None:
    """Write a picture (3, H, W) uint8 without loss."""
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "PNG")
