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
from service.client.commands.report import print_report, write
from service.client.console import AsJson, errors_to, output, print_json
from service.client.errors import UsageError
from service.client.exits import EXIT_INTERRUPTED, EXIT_REFUSED
from service.client.places import current_folder
from service.client.spec_file import read_spec
from service.client.watching import watch

CHECKOUT = Path(__file__).resolve().parents[3]

# Enough to see every part move, too little to learn much.
_QUICK = (
    *("training.epochs=2", "data.num_train=48", "data.num_val=16"),
    *("training.warmup_steps=5", "training.evaluate_every=1"),
)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and everything else.")] = Path("demo-out"),
    quick: Annotated[bool, typer.Option("--quick", help="Two epochs on few images: does it work here at all?")] = False,
    specs: Annotated[
        Path, typer.Option("--specs", help="Folder with teacher.yaml, plain.yaml, distilled.yaml.", show_default=False)
    ] = CHECKOUT / "examples" / "demo",
    *,
    as_json: AsJson = False,
) -> None:
    """Watch a teacher teach a student: start everything, train three small detectors, compare them, stop everything.

    The teacher and the plain student learn from labels alone; the distilled student, of the same size and budget as the
    plain one, also imitates the teacher's feature maps. It takes 3 to 9 minutes on two cores. Ctrl-C stops all of it
    at any moment.

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
            console.print("a teacher, the same student with and without it, on shapes drawn from a seed", style="dim")
            console.print(f"this takes {takes}; Ctrl-C stops all of it\n", style="dim")
            first = client.submit(teacher)
            jobs = [first, client.submit(plain), client.submit(taught_by(first, distilled))]
            ended = watch(client, jobs, console)
            _write_reports(client, ended, out)
            found = client.report(ended[0].job_id, beside=[job.job_id for job in ended[1:]])
    except KeyboardInterrupt as interrupt:
        errors_to().print("\ninterrupted; all that was started has been stopped")
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        console.print()
        print_report(found)
        _say_what_next(out, home, ended, took_s=time.monotonic() - began_s)
    if any(job.state != "succeeded" for job in ended):
        raise typer.Exit(EXIT_REFUSED)


def _read(folder: Path, quick: bool) -> Sequence[JobSpec]:
    paths = [folder / f"{name}.yaml" for name in ("teacher", "plain", "distilled")]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise UsageError(f"{folder} lacks {', '.join(missing)}; give the folder examples/demo of a checkout as --specs")
    specs = [read_spec(str(path), overrides=_QUICK if quick else ()) for path in paths]
    return [_without_skill_gate(spec) if quick else spec for spec in specs]


def _without_skill_gate(spec: JobSpec) -> JobSpec:
    """A teacher of two epochs has no skill to check; that its weights load is checked all the same."""
    if spec.kind != "distill":
        return spec
    return spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"gate": "keys"})})


def new_home(out: Path) -> Path:
    """A folder of its own for each run: jobs that an earlier one left unfinished would come back to life here."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.name[5:]) for path in out.glob("home-*") if path.name[5:].isdigit()), default=0)
        home = out.resolve() / f"home-{number}"
        home.mkdir(mode=0o700)
    except OSError as cause:
        raise StorageError(f"cannot write to {out}: {cause.strerror}; give another --out", path=str(out)) from cause
    return home


def taught_by(teacher: JobView, spec: JobSpec) -> JobSpec:
    """The spec with the job's checkpoint as its teacher."""
    if spec.kind == "sweep":
        return spec.model_copy(update={"base": taught_by(teacher, spec.base)})
    if spec.kind != "distill":
        raise UsageError(f"{spec.name} is a {spec.kind} job; it must be `kind: distill`")
    checkpoint = f"job:{teacher.job_id}/best"
    return spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"checkpoint": checkpoint})})


def _write_reports(client: FgdClient, jobs: Sequence[JobView], out: Path) -> None:
    first, *rest = (job.job_id for job in jobs)
    write(out / "report.html", client.report_as("html", first, beside=rest))
    write(out / "report.json", client.report_as("json", first, beside=rest))
    write(out / "report.csv", client.report_as("csv", first, beside=rest))


def _say_what_next(out: Path, home: Path, jobs: Sequence[JobView], *, took_s: float) -> None:
    console = output()
    distilled = CHECKOUT / "examples" / "demo" / "distilled.yaml"
    again = f"fgd submit {short(distilled)} --set teacher.checkpoint=job:{jobs[0].job_id}/best --set seed=1 --watch"
    next_steps: Mapping[str, str] = {
        "see the charts and what was found": f"open {short(out / 'report.html')}",
        "look at these jobs again": f"fgd up --home {short(home)}",
        "then, another seed": again,
        "your own data": f"edit {short(CHECKOUT / 'examples' / 'coco_own_data')}/*.yaml",
    }
    console.print(f"\n[bold]done in {duration(took_s)}[/]; all that was started has been stopped")
    for what, command in next_steps.items():
        console.print(f"  [dim]{what:<34}[/] {escape(command)}", soft_wrap=True)
    console.print(f"  [dim]{'written':<34}[/] {escape(short(out))}/report.html, .json, .csv", soft_wrap=True)


def short(path: Path) -> str:
    """Relative to the current folder where that is shorter to type."""
    whole, here = path.resolve(), current_folder()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)
