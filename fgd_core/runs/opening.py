"""Opens a run's data and the evaluator for it."""

from collections.abc import Sequence

from fgd_core.data import (
    change_since_check,
    inspect_dataset,
    picture_change_since_check,
    pool_change_since_check,
)
from fgd_core.data.keypoints import names_of_keypoints
from fgd_core.data.loading import ShownPool
from fgd_core.data.pictures import Pictures, picture_folder
from fgd_core.data.pool import Pool
from fgd_core.data.samples import DetectionDataset, Split, has_keypoints, has_masks
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.detectors.weights.sources import LoadedTeacher
from fgd_core.errors import DataError, SpecError, WeightsError
from fgd_core.evaluation.evaluator import Evaluator
from fgd_core.evaluation.relabelled import RelabelledDetector
from fgd_core.spec.augments import AugmentSpec
from fgd_core.spec.data import DataSpec, InputSpec, Registered
from fgd_core.spec.detectors import AnyDetector, KeypointRcnn
from fgd_core.spec.events import Warned
from fgd_core.spec.kinds.distill import DistillSpec, pool_faults, pool_of
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.training.context import RunContext
from fgd_core.training.machine import Machine


def open_split(
    spec: DataSpec, split: Split, context: RunContext, detector: AnyDetector, *, augments: Sequence[AugmentSpec] = ()
) -> DetectionDataset:
    """Read a split of the job's data and report what was found; with masks or keypoints if the detector has them.

    Args:
        augments: the changes of the training images; masks are also read if one of these needs them.
    Raises:
        DataError: the data is refused, or the detector or a change needs masks or keypoints and the split has none.
    """
    of_masks = [each.type for each in augments if each.needs_masks]
    with_masks = detector.has_masks or bool(of_masks)
    dataset = inspect_dataset(spec, split, with_masks=with_masks, with_keypoints=detector.has_keypoints)
    context.emit(dataset.checked)
    if dataset.refusal is not None:
        raise dataset.refusal
    if detector.has_masks and not has_masks(dataset.samples):
        context.emit(_without_masks(detector, spec, split))
    if of_masks and not has_masks(dataset.samples):
        raise DataError(
            f"input.augment has {', '.join(of_masks)}, which needs a mask of every object, and objects of the training "
            "split have none; give the annotations a segmentation, or leave it out",
            data=spec.model_dump(mode="json"),
        )
    if isinstance(detector, KeypointRcnn) and not _fits_keypoints(detector, spec, dataset):
        context.emit(_without_keypoints(detector, spec, split))
    if isinstance(spec, Registered) and spec.if_changed == "warn":
        changed = change_since_check(spec, split, dataset)
        if changed is not None:
            context.emit(Warned(code="data_changed", message=changed.message, details=changed.details))
    return dataset


def open_pictures(
    spec: DataSpec,
    name: str,
    dataset: DetectionDataset,
    context: RunContext,
    *,
    until_epoch: int | None = None,
) -> Pictures:
    """Open another picture of the images of a split.

    Raises:
        SpecError: the data names no such picture.
        DataError: pictures are missing, or have changed since the check of the data.
    """
    split = dataset.checked.split
    pictures = picture_folder(spec, name, split, dataset.samples, until_epoch=until_epoch)
    if isinstance(spec, Registered) and (changed := picture_change_since_check(spec, split, pictures)) is not None:
        if spec.if_changed == "refuse":
            raise changed
        context.emit(Warned(code="data_changed", message=changed.message, details=changed.details))
    return pictures


def open_pool(
    spec: TrainSpec | DistillSpec, train: DetectionDataset, val: DetectionDataset, context: RunContext
) -> ShownPool | None:
    """Open the images without labels that a distillation shows; None if it shows none.

    Raises:
        SpecError: the distillation needs more than images.
        DataError: images are bad or in the validation split, or have changed since the check of the data.
    """
    folder = pool_of(spec)
    if folder is None or not isinstance(spec, DistillSpec):
        return None
    if faults := pool_faults(spec):
        raise SpecError("; ".join(faults))
    pool = Pool(folder, train, val)
    context.emit(pool.event)
    if isinstance(spec.data, Registered) and (changed := pool_change_since_check(spec.data, pool)) is not None:
        if spec.data.if_changed == "refuse":
            raise changed
        context.emit(Warned(code="data_changed", message=changed.message, details=changed.details))
    return ShownPool(pool, spec.pool.ratio, spec.pool.weight)


def evaluator_for(
    dataset: DetectionDataset,
    input_spec: InputSpec,
    batch_size: int,
    machine: Machine,
    context: RunContext,
    *,
    what: str = "the validation split",
) -> Evaluator:
    """Build an evaluator on the run's machine that reports its progress to the run's context.

    Args:
        batch_size: images per forward pass.
        what: names the evaluation in progress events.
    """
    return Evaluator(
        dataset,
        input_spec,
        batch_size=batch_size,
        device=machine.device,
        autocast_dtype=machine.autocast_dtype,
        emit=context.emit,
        what=what,
        loader_workers=machine.loader_workers,
    )


def check_classes(checkpoint: DetectorCheckpoint, dataset: DetectionDataset, source: str) -> None:
    """Check that a checkpoint and the data have the same classes.

    Raises:
        WeightsError: they have not.
    """
    in_checkpoint = [category.name for category in checkpoint.categories]
    in_data = [category.name for category in dataset.categories]
    if in_checkpoint != in_data:
        raise WeightsError(
            f"the checkpoint has {len(in_checkpoint)} classes and the data {len(in_data)}; they must be the same in "
            "the same order; train a detector on the classes of this data",
            checkpoint=source,
            only_in_checkpoint=[*sorted(set(in_checkpoint) - set(in_data))[:10]],
            only_in_data=[*sorted(set(in_data) - set(in_checkpoint))[:10]],
        )


def judged(loaded: LoadedTeacher, dataset: DetectionDataset, source: str, machine: Machine) -> Detector:
    """Return a loaded detector on the run's device, in eval mode, with the labels of the data.

    Raises:
        WeightsError: a checkpoint of fgd has other classes than the data, or another file shares none with it.
    """
    detector = loaded.detector.to(machine.device).eval()
    if loaded.checkpoint is not None:
        check_classes(loaded.checkpoint, dataset, source)
        return detector
    in_data = [category.name for category in dataset.categories]
    common = match_classes(loaded.classes, in_data)
    if not common.pairs:
        raise WeightsError(
            f"the detector's {len(loaded.classes)} classes and the data's {len(in_data)} have no name in common; "
            "name the classes of the file in classes, or evaluate it on other data",
            checkpoint=source,
            only_in_checkpoint=[*sorted(common.unused)[:10]],
            only_in_data=[*sorted(common.fresh)[:10]],
        )
    relabelled = RelabelledDetector(detector, dict(common.pairs), len(in_data))
    # Of a teacher only the boxes are scored; of this detector all that it finds.
    relabelled.has_masks, relabelled.has_keypoints = detector.has_masks, detector.has_keypoints
    relabelled.mask_offset_px = detector.mask_offset_px
    return relabelled


def _without_masks(detector: AnyDetector, spec: DataSpec, split: Split) -> Warned:
    """Return a warning that no object of the split has a mask.

    Raises:
        DataError: the split is for training, so the detector cannot learn masks.
    """
    name = type(detector).model_fields["type"].default
    facts = {"detector": name, "split": split, "data": spec.model_dump(mode="json")}
    if split == "train":
        raise DataError(
            f"{name} learns masks, and no object of the training split has one; give the annotations a segmentation, "
            "or train a detector that needs boxes only, such as faster_rcnn",
            **facts,
        )
    message = f"no object of the validation split has a segmentation, so only the boxes of {name} are scored"
    return Warned(code="no_masks_to_score", message=message, details=facts)


def _fits_keypoints(detector: KeypointRcnn, spec: DataSpec, dataset: DetectionDataset) -> bool:
    """Return whether some object has keypoints.

    Raises:
        DataError: the data names another number of keypoints than the detector has.
    """
    names = names_of_keypoints(dataset.categories)
    if names and len(names) != detector.num_keypoints:
        raise DataError(
            f"{detector.type} has num_keypoints {detector.num_keypoints}, and the data names {len(names)} keypoints: "
            f"{', '.join(names)}; set num_keypoints to {len(names)}",
            detector=detector.type,
            data=spec.model_dump(mode="json"),
            num_keypoints=len(names),
        )
    return has_keypoints(dataset.samples)


def _without_keypoints(detector: KeypointRcnn, spec: DataSpec, split: Split) -> Warned:
    """Return a warning that no object of the split has keypoints.

    Raises:
        DataError: the split is for training, so the detector cannot learn keypoints.
    """
    facts = {"detector": detector.type, "split": split, "data": spec.model_dump(mode="json")}
    if split == "train":
        raise DataError(
            f"{detector.type} learns keypoints, and no object of the training split has one that is labelled; give the "
            "categories and the annotations `keypoints`, or train a detector that needs boxes only, such as "
            "faster_rcnn",
            **facts,
        )
    message = f"no object of the validation split has keypoints, so only the boxes of {detector.type} are scored"
    return Warned(code="no_keypoints_to_score", message=message, details=facts)
