"""`fgd data coco2017`"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Exit, Option

from service.client.coco2017 import ARCHIVES, SITE, Archive, Check, verify
from service.client.console import AsJson, errors_to, output, print_json, size
from service.client.exits import EXIT_REFUSED, guarded


@guarded
def coco2017(
    root: Annotated[Path, Option(metavar="DIR", help="The folder of COCO 2017; recipes use this default.")] = Path(
        "coco2017"
    ),
    sample: Annotated[int, Option(min=1, metavar="N", help="Open N images of each split.")] = 200,
    *,
    as_json: AsJson = False,
) -> None:
    """Check whether a folder holds all of COCO 2017, and list what to download and where to unpack it.

    The command downloads nothing and needs no server. It exits with 0 if the data set is complete, and with 1 if files
    are missing, damaged or different. Reading the training annotations takes about a minute and 1 GB of memory.

    **Example**

    `fgd data coco2017 --root /data/coco2017`
    """
    with errors_to().status("checking") as status:
        checks = list(verify(root, sample=sample, on_read=lambda what: status.update(Text(f"reading {what}"))))
    is_good = all(check.is_good for check in checks)
    if as_json:
        archives = [{**archive._asdict(), "unpack_in": str(root)} for archive in ARCHIVES]
        print_json(
            {"root": str(root), "is_good": is_good, "checks": [vars(each) for each in checks], "files": archives}
        )
    else:
        output().print(_table(checks))
        if is_good:
            output().print(f"COCO 2017 is complete: {root}", markup=False, soft_wrap=True)
        else:
            output().print()
            output().print(f"Download these files from {SITE} and unpack them in {root}:", markup=False, soft_wrap=True)
            output().print(_downloads(ARCHIVES))
    if not is_good:
        raise Exit(EXIT_REFUSED)


def _table(checks: Sequence[Check]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold", max_width=40)
    table.add_column()
    table.add_column(overflow="fold")
    for check in checks:
        mark = Text("good", style="green") if check.is_good else Text("bad", style="bold red")
        table.add_row(Text(check.what), mark, Text(check.found))
    return table


def _downloads(archives: Sequence[Archive]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("file", no_wrap=True, style="bold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("unpacks to", no_wrap=True)
    table.add_column("MD5", overflow="fold")
    for archive in archives:
        table.add_row(archive.name, size(archive.size_bytes), archive.unpacks_to, archive.md5)
    return table
