"""Finds which boxes of a teacher stand for labels on the images of a pool."""

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.detectors.weights.sources import LoadedTeacher
from fgd_core.errors import TeacherError
from fgd_core.evaluation.gate_sample import sample_of
from fgd_core.evaluation.relabelled import RelabelledDetector
from fgd_core.ranks import from_first
from fgd_core.runs.opening import evaluator_for
from fgd_core.runs.training_run import TrainingRun
from fgd_core.spec.pool import PoolSettings
from fgd_core.training.pool_labels import SAMPLE_IMAGES, PoolLabels, min_scores


def pool_labels(
    run: TrainingRun, settings: PoolSettings, teacher: LoadedTeacher, rescaled: Detector
) -> PoolLabels | None:
    """Find the scores above which the boxes of a teacher stand for labels; None without a pool.

    Args:
        rescaled: the teacher at the input scale of the distillation.
    Raises:
        TeacherError: the teacher lacks classes of the data.
    """
    if run.pool is None:
        return None
    matched = match_classes(teacher.classes, run.classes)
    if matched.fresh:
        raise TeacherError(
            f"the teacher does not know {', '.join(matched.fresh)}, so on the images of data.pool objects of these "
            "classes would be background; choose a teacher of all classes, or set pool.weight to 0",
            unknown=[*matched.fresh],
        )
    detector = RelabelledDetector(rescaled, dict(matched.pairs), len(run.classes))
    checked = run.train_data.checked
    labelled = {name: checked.boxes_per_category[name] / checked.num_images for name in run.classes}
    sample = sample_of(run.pool.dataset, SAMPLE_IMAGES) or run.pool.dataset
    with evaluator_for(
        sample, run.spec.input, run.spec.training.batch_size, run.machine, run.context, what="the pool"
    ) as evaluator:
        detections = evaluator.detections(detector)
    fixed = None if settings.min_score == "auto" else settings.min_score
    rows = [(each.scores, each.labels) for each in detections.values()]
    found = from_first(lambda: min_scores(rows, labelled, fixed))
    run.context.emit(found)
    return PoolLabels(detector, [*found.min_scores.values()])
