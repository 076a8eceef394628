"""Computes a figure of a report again: from the matched detections of its run, or by evaluating its checkpoint."""

import hashlib
import importlib
import random
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from fgd_core.errors import ConflictError, SpecError
from fgd_core.spec.base import Fact
from fgd_core.spec.comparison import EVIDENCE
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.reproduction import figures_of, scores_of

_NONE = "–"


class Shown(NamedTuple):
    """A figure as a page shows it."""

    job_id: str
    name: str
    """`ap`, `ap50`, …, or `class sphere`."""
    text: str


class Page(NamedTuple):
    """The figures of a report, and for each job the digest of the file from which they were computed."""

    figures: list[Shown]
    evidence: dict[str, str]


class Verification(Fact):
    """A figure of a page, and the same figure computed again."""

    job_id: str
    name: str
    shown: str
    again: str
    basis: str
    """From what it was computed, in words."""
    num_figures: int
    """The number of figures from which this one was chosen."""

    @property
    def agrees(self) -> bool:
        return self.shown == self.again


def read_page(text: str) -> Page:
    """Read the figures of a report's HTML page.

    Raises:
        SpecError: the page shows no figure that can be computed again.
    """
    reader = _Reader()
    reader.feed(text)
    if not reader.page.figures:
        raise SpecError(
            "the file shows no figures that can be computed again; give a page about jobs with scores that "
            "this version's `fgd report ID --html FILE` wrote"
        )
    return reader.page


def choose(page: Page, seed: int | None) -> Shown:
    """Choose one of the figures at random."""
    return random.Random(seed).choice(page.figures)


def from_detections(client: FgdClient, page: Page, figure: Shown) -> Verification:
    """Compute a figure from the matched detections that its run stored.

    Raises:
        NotFoundError: the server no longer has the job or its file.
        ConflictError: the file is not the one from which the page was made.
        ModuleNotFoundError: NumPy or SciPy is not installed.
    """
    with TemporaryDirectory() as folder:
        path = client.download_artifact(figure.job_id, EVIDENCE, Path(folder) / EVIDENCE)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != page.evidence.get(figure.job_id):
            raise ConflictError(
                f"the detections of job {figure.job_id} on the server are not those from which the report was made; "
                "the job ran again, or one of the two was changed; write the report again",
                report=page.evidence.get(figure.job_id, "none"),
                server=found,
            )
        # By name: only this needs NumPy and SciPy, which the client alone does not have.
        again = importlib.import_module("service.client.recomputing").figure_of(path, figure.job_id, figure.name)
    return _verified(page, figure, again.value, f"the matched detections of {again.num_images} images")


def evaluation_of(job: JobView) -> EvaluateSpec:
    """Return the spec of an evaluation of a job's best checkpoint, on the same data.

    Raises:
        SpecError: jobs of this kind leave no checkpoint.
    """
    match job.spec:
        case TrainSpec() | DistillSpec() | ChainSpec() as spec:
            checkpoint, batch_size = f"job:{job.job_id}/best", spec.training.batch_size
        case EvaluateSpec() as spec:
            return spec
        case dict():
            raise SpecError(
                f"an older version stored the spec of job {job.job_id}; leave out --evaluate, which needs to read it",
                job_id=job.job_id,
            )
        case _:
            raise SpecError(f"a job of kind {job.kind} leaves no checkpoint that could be evaluated", job_id=job.job_id)
    return EvaluateSpec(
        name=f"{job.name} verified"[:100].rstrip(),
        project=spec.project,
        resources=spec.resources.model_copy(update={"workers": 1, "min_workers": None}),
        checkpoint=checkpoint,
        data=spec.data,
        input=spec.input,
        batch_size=batch_size,
    )


def from_evaluation(page: Page, figure: Shown, evaluated: JobView) -> Verification:
    """Compare a figure with the result of another evaluation of the same checkpoint."""
    value = figures_of(scores_of(evaluated)).get(figure.name)
    return _verified(page, figure, value, f"the checkpoint, evaluated again by job {evaluated.job_id}")


def _verified(page: Page, figure: Shown, value: float | None, basis: str) -> Verification:
    return Verification(
        job_id=figure.job_id,
        name=figure.name,
        shown=figure.text,
        again=_NONE if value is None else f"{value:.3f}",
        basis=basis,
        num_figures=len(page.figures),
    )


class _Reader(HTMLParser):
    """Collects the elements of a page that carry `data-figure` or `data-evidence`."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page([], {})
        self._open: Shown | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        job_id, figure, digest = (found.get(f"data-{name}") for name in ("job", "figure", "evidence"))
        if job_id and figure:
            self._open = Shown(job_id, figure, "")
        elif job_id and digest:
            self.page.evidence[job_id] = digest

    def handle_data(self, data: str) -> None:
        if self._open is not None and data.strip() != _NONE:
            self.page.figures.append(self._open._replace(text=data.strip()))
        self._open = None
