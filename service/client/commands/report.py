"""`fgd report`"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Option

from fgd_core.errors import SpecError
from fgd_core.spec.event_text import describe_export, number
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.results import ClassScore
from fgd_core.spec.sweep_report import SweepReport
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, JobId, Server, output, print_json, print_written, write_file
from service.client.errors import UsageError
from service.client.exits import guarded
from service.client.job_files import ReportForm
from service.client.live import STATE_STYLES
from service.client.study_report import print_study
from service.client.sweep_report import print_sweep_report, write_spec
from service.reports.comparison import (
    COLUMNS,
    best_in_column,
    best_scores,
    conclusions,
    role,
    speed_ratio,
)

_FORMS: Mapping[str, ReportForm] = {".html": "html", ".csv": "csv", ".json": "json"}
_WIDE = 116
_MAIN = ("AP", "AP50", "mask AP", "keypoint AP", "parameters", "images/s", "training")


@guarded
def report(
    prefix: JobId,
    *,
    beside: Annotated[
        list[str] | None, Option("--with", metavar="ID", help="Show this job beside the first one. Repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="Also write the report to a file whose name ends in .html, .csv or .json."),
    ] = None,
    html: Annotated[Path | None, Option(metavar="FILE", help="Also write the report to one HTML file.")] = None,
    csv: Annotated[
        Path | None, Option(metavar="FILE", help="Also write it as CSV: a row per job, or per trial of a sweep.")
    ] = None,
    spec: Annotated[
        Path | None, Option(metavar="FILE", help="Write the best job of a sweep as a spec, ready to submit.")
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show scores of one job, or of several side by side: AP, AP per class, parameters, speed, gain by distillation.

    The HTML file has charts, sample detections and specs, and needs no network. The report on a sweep shows which
    values to use, how certain that is, and why, also while the sweep runs. The server refuses to show jobs side by side
    that were scored on different validation data.

    **Examples**

    `fgd report 3f2a --out report.html`

    `fgd report 91bc --with 3f2a --with 77c0 --html report.html --csv report.csv`

    `fgd report 5d10 --html sweep.html --spec best.yaml`
    """
    named: dict[Path | None, ReportForm] = {html: "html", csv: "csv"}
    if out is not None:
        named[out] = _form_of(out)
    files = {path: form for path, form in named.items() if path is not None}
    with FgdClient(server) as client:
        job = client.find(prefix)
        job_id = job.job_id
        others = [client.find(other).job_id for other in beside or ()]
        found: Report | SweepReport
        if job.kind == "sweep" and not others:
            found = client.sweeps.report(job_id)
        else:
            found = client.report(job_id, beside=others)
        for path, form in files.items():
            write_file(path, client.report_as(form, job_id, beside=others))
    if spec is not None:
        _write_spec(found, spec)
    if as_json:
        print_json(found)
    elif isinstance(found, SweepReport):
        print_sweep_report(found)
    else:
        print_report(found)
    for written in (*files, *([spec] if spec is not None else [])):
        print_written(written, beside_json=as_json)


def _form_of(path: Path) -> ReportForm:
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"--out {str(path)!r} does not name a form; choose a file that ends in {', '.join(_FORMS)}")
    return form


def _write_spec(found: Report | SweepReport, path: Path) -> None:
    if not isinstance(found, SweepReport):
        raise SpecError(
            f"{found.jobs[0].name} is not a sweep and has no best spec; `fgd show` prints its own spec",
            job_id=found.jobs[0].job_id,
        )
    write_spec(found, path)


def print_report(found: Report) -> None:
    """Print the comparison, AP per class and the conclusions on standard output."""
    console = output()
    studies = [job for job in found.jobs if job.kind == "study"]
    for study in studies:
        print_study(study)
    if len(studies) < len(found.jobs):
        console.print(comparison_table(found, width=console.width))
    if any(best_scores(job) for job in found.jobs):
        console.print()
        console.print(class_table(found))
    for job in found.jobs:
        if job.stages:
            console.print()
            console.print(stage_table(job))
    for job in found.jobs:
        for sentence in data_sentences(job) if job.kind in ("check_data", "derive_data") else ():
            console.print(sentence, markup=False)
        for sentence in shipping_sentences(job):
            console.print(sentence, markup=False)
    for sentence in conclusions(found):
        console.print()
        console.print(sentence, markup=False)
    for job in found.jobs:
        if job.error is not None:
            console.print(Text(f"{job.name} {job.state}: {job.error.message} ({job.error.code})", style="red"))


def data_sentences(job: JobReport) -> list[str]:
    """Return what a job has found out about its data: a sentence for each split, and where to read more."""
    newest = {check.split: check for check in job.data}
    sentences = [
        f"{job.name}: {check.split} has {check.num_images} images and {check.num_boxes} boxes; "
        f"{sum(finding.count for finding in check.findings) or 'no'} findings"
        for check in newest.values()
    ]
    if isinstance(job.spec, DeriveDataSpec) and job.state == "succeeded":
        name = job.spec.dataset
        sentences.append(f"{job.name}: registered as {name}; `fgd data show {name}` shows all counts")
    return sentences


def shipping_sentences(job: JobReport) -> list[str]:
    """Return a sentence for each exported file, and for each further data set that a job was evaluated on."""
    files = [f"{job.name}: {describe_export(file)}" for file in job.exports]
    more = job.result.more_scores if job.result is not None else {}
    return files + [f"{job.name}: AP {number(scores.ap, '.3f')} on {name}" for name, scores in more.items()]


def comparison_table(found: Report, *, width: int = _WIDE) -> Table:
    """Return a table with a row per job, without empty columns; the best value of a column is green.

    Args:
        width: of the terminal, in columns; a narrow table has only the main columns.
    """
    shown = [column for column in COLUMNS if width >= _WIDE or column.heading in _MAIN]
    columns = [column for column in shown if any(column.value(job) is not None for job in found.jobs)]
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("job")
    table.add_column("role")
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    best = {column.heading: best_in_column(found.jobs, column) for column in columns}
    for job in found.jobs:
        job_role = role(job, found.jobs)
        cells = [Text(job.name, style="bold")]
        cells.append(
            Text(job_role)
            if job.state == "succeeded"
            else Text(f"{job_role}, {job.state}", STATE_STYLES.get(job.state, ""))
        )
        for column in columns:
            value = column.value(job)
            style = "bold green" if job.job_id in best[column.heading] else ""
            cell = Text("–" if value is None else column.show(value), style=style)
            ratio = speed_ratio(job, found.jobs) if column.heading == "images/s" else None
            cells.append(cell.append(f" {ratio:.1f}×", style="dim") if ratio else cell)
        table.add_row(*cells)
    return table


def stage_table(job: JobReport) -> Table:
    """Return a table of a chain's stages, with its control as the last row."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(Text(f"stages of {job.name}"), no_wrap=True)
    table.add_column("teacher")
    for heading in ("teacher's AP", "epochs", "AP before", "AP after"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in job.stages:
        after = stage.result.scores.ap if stage.result is not None else None
        aps = [number(ap, ".3f") for ap in (stage.teacher_ap, stage.ap_before, after)]
        table.add_row(stage.stage, Text(stage.teacher), aps[0], str(stage.epochs), *aps[1:])
    return table


def class_table(found: Report) -> Table:
    """Return a table of AP per class, with a column per job."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("AP per class", no_wrap=True)
    table.add_column("boxes", justify="right")
    scores = [best_scores(job) for job in found.jobs]
    boxes: dict[str, int] = {}
    for job, score in zip(found.jobs, scores, strict=True):
        table.add_column(Text(job.name), justify="right")
        for part in score.parts() if score else ():
            table.add_column(part, justify="right")
        for name, of_class in (score.per_class if score else {}).items():
            boxes.setdefault(name, of_class.num_boxes)
    for name, num_boxes in boxes.items():
        of_jobs: list[ClassScore | None] = []
        for score in scores:
            of_jobs.append(score.per_class.get(name) if score else None)
            of_jobs.extend(of_part.per_class.get(name) for of_part in (score.parts().values() if score else ()))
        shown = [f"{one.ap:.3f}" if one is not None and one.ap is not None else "–" for one in of_jobs]
        table.add_row(Text(name), str(num_boxes), *shown)
    return table
