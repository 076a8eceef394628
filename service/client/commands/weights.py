"""`fgd weights`"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option, Typer

from service.client.console import AsJson
from service.client.exits import guarded

weights = Typer(
    rich_markup_mode="markdown",
    no_args_is_help=True,
    help="""Show what a weights file contains for a detector.

**Examples**

`fgd weights check gfl_r50_fpn_1x_coco.pth --detector gfl.yaml`

`fgd weights check FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1 --json`
""",
)


@weights.command()
@guarded
def check(
    source: Annotated[
        str,
        Argument(
            help="A checkpoint file of fgd, torchvision, mmdetection or a wrapper of these, or the name of torchvision "
            "weights."
        ),
    ],
    detector: Annotated[
        Path | None, Option(metavar="FILE", help="YAML or JSON file with the detector, if the source has none.")
    ] = None,
    classes: Annotated[
        str | None, Option(metavar="NAMES", help="Class names, if the source has none: cat,dog,bird")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which key of a detector each key of a file fills, and which keys are missing, unexpected or misshapen.

    If a file has several sets of weights, fgd takes the set that its author would evaluate, such as the averaged one.
    `weights_set` in the detector's file selects another set.

    **Examples**

    `fgd weights check gfl_r50_fpn_1x_coco.pth --detector gfl.yaml`

    `fgd weights check FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1`
    """
    # The client does not need PyTorch; the library, which reads the weights, runs in its own process.
    command = [sys.executable, "-P", "-m", "fgd_core", "weights", source]
    command += ["--detector", str(detector)] if detector is not None else []
    command += ["--classes", classes] if classes is not None else []
    command += ["--json"] if as_json else []
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise Exit(ended.returncode)
