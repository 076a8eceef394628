"""`fgd logs`"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from fgd_core.spec.event_state import status_before_events
from fgd_core.spec.views import AttemptView, JobView, LogPiece
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_json
from service.client.errors import UsageError
from service.client.exits import EXIT_INTERRUPTED
from service.client.live import EventLines

# Where a traceback that the run printed itself is looked for, so that it is not shown twice.
_LAST_CHARACTERS = 100_000


def logs(
    prefix: Annotated[str, typer.Argument(metavar="ID", help="A job id, or the beginning of it.")],
    number: Annotated[
        int | None, typer.Option("-n", "--attempt", min=1, metavar="N", help="Only what this attempt printed.")
    ] = None,
    following: Annotated[
        bool, typer.Option("-f", "--follow", help="What the newest attempt prints, as it does, until the job is over.")
    ] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """What a job reported so far, and what the processes of its attempts printed.

    With `-f` only what is printed, live: across retries, and across restarts of the control plane.

    **Examples**

    `fgd logs 3f2a`

    `fgd logs 3f2a -f`

    `fgd logs 3f2a --json | jq '.logs["attempt-1.log"]' -r`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
        attempts = [attempt for attempt in job.attempts if number in (None, attempt.number)]
        if number is not None and not attempts:
            raise UsageError(f"job {job.job_id} has no attempt {number}; it has {len(job.attempts)}")
        if following:
            _follow(client, job, number, as_json=as_json)
        else:
            _print(client, job, attempts, with_events=number is None, as_json=as_json)


def _print(
    client: FgdClient, job: JobView, attempts: Sequence[AttemptView], *, with_events: bool, as_json: bool
) -> None:
    events = client.stored_events(job.job_id) if with_events else []
    printed = {attempt.number: client.log(job.job_id, attempt.number) for attempt in attempts}
    if as_json:
        texts = {f"attempt-{number}.log": text for number, text in printed.items()}
        print_json({"events": [event.model_dump(mode="json") for event in events], "logs": texts})
        return
    standing, lines = status_before_events(job), EventLines()
    for event in events:
        standing.update(event)
        said = lines.line(standing, event)
        if said:
            output().print(said, markup=False, soft_wrap=True)
    for attempt in attempts:
        text = printed[attempt.number]
        output().rule(f"attempt {attempt.number}", align="left")
        output().out(text, highlight=False, end="" if text.endswith("\n") else "\n")
        _print_traceback(attempt, text)


def _follow(client: FgdClient, job: JobView, number: int | None, *, as_json: bool) -> None:
    def on_drop(_: float) -> None:
        errors_to().print(
            f"{client.base_url} is away; the job goes on, and so does this when it is back", style="yellow"
        )

    shown: dict[int, str] = {}
    try:
        for item in client.follow_log(job.job_id, number, on_drop=on_drop):
            if as_json:
                print_json(item.model_dump(mode="json"))
            elif isinstance(item, LogPiece):
                shown[item.attempt] = (shown.get(item.attempt, "") + item.text)[-_LAST_CHARACTERS:]
                sys.stdout.write(item.text)
                sys.stdout.flush()
            else:
                errors_to().print(Text(f"── {item.text} ──", style="dim"))
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    if not as_json:
        for attempt in client.job(job.job_id).attempts:
            if attempt.number in shown or attempt.number == number:
                _print_traceback(attempt, shown.get(attempt.number, ""))


def _print_traceback(attempt: AttemptView, printed: str) -> None:
    """What the run reported of its failure and did not print."""
    if attempt.error is None:
        return
    traceback = (attempt.error.traceback or "").rstrip()
    if traceback and traceback not in printed:
        output().out(traceback, highlight=False)
    said = f"attempt {attempt.number}  {attempt.error.code}: {attempt.error.message}"
    output().print(Text(said, style="red"), soft_wrap=True)
