"""Runs the library on this machine, without service and without Ray.

python -m fgd_core run spec.yaml            runs a job
python -m fgd_core weights FILE             shows what each key of a file of weights becomes in a detector
python -m fgd_core predict MODEL IMAGES…    detects objects in images, with a checkpoint or an exported file

torchrun --nproc-per-node 4 -m fgd_core run spec.yaml     runs a job in four processes that train together

PyTorch takes seconds to import. So it is imported only when a command needs it, and not for help or for an error in the
arguments or in a spec.
"""

# ruff: noqa: PLC0415

import argparse
import json
import signal
import sys
from pathlib import Path

import yaml
from pydantic import ValidationError
from rich.console import Console

from fgd_core.console import ConsoleContext
from fgd_core.errors import FgdError, SpecError
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.refusals import spec_reasons

_WIDTH_OF_FILES = 250


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit status.

    0: succeeded; 1: failed; 2: the spec is wrong; 130: stopped by Ctrl-C, and the same command resumes the run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m fgd_core", description="Train, distil or evaluate a detector on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run a job",
        description="Run a job from its spec. The same command resumes a stopped run.",
        epilog="example: python -m fgd_core run examples/demo/plain.yaml --out runs/plain",
    )
    run.add_argument("spec", type=Path, help="YAML or JSON file")
    run.add_argument("--out", type=Path, help="folder for checkpoints and pictures (default: runs/<name of the job>)")
    _add_weights(commands)
    _add_predict(commands)
    options = parser.parse_args(arguments)
    chosen = {"weights": _weights, "predict": _predict, "run": _run}[options.command]
    try:
        return chosen(options)
    except FgdError as error:
        is_spec = isinstance(error, SpecError)
        shown = error.message if is_spec else str(error)
        Console(stderr=True).print(f"error: {shown}", markup=False, highlight=False)
        return 2 if is_spec else 1


def _run(options: argparse.Namespace) -> int:
    spec = _read(options.spec)
    from fgd_core.provenance import record_provenance
    from fgd_core.ranks import is_first, started_by_torchrun, world_size
    from fgd_core.runs import execute

    folder = options.out or Path("runs") / spec.name
    with (
        started_by_torchrun(gpus=spec.resources.gpus),
        ConsoleContext(folder, Console(quiet=not is_first())) as context,
    ):
        signal.signal(signal.SIGINT, lambda *_: _stop(context))
        if world_size() > 1:
            # After Ctrl-C, torchrun sends this to all processes; rank 0 must save before it ends.
            signal.signal(signal.SIGTERM, lambda *_: _stop(context))
        for recorded in record_provenance(context.job_dir) if is_first() else ():
            context.emit(recorded)
        outcome = execute(spec, context).outcome
    return {"succeeded": 0, "failed": 1, "stopped": 130}[outcome]


def _add_weights(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    weights = commands.add_parser(
        "weights",
        help="show what a file of weights contains",
        description="Show what each key of a file of weights becomes in a detector, and what does not fit.",
        epilog="example: python -m fgd_core weights gfl_r50_fpn_1x_coco.pth --detector gfl.yaml",
    )
    weights.add_argument(
        "source",
        help="checkpoint of fgd, torchvision, mmdetection or a wrapper, or a name of torchvision's weights",
    )
    weights.add_argument(
        "--detector", type=Path, help="YAML or JSON file with the detector, if the source does not contain it"
    )
    weights.add_argument(
        "--classes", help="class names of a file that does not contain them, separated by commas: a,b,c"
    )
    weights.add_argument("--json", action="store_true", help="print JSON")


def _weights(options: argparse.Namespace) -> int:
    """Return exit status 0 if all keys fit; 1 if not, or if the file cannot be read."""
    document = _document(options.detector) if options.detector is not None else None
    from fgd_core.detectors.weights.examining import detector_settings, examine
    from fgd_core.weights_table import examined_json, print_examined

    settings = None
    if options.detector is not None:
        settings = detector_settings(document, str(options.detector))
    classes = [name.strip() for name in options.classes.split(",")] if options.classes else None
    examined = examine(options.source, settings, classes)
    if options.json:
        sys.stdout.write(json.dumps(examined_json(examined), indent=2) + "\n")
    else:
        # Lines for a pipe or a file are not wrapped, so that they can be searched.
        print_examined(examined, Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES))
    return 0 if examined.loaded.is_complete else 1


def _add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    predict = commands.add_parser(
        "predict",
        help="detect objects in images",
        description="Detect objects in images with a checkpoint of fgd or a file that an export job wrote.",
        epilog="example: python -m fgd_core predict detector.onnx photos --out found",
    )
    predict.add_argument("model", type=Path, help="checkpoint (.pt), ONNX file (.onnx) or program (.pt2)")
    predict.add_argument("images", nargs="+", help="files, folders or patterns")
    predict.add_argument("--out", type=Path, help="folder for pictures with boxes and results in COCO's format")
    predict.add_argument("--score", type=float, help="leave out objects with a lower score (default: the detector's)")
    predict.add_argument("--device", default="cpu", help="cpu or cuda")
    predict.add_argument("--batch", type=int, default=1, help="images per forward pass")
    predict.add_argument("--json", action="store_true", help="print COCO results")


def _predict(options: argparse.Namespace) -> int:
    """Return exit status 0 if all images were read; 1 if one could not be, or the model cannot be used."""
    from fgd_core.models.command import predict

    are_all_read = predict(
        options.model,
        options.images,
        out=options.out,
        score_threshold=options.score,
        device=options.device,
        batch_size=options.batch,
        as_json=options.json,
    )
    return 0 if are_all_read else 1


def _stop(context: ConsoleContext) -> None:
    context.stop_requested = True
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends the process at once


def _read(path: Path) -> JobSpec:
    try:
        return JOB_SPEC.validate_python(_document(path))
    except ValidationError as error:
        reasons = "\n".join(f"  {reason.loc}: {reason.message}" for reason in spec_reasons(error))
        raise SpecError(f"{path} is not a valid job:\n{reasons}") from error


def _document(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not valid YAML: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
