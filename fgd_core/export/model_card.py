"""Writes model cards: what a detector is, what it was trained on, how well it detects, and whose terms apply."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import yaml
from pydantic import JsonValue

from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint
from fgd_core.spec.data import name_of
from fgd_core.spec.event_text import number
from fgd_core.spec.events import DataChecked
from fgd_core.spec.exports import ExportedFile
from fgd_core.spec.pretrained import is_torchvision_name
from fgd_core.spec.results import ClassScore, Scores

MODEL_CARD = "model_card.md"
"""The name of the file of a job that holds its model card."""
_UNKNOWN = "unknown; ask the author of the file"
_TORCHVISION = (
    "torchvision's code is under the BSD 3-Clause licence. Its weights were trained on ImageNet or COCO, whose terms "
    "apply to them"
)


def model_card(
    checkpoint: DetectorCheckpoint,
    *,
    source: str,
    sha256: str,
    files: Sequence[ExportedFile] = (),
    data: DataChecked | None = None,
) -> str:
    """Describe a detector in Markdown.

    Args:
        source: where its checkpoint is.
        sha256: of the checkpoint's file.
        files: its exports.
        data: the validation split that exports were compared on.
    """
    job = checkpoint.record.job or {}
    name = job.get("name", checkpoint.detector.name())
    parts = [
        f"# {name}",
        _table(("property", "value"), _properties(checkpoint, job, source, sha256)),
        *_scores(checkpoint.record.scores),
        *_files(files, data),
        "## Weights that it started from",
        _table(("field", "weights", "licence"), _licences(job)) if _sources(job) else "None: random weights.",
        *_spec(job),
    ]
    return "\n\n".join(parts) + "\n"


def _properties(
    checkpoint: DetectorCheckpoint, job: Mapping[str, JsonValue], source: str, sha256: str
) -> Iterator[tuple[str, str]]:
    record, spec = checkpoint.record, checkpoint.detector
    yield "detector", f"{spec.name()} on {spec.backbone.name}"
    yield "classes", ", ".join(category.name for category in checkpoint.categories)
    yield "input", f"RGB, shorter side {checkpoint.input.shorter_px} px, longer at most {checkpoint.input.longer_px} px"
    yield "trained by", str(job.get("kind", "unknown"))
    for field in ("method", "teacher", "data"):
        value = job.get(field)
        if isinstance(value, dict):
            yield field, name_of(value) if field == "data" else str(value.get("type") or value.get("checkpoint"))
    yield "epochs", str(record.epoch)
    yield "validation split", f"SHA-256 {record.data_fingerprint}" if record.data_fingerprint else "unknown"
    yield "checkpoint", source
    yield "checkpoint's SHA-256", f"`{sha256}`"


def _scores(scores: Scores | None) -> Iterator[str]:
    yield "## Scores"
    if scores is None:
        yield "The checkpoint has no scores."
        return
    main = [
        (kind, *(number(each, ".3f") for each in (own.ap, own.ap50, own.ap75)))
        for kind, own in (("boxes", scores), *scores.parts().items())
    ]
    yield _table(("COCO", "AP", "AP50", "AP75"), main)
    yield _table(("class", "AP", "AP50", "boxes"), _classes(scores.per_class))


def _classes(scores: Mapping[str, ClassScore]) -> Iterator[tuple[str, str, str, str]]:
    for name, score in scores.items():
        yield name, number(score.ap, ".3f"), number(score.ap50, ".3f"), str(score.num_boxes)


def _files(files: Sequence[ExportedFile], data: DataChecked | None) -> Iterator[str]:
    if not files:
        return
    yield "## Files"
    yield _table(("file", "precision", "MB", "compared with PyTorch", "SHA-256"), map(_file, files))
    if data is not None:
        yield f"Compared on images of a validation split with the fingerprint `{data.fingerprint}`."


def _file(file: ExportedFile) -> tuple[str, str, str, str, str]:
    return file.name, file.precision, f"{file.size_bytes / 1e6:.1f}", file.compared_in_words(), f"`{file.sha256}`"


def _licences(job: Mapping[str, JsonValue]) -> Iterator[tuple[str, str, str]]:
    for field, source in _sources(job):
        licence = _TORCHVISION if is_torchvision_name(source) else _UNKNOWN
        if source.startswith("job:"):
            licence = f"that of {source}; see its model card"
        yield field, source, licence


def _sources(job: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    """List the fields of the training that name weights, with the weights."""
    places = (("detector", "weights"), ("student", "weights"), ("teacher", "checkpoint"))
    fields = [(f"{part}.{field}", job.get(part), field) for part, field in places]
    more = job.get("more_teachers")
    fields += [
        (f"more_teachers.{index}.checkpoint", each, "checkpoint")
        for index, each in enumerate(more if isinstance(more, list) else [])
    ]
    found = [(path, value.get(field)) for path, value, field in fields if isinstance(value, dict)]
    return [(path, source) for path, source in found if isinstance(source, str)]


def _spec(job: Mapping[str, JsonValue]) -> Iterator[str]:
    if job:
        yield "## Spec of the training"
        yield f"```yaml\n{yaml.safe_dump(dict(job), sort_keys=False, allow_unicode=True).rstrip()}\n```"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
