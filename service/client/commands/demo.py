"""`fgd demo`"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fgd_core.errors import StorageError
from fgd_core.spec.event_text import duration
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.views import JobView
from service.client.child import control_plane
from service.client.client import FgdClient
from service.client.commands.report import print_report
from service.client.console import AsJson, errors_to, output, print_json, write_file
from service.client.errors import UsageError
from service.client.exits import EXIT_INTERRUPTED, EXIT_REFUSED, guarded
from service.client.paths import current_folder
from service.client.spec_file import read_spec
from service.client.watching import watch

CHECKOUT = Path(__file__).resolve().parents[3]

# Enough to see that every part works; too little to train well.
_QUICK = (
    *("training.epochs=2", "data.num_train=48", "data.num_val=16"),
    *("training.warmup_steps=5", "training.evaluate_every=1"),
)


@guarded
def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder for the reports and all other files.")
    ] = Path("demo-out"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Train two epochs on few images, to see whether fgd works here.")
    ] = False,
    specs: Annotated[
        Path,
        typer.Option(
            "--specs",
            metavar="DIR",
            help="The folder with teacher.yaml, plain.yaml and distilled.yaml.  [default: examples/demo]",
            show_default=False,
        ),
    ] = CHECKOUT / "examples" / "demo",
    *,
    as_json: AsJson = False,
) -> None:
    """Start a server, train three small detectors, compare them and stop the server.

    The teacher and the plain student learn from the labels only. The distilled student has the size and the training
    budget of the plain one, and also imitates the teacher's feature maps. The demo takes 3 to 9 minutes on two cores.
    Ctrl-C stops everything at any time.

    **Examples**

    `fgd demo`

    `fgd demo --quick --out /tmp/try`
    """
    began_s = time.monotonic()
    teacher, plain, distilled = _read(specs, quick)
    home = new_home(out)
    console = errors_to() if as_json else output()
    try:
        with control_plane(home) as url, FgdClient(url) as client:
            console.print(f"[bold]fgd demo[/]  API {url}/docs", soft_wrap=True)
            takes = "half a minute" if quick else "3 to 9 minutes on two cores"
            console.print(
                "a teacher, and the same student with and without it, on generated images of shapes", style="dim"
            )
            console.print(f"this takes {takes}; Ctrl-C stops everything\n", style="dim")
            first = client.submit(teacher)
            jobs = [first, client.submit(plain), client.submit(taught_by(first, distilled))]
            ended = watch(client, jobs, console)
            _write_reports(client, ended, out)
            found = client.report(ended[0].job_id, beside=[job.job_id for job in ended[1:]])
    except KeyboardInterrupt as interrupt:
        errors_to().print("\ninterrupted; the server and its jobs have been stopped")
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        console.print()
        print_report(found)
        _print_next_steps(out, home, ended, took_s=time.monotonic() - began_s)
    if any(job.state != "succeeded" for job in ended):
        raise typer.Exit(EXIT_REFUSED)


def _read(folder: Path, quick: bool) -> Sequence[JobSpec]:
    paths = [folder / f"{name}.yaml" for name in ("teacher", "plain", "distilled")]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise UsageError(
            f"{folder} lacks {', '.join(missing)}; give the folder examples/demo of a checkout with --specs"
        )
    specs = [read_spec(str(path), overrides=_QUICK if quick else ()) for path in paths]
    return [_without_skill_gate(spec) if quick else spec for spec in specs]


def _without_skill_gate(spec: JobSpec) -> JobSpec:
    """Return the spec without the check of the teacher's AP, which is low after two epochs; its weights must load."""
    if spec.kind != "distill":
        return spec
    return spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"gate": "keys"})})


def new_home(out: Path) -> Path:
    """Create a new home for each demo: a server would continue the unfinished jobs of an earlier demo."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.name[5:]) for path in out.glob("home-*") if path.name[5:].isdigit()), default=0)
        home = out.resolve() / f"home-{number}"
        home.mkdir(mode=0o700)
    except OSError as cause:
        raise StorageError(
            f"cannot write to {out}: {cause.strerror}; choose another folder with --out", path=str(out)
        ) from cause
    return home


def taught_by(teacher: JobView, spec: JobSpec) -> JobSpec:
    """Return the spec with the job's checkpoint as its teacher."""
    if spec.kind == "sweep":
        return spec.model_copy(update={"base": taught_by(teacher, spec.base)})
    if spec.kind != "distill":
        raise UsageError(f"{spec.name} has `kind: {spec.kind}`; it must have `kind: distill`")
    checkpoint = f"job:{teacher.job_id}/best"
    return spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"checkpoint": checkpoint})})


def _write_reports(client: FgdClient, jobs: Sequence[JobView], out: Path) -> None:
    first, *rest = (job.job_id for job in jobs)
    write_file(out / "report.html", client.report_as("html", first, beside=rest))
    write_file(out / "report.json", client.report_as("json", first, beside=rest))
    write_file(out / "report.csv", client.report_as("csv", first, beside=rest))


def _print_next_steps(out: Path, home: Path, jobs: Sequence[JobView], *, took_s: float) -> None:
    console = output()
    distilled = CHECKOUT / "examples" / "demo" / "distilled.yaml"
    again = f"fgd submit {short(distilled)} --set teacher.checkpoint=job:{jobs[0].job_id}/best --set seed=1 --watch"
    next_steps: Mapping[str, str] = {
        "see the charts and results": f"open {short(out / 'report.html')}",
        "look at the jobs again": f"fgd up --home {short(home)}",
        "then train with another seed": again,
        "use your own data": f"edit {short(CHECKOUT / 'examples' / 'coco_own_data')}/*.yaml",
    }
    console.print(f"\n[bold]done in {duration(took_s)}[/]; the server and its jobs have been stopped")
    for what, command in next_steps.items():
        console.print(f"  [dim]{what:<34}[/] {escape(command)}", soft_wrap=True)
    console.print(f"  [dim]{'written':<34}[/] {escape(short(out))}/report.html, .json, .csv", soft_wrap=True)


def short(path: Path) -> str:
    """Return the path relative to the current folder if it is inside, else the absolute path."""
    whole, here = path.resolve(), current_folder()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)
