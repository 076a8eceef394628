"""`fgd demo` and `fgd demo-sweep`: start a server, run the example jobs, write the reports and stop the server."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from rich.markup import escape
from typer import Exit, Option

from fgd_core.errors import StorageError
from fgd_core.spec.event_text import duration
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.views import JobView
from service.client.child import control_plane
from service.client.client import FgdClient
from service.client.commands.report import print_report
from service.client.console import AsJson, errors_to, output, print_json, write_file
from service.client.errors import UsageError
from service.client.exits import EXIT_REFUSED, guarded, interruptible
from service.client.paths import current_folder
from service.client.spec_file import read_spec
from service.client.watching import watch

_EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
_SPECS = _EXAMPLES / "demo"
_OUT = Path("demo-out")
_FORMATS: tuple[Literal["html", "json", "csv"], ...] = ("html", "json", "csv")

# With --quick: enough to see that every part works; too little to train well or to find good weights. Two epochs train
# no good teacher, so only its weights are checked, not its AP.
_FEW_IMAGES = ("training.epochs=2", "data.num_train=48", "data.num_val=16", "training.evaluate_every=1")
_QUICK_DEMO: Mapping[str, Sequence[str]] = {
    "teacher": (*_FEW_IMAGES, "training.warmup_steps=5"),
    "plain": (*_FEW_IMAGES, "training.warmup_steps=5"),
    "distilled": (*_FEW_IMAGES, "training.warmup_steps=5", "teacher.gate=keys"),
}
_QUICK_SWEEP: Mapping[str, Sequence[str]] = {
    "teacher": _FEW_IMAGES,
    "sweep": ("base.training.epochs=3", "base.data.num_train=48", "base.data.num_val=16", "base.teacher.gate=keys"),
}

Out = Annotated[Path, Option("--out", metavar="DIR", help="The folder for the reports and all other files.")]
Specs = Annotated[
    Path, Option(metavar="DIR", help="The folder with the specs.  [default: examples/demo]", show_default=False)
]
Quick = Annotated[bool, Option("--quick", help="Train few epochs on few images, to see whether fgd works here.")]


@guarded
def demo(
    out: Out = _OUT,
    quick: Quick = False,
    specs: Specs = _SPECS,
    *,
    as_json: AsJson = False,
) -> None:
    """Start a server, train three small detectors, compare them and stop the server.

    The teacher and the plain student learn from the labels only. The distilled student has the size and the training
    budget of the plain one, and also imitates the teacher's feature maps. The demo takes 3 to 7 minutes on two cores.
    Ctrl-C stops everything at any time.

    **Examples**

    `fgd demo`

    `fgd demo --quick --out /tmp/try`
    """
    began_s = time.monotonic()
    found = _read(specs, _QUICK_DEMO, quick=quick)
    home = _new_home(out)
    console = errors_to() if as_json else output()
    takes = "half a minute" if quick else "3 to 7 minutes on two cores"
    with _server(home, console, title="fgd demo", takes=takes) as client:
        teacher = client.submit(found["teacher"])
        jobs = [teacher, client.submit(found["plain"]), client.submit(_taught_by(teacher, found["distilled"]))]
        ended = watch(client, jobs, console)
        others = [job.job_id for job in ended[1:]]
        for form in _FORMATS:
            write_file(out / f"report.{form}", client.report_as(form, teacher.job_id, beside=others))
        report = client.report(teacher.job_id, beside=others)
    if as_json:
        print_json(report)
    else:
        console.print()
        print_report(report)
        again = f"fgd submit {_short(_SPECS / 'distilled.yaml')} --set teacher.checkpoint=job:{teacher.job_id}/best"
        steps = {
            "see the charts and results": f"open {_short(out / 'report.html')}",
            "look at the jobs again": f"fgd up --home {_short(home)}",
            "then train with another seed": f"{again} --set seed=1 --watch",
            "use your own data": f"edit {_short(_EXAMPLES / 'coco_own_data')}/*.yaml",
            "written": f"{_short(out)}/report.html, .json, .csv",
        }
        _print_next_steps(console, steps, took_s=time.monotonic() - began_s)
    _exit_unless_all_succeeded(ended)


@guarded
def demo_sweep(
    out: Out = _OUT,
    quick: Quick = False,
    specs: Specs = _SPECS,
    *,
    as_json: AsJson = False,
) -> None:
    """Start a server, search the loss weights for a teacher and a student in twelve trials, and write the report.

    Two baselines run beside the search: the student without distillation, and with the default weights. So the report
    shows what distillation gains. Ctrl-C stops everything at any time.

    **Examples**

    `fgd demo-sweep`

    `fgd demo-sweep --quick --out /tmp/try`
    """
    began_s = time.monotonic()
    found = _read(specs, _QUICK_SWEEP, quick=quick)
    home = _new_home(out)
    console = errors_to() if as_json else output()
    takes = "a minute or two" if quick else "about 6 minutes on two cores"
    with _server(home, console, title="fgd demo-sweep", takes=takes) as client:
        teacher = client.submit(found["teacher"])
        sweep = client.submit(_taught_by(teacher, found["sweep"]))
        ended = watch(client, [teacher, sweep], console)
        for form in _FORMATS:
            write_file(out / f"sweep.{form}", client.report_as(form, sweep.job_id))
        report = client.sweeps.report(sweep.job_id)
    if as_json:
        print_json(report)
    steps = {
        "see which weights to use, and why": f"open {_short(out / 'sweep.html')}",
        "look at the trials again": f"fgd up --home {_short(home)}, then fgd trials {sweep.job_id}",
        "continue the search": f"fgd sweep extend {sweep.job_id} --trials 12",
    }
    _print_next_steps(console, steps, took_s=time.monotonic() - began_s)
    _exit_unless_all_succeeded(ended)


def _read(folder: Path, overrides: Mapping[str, Sequence[str]], *, quick: bool) -> dict[str, JobSpec]:
    """Read the specs named by `overrides`; the overrides apply only with `quick`."""
    paths = {name: folder / f"{name}.yaml" for name in overrides}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise UsageError(
            f"{folder} lacks {', '.join(missing)}; give the folder examples/demo of a checkout with --specs"
        )
    return {name: read_spec(str(path), overrides=overrides[name] if quick else ()) for name, path in paths.items()}


def _new_home(out: Path) -> Path:
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


@contextlib.contextmanager
def _server(home: Path, console: Console, *, title: str, takes: str) -> Iterator[FgdClient]:
    """Run a server while the block lasts; Ctrl-C stops it and ends the command."""
    stopped = interruptible("interrupted; the server and its jobs have been stopped")
    with stopped, control_plane(home) as url, FgdClient(url) as client:
        console.print(f"[bold]{title}[/]  API {url}/docs", soft_wrap=True)
        console.print("a teacher, and its student with and without it, on generated images of shapes", style="dim")
        console.print(f"this takes {takes}; Ctrl-C stops everything\n", style="dim")
        yield client


def _taught_by(teacher: JobView, spec: JobSpec) -> JobSpec:
    """Return the spec with the job's checkpoint as its teacher."""
    if spec.kind == "sweep":
        return spec.model_copy(update={"base": _taught_by(teacher, spec.base)})
    if spec.kind != "distill":
        raise UsageError(f"{spec.name} has `kind: {spec.kind}`; it must have `kind: distill`")
    checkpoint = f"job:{teacher.job_id}/best"
    return spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"checkpoint": checkpoint})})


def _print_next_steps(console: Console, steps: Mapping[str, str], *, took_s: float) -> None:
    console.print(f"\n[bold]done in {duration(took_s)}[/]; the server and its jobs have been stopped")
    for purpose, command in steps.items():
        console.print(f"  [dim]{purpose:<34}[/] {escape(command)}", soft_wrap=True)


def _exit_unless_all_succeeded(jobs: Sequence[JobView]) -> None:
    if any(job.state != "succeeded" for job in jobs):
        raise Exit(EXIT_REFUSED)


def _short(path: Path) -> str:
    """Return the path relative to the current folder if it is inside, else the absolute path."""
    whole, here = path.resolve(), current_folder()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)
