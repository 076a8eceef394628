"""`fgd data`: a group; a subcommand is a function here or in a module of its own, and a line at the end."""

import typer

from service.client.commands.data_coco2017 import coco2017
from service.client.exits import guarded

data = typer.Typer(
    rich_markup_mode="markdown",
    no_args_is_help=True,
    help="""Data sets by name: COCO, Pascal VOC and YOLO folders, checked once and counted.

**Examples**

`fgd data add blood --voc /data/VOC2007`

`fgd data check blood`
""",
)

data.command("coco2017")(guarded(coco2017))
