"""`fgd verify`"""

from pathlib import Path
from typing import Annotated

from rich.text import Text
from typer import Argument, Exit, Option

from fgd_core.errors import SpecError
from service.client.client import FgdClient
from service.client.commands.watch import follow_to_the_end
from service.client.console import SERVER, AsJson, Server, output, print_answer
from service.client.exits import EXIT_REFUSED, guarded
from service.client.verification import (
    Page,
    Shown,
    Verification,
    choose,
    evaluation_of,
    from_detections,
    from_evaluation,
    read_page,
)


@guarded
def verify(
    report: Annotated[Path, Argument(metavar="REPORT", help="A page that `fgd report ID --html FILE` wrote.")],
    evaluating: Annotated[
        bool, Option("--evaluate", help="Evaluate the checkpoint again, in a new job; takes as long as an evaluation.")
    ] = False,
    seed: Annotated[
        int | None, Option(metavar="N", help="Choose the figure with this seed.  [default: another one each time]")
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Compute one figure of a report again, chosen at random, and check that the page shows it.

    The figure is computed from the matched detections that its run stored on the server, whose digest is in the page;
    with `--evaluate`, from the checkpoint and the images. The command exits with 1 if the figures differ.

    **Examples**

    `fgd verify report.html`

    `fgd verify report.html --evaluate --seed 7`
    """
    page = read_page(_text(report))
    figure = choose(page, seed)
    with FgdClient(server) as client:
        found = (
            _evaluated(client, page, figure, as_json=as_json) if evaluating else from_detections(client, page, figure)
        )
    print_answer(found, lambda: _sentence(found), as_json=as_json)
    if not found.agrees:
        raise Exit(EXIT_REFUSED)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is no text in UTF-8"
        raise SpecError(
            f"{path} cannot be read: {reason}; give a page that `fgd report ID --html FILE` wrote", path=str(path)
        ) from cause


def _evaluated(client: FgdClient, page: Page, figure: Shown, *, as_json: bool) -> Verification:
    job = client.submit(evaluation_of(client.job(figure.job_id)))
    if as_json:
        return from_evaluation(page, figure, client.wait(job.job_id))
    output().print(Text(f"{figure.name} of job {figure.job_id}: evaluated again by job {job.job_id}"))
    follow_to_the_end(client, [job], as_json=False)
    return from_evaluation(page, figure, client.job(job.job_id))


def _sentence(found: Verification) -> Text:
    outcome = ("agrees", "bold green") if found.agrees else ("differs", "bold red")
    return Text.assemble(
        outcome,
        f": {found.name} of job {found.job_id} is {found.shown} in the report and {found.again} from {found.basis}; "
        f"chosen from {found.num_figures} figures",
    )
