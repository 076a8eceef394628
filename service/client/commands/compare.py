"""`fgd compare`"""

from pathlib import Path
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from fgd_core.spec.comparison import Change, ClassRow, Comparison, ScoreRow
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json, print_written, write_file
from service.client.errors import UsageError
from service.client.exits import guarded
from service.compare.wording import group_name
from service.reports.forest import heading, word

_WIDE = 116
_STYLES = {"gained": "bold green", "lost": "bold red", "noise": "dim", "too_little_data": "dim italic"}


@guarded
def compare(
    first: Annotated[
        str,
        Argument(metavar="A", help="A job id, or several with commas: the same configuration with different seeds."),
    ],
    second: Annotated[str, Argument(metavar="B", help="The job or jobs to compare A with, as for A.")],
    html: Annotated[Path | None, Option(metavar="FILE", help="Also write the comparison to one HTML file.")] = None,
    resamples: Annotated[int, Option(min=100, max=10_000, metavar="N", help="Resample the images N times.")] = 1000,
    seed: Annotated[int, Option(min=0, metavar="N", help="Seed of the resampling.")] = 0,
    *,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Compare A with B: overall AP, AP per size and per class, and whether each difference is more than chance.

    All jobs must have been scored on the same validation images. With a single run as A or as B, the images are
    resampled in pairs to measure chance. With two or more runs on each side (three are better), Welch's t-test over
    the seeds does so.

    **Examples**

    `fgd compare 3f2a 91bc`

    `fgd compare 3f2a,77c0,a1d9 91bc,02ee,5b6f --html comparison.html`

    `fgd compare 4e55/trial/7 4e55/trial/0`
    """
    with FgdClient(server) as client:
        ours, theirs = _jobs(client, first), _jobs(client, second)
        found = client.compare(ours, theirs, resamples=resamples, random_seed=seed)
        if html is not None:
            write_file(html, client.comparison_page(ours, theirs, resamples=resamples, random_seed=seed))
    if as_json:
        print_json(found)
        return
    print_comparison(found)
    if html is not None:
        print_written(html)


def print_comparison(found: Comparison) -> None:
    """Print the conclusions as sentences, then the tables, on standard output."""
    console = output()
    for sentence in found.sentences:
        console.print(sentence, markup=False)
        console.print()
    console.print(score_table(found, width=console.width))
    if found.classes:
        console.print()
        console.print(class_table(found, width=console.width))


def score_table(found: Comparison, *, width: int = _WIDE) -> Table:
    """Return a table with a row per score.

    Args:
        width: of the terminal, in columns.
    """
    table = _table(found, "score", "p", is_wide=width >= _WIDE)
    for row in found.scores:
        table.add_row(*_cells(heading(row.score), row, row.change.p if row.change else None))
    return table


def class_table(found: Comparison, *, width: int = _WIDE) -> Table:
    """Return a table with a row per class.

    Args:
        width: of the terminal, in columns; a narrow table omits the interval and the difference beyond the overall one.
    """
    is_wide = width >= _WIDE
    table = _table(found, "class", "adjusted p", is_wide=is_wide, with_interval=is_wide)
    table.add_column("boxes", justify="right")
    if is_wide:
        table.add_column("beyond overall", justify="right")
        table.add_column("")
    for row in found.classes:
        p, beyond = row.change.p_adjusted if row.change else None, row.beyond_overall
        of_boxes = [_difference(beyond), _verdict(beyond) if beyond else Text("")] if is_wide else []
        cells = _cells(row.name, row, p, with_interval=is_wide)
        table.add_row(*cells, Text(str(row.num_boxes)), *of_boxes)
    return table


def _jobs(client: FgdClient, listed: str) -> list[str]:
    """Return the full ids of a list with commas; `/trial/<number>` stays after an id."""
    named = [one.partition("/") for one in listed.split(",") if one]
    if not named:
        raise UsageError(f"{listed!r} names no job; write one id, or several with commas")
    return [f"{client.find(prefix).job_id}{slash}{trial}" for prefix, slash, trial in named]


def _table(found: Comparison, what: str, p: str, *, is_wide: bool, with_interval: bool = True) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2 if is_wide else 1, 0, 0))
    table.add_column(what, no_wrap=what == "score")
    for runs in (found.first, found.second):
        # A long name wraps; a cut name could be that of another job.
        table.add_column(Text(group_name(runs)), justify="right", overflow="fold")
    table.add_column("difference", justify="right", no_wrap=True)
    if with_interval:
        table.add_column(f"{found.confidence:.0%} interval", justify="right", no_wrap=True)
    table.add_column(p, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    return table


def _cells(name: str, row: ScoreRow | ClassRow, p: float | None, *, with_interval: bool = True) -> list[Text]:
    interval = [_interval(row.change)] if with_interval else []
    values = [_number(row.first), _number(row.second), _difference(row.change), *interval]
    return [Text(name, style="bold"), *values, _number(p, ".2g"), _verdict(row.change)]


def _number(value: float | None, form: str = ".3f") -> Text:
    return Text("–" if value is None else format(value, form))


def _difference(of: Change | None) -> Text:
    return Text("–") if of is None else Text(f"{of.value:+.3f}", style=_STYLES[of.finding])


def _interval(of: Change | None) -> Text:
    if of is None or of.low is None or of.high is None:
        return Text("–")
    return Text(f"{of.low:+.3f} to {of.high:+.3f}")


def _verdict(of: Change | None) -> Text:
    return Text("nothing to score", style="dim") if of is None else Text(word(of.finding), style=_STYLES[of.finding])
