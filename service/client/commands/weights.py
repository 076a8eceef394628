"""`fgd weights`"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.client.console import AsJson
from service.client.exits import guarded

weights = typer.Typer(
    rich_markup_mode="markdown",
    no_args_is_help=True,
    help="""Files of weights: what they hold for a detector.

**Examples**

`fgd weights check gfl_r50_fpn_1x_coco.pth --detector gfl.yaml`

`fgd weights check FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1 --json`
""",
)


def check(
    source: Annotated[
        str,
        typer.Argument(
            help="Checkpoint of fgd, torchvision, mmdetection or a wrapper around these, or the name of weights of "
            "torchvision's."
        ),
    ],
    detector: Annotated[
        Path | None, typer.Option(help="YAML or JSON file with the detector, if the source does not say it.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Of a file that does not say them: a,b,c")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each key of a file becomes in a detector, and what is missing, misshapen or unexpected.

    Of a file with several sets of weights the one is taken that its author would evaluate, such as the averaged one;
    `weights_set` in the detector's file asks for another.

    **Examples**

    `fgd weights check gfl_r50_fpn_1x_coco.pth --detector gfl.yaml`

    `fgd weights check FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1`
    """
    # The client is installed without PyTorch in mind; whoever has weights to look at has the library beside it.
    command = [sys.executable, "-m", "fgd_core", "weights", source]
    command += ["--detector", str(detector)] if detector is not None else []
    command += ["--classes", classes] if classes is not None else []
    command += ["--json"] if as_json else []
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise typer.Exit(ended.returncode)


weights.command("check")(guarded(check))
