"""`fgd demo-sweep`"""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fgd_core.spec.event_text import duration
from service.client.child import control_plane
from service.client.client import FgdClient
from service.client.commands.demo import CHECKOUT, new_home, short, taught_by
from service.client.console import AsJson, errors_to, output, print_json, write_file
from service.client.errors import UsageError
from service.client.exits import EXIT_INTERRUPTED, EXIT_REFUSED, guarded
from service.client.spec_file import read_spec
from service.client.watching import watch

# Enough to see that every part works; too little to find good weights.
_QUICK = {
    "teacher": ("training.epochs=2", "data.num_train=48", "data.num_val=16", "training.evaluate_every=1"),
    "sweep": ("base.training.epochs=3", "base.data.num_train=48", "base.data.num_val=16", "base.teacher.gate=keys"),
}


@guarded
def demo_sweep(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder for the reports and all other files.")
    ] = Path("demo-out"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Train few epochs on few images, to see whether fgd works here.")
    ] = False,
    specs: Annotated[
        Path,
        typer.Option(
            "--specs",
            metavar="DIR",
            help="The folder with teacher.yaml and sweep.yaml.  [default: examples/demo]",
            show_default=False,
        ),
    ] = CHECKOUT / "examples" / "demo",
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
    paths = {name: specs / f"{name}.yaml" for name in _QUICK}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise UsageError(
            f"{specs} lacks {', '.join(missing)}; give the folder examples/demo of a checkout with --specs"
        )
    found = {name: read_spec(str(path), overrides=_QUICK[name] if quick else ()) for name, path in paths.items()}
    home = new_home(out)
    console = errors_to() if as_json else output()
    try:
        with control_plane(home) as url, FgdClient(url) as client:
            console.print(f"[bold]fgd demo-sweep[/]  API {url}/docs", soft_wrap=True)
            takes = "a minute or two" if quick else "about 6 minutes on two cores"
            console.print(f"this takes {takes}; Ctrl-C stops everything", style="dim")
            teacher = client.submit(found["teacher"])
            sweep = client.submit(taught_by(teacher, found["sweep"]))
            ended = watch(client, [teacher, sweep], console)
            for form in ("html", "json", "csv"):
                write_file(out / f"sweep.{form}", client.report_as(form, sweep.job_id))
            report = client.sweeps.report(sweep.job_id)
    except KeyboardInterrupt as interrupt:
        errors_to().print("\ninterrupted; the server and its jobs have been stopped")
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    if as_json:
        print_json(report.model_dump(mode="json"))
    took = duration(time.monotonic() - began_s)
    console.print(f"\n[bold]done in {took}[/]; the server and its jobs have been stopped")
    for what, command in (
        ("see which weights to use, and why", f"open {short(out / 'sweep.html')}"),
        ("look at the trials again", f"fgd up --home {short(home)}, then fgd trials {sweep.job_id}"),
        ("continue the search", f"fgd sweep extend {sweep.job_id} --trials 12"),
    ):
        console.print(f"  [dim]{what:<34}[/] {escape(command)}", soft_wrap=True)
    if any(job.state != "succeeded" for job in ended):
        raise typer.Exit(EXIT_REFUSED)
