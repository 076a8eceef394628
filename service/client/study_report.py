"""The report of a study, as text and tables."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fgd_core.spec.charts import StudyTable
from fgd_core.spec.report import JobReport
from service.client.console import output
from service.jobs.study_tables import study_tables


def print_study(job: JobReport) -> None:
    """Print the answer of a study, then the figures behind it; if it has not ended, what it waits for."""
    console = output()
    if job.study is None:
        console.print(f"{job.name} is {job.state}: it answers once all its runs have ended", markup=False)
        return
    for sentence in job.study.sentences:
        console.print(sentence, markup=False, highlight=False)
    for table in study_tables(job.study):
        console.print()
        console.print(_table(table, console))


def _table(study: StudyTable, console: Console) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, caption=study.note, caption_justify="left")
    for place, heading in enumerate(study.headings):
        table.add_column(Text(heading), justify="left" if place == 0 else "right", overflow="fold")
    for name, *cells in study.rows:
        table.add_row(Text(name, style="bold"), *map(Text, cells))
    return table
