"""`fgd logs`"""

import sys
from collections.abc import Sequence
from typing import Annotated

from rich.text import Text
from typer import Option

from fgd_core.spec.event_state import status_before_events
from fgd_core.spec.views import AttemptView, JobView, LogPiece
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, JobId, Server, away_notice, errors_to, output, print_json
from service.client.errors import UsageError
from service.client.exits import guarded, interruptible
from service.client.live import EventLines

# A traceback that the run printed within its last characters is not shown again.
_LAST_CHARACTERS = 100_000


@guarded
def logs(
    prefix: JobId,
    number: Annotated[
        int | None, Option("-n", "--attempt", min=1, metavar="N", help="Only the output of attempt N.")
    ] = None,
    following: Annotated[
        bool, Option("-f", "--follow", help="Follow the newest attempt's output until the job is over.")
    ] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show a job's events so far, and the output of its processes.

    With `-f`, follow only the output, live, across retries of the job and restarts of the server.

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
    status, lines = status_before_events(job), EventLines()
    for event in events:
        status.update(event)
        text = lines.line(status, event)
        if text:
            output().print(text, markup=False, soft_wrap=True)
    for attempt in attempts:
        text = printed[attempt.number]
        output().rule(f"attempt {attempt.number}", align="left")
        output().out(text, highlight=False, end="" if text.endswith("\n") else "\n")
        _print_traceback(attempt, text)


def _follow(client: FgdClient, job: JobView, number: int | None, *, as_json: bool) -> None:
    def on_drop(_: float) -> None:
        errors_to().print(away_notice(client.base_url), style="yellow")

    shown: dict[int, str] = {}
    with interruptible():
        for item in client.follow_log(job.job_id, number, on_drop=on_drop):
            if as_json:
                print_json(item)
            elif isinstance(item, LogPiece):
                shown[item.attempt] = (shown.get(item.attempt, "") + item.text)[-_LAST_CHARACTERS:]
                sys.stdout.write(item.text)
                sys.stdout.flush()
            else:
                errors_to().print(Text(f"── {item.text} ──", style="dim"))
    if not as_json:
        for attempt in client.job(job.job_id).attempts:
            if attempt.number in shown or attempt.number == number:
                _print_traceback(attempt, shown.get(attempt.number, ""))


def _print_traceback(attempt: AttemptView, printed: str) -> None:
    """Print the attempt's error, and its traceback if the run did not print it."""
    if attempt.error is None:
        return
    traceback = (attempt.error.traceback or "").rstrip()
    if traceback and traceback not in printed:
        output().out(traceback, highlight=False)
    text = f"attempt {attempt.number}  {attempt.error.code}: {attempt.error.message}"
    output().print(Text(text, style="red"), soft_wrap=True)
