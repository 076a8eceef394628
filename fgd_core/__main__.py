"""`python -m fgd_core run spec.yaml`: one job on this machine, without service and without Ray."""

import argparse
import signal
import sys
from pathlib import Path

import yaml
from pydantic import ValidationError
from rich.console import Console

from fgd_core.console import ConsoleContext
from fgd_core.errors import SpecError
from fgd_core.runs import execute
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.refusals import spec_reasons


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: succeeded; 1: failed; 2: the spec is wrong; 130: stopped by Ctrl-C, to be gone on with."""
    parser = argparse.ArgumentParser(
        prog="python -m fgd_core", description="Train, distil or evaluate a detector here."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run a job",
        description="Run a job from its spec. The same command goes on where a stopped run left off.",
        epilog="example: python -m fgd_core run examples/demo/plain.yaml --out runs/plain",
    )
    run.add_argument("spec", type=Path, help="YAML or JSON file")
    run.add_argument("--out", type=Path, help="folder for checkpoints and pictures (default: runs/<name of the job>)")
    options = parser.parse_args(arguments)
    try:
        spec = _read(options.spec)
    except SpecError as error:
        Console(stderr=True).print(error.message, markup=False, highlight=False)
        return 2
    with ConsoleContext(options.out or Path("runs") / spec.name) as context:
        signal.signal(signal.SIGINT, lambda *_: _stop(context))
        outcome = execute(spec, context).outcome
    return {"succeeded": 0, "failed": 1, "stopped": 130}[outcome]


def _stop(context: ConsoleContext) -> None:
    context.stop_requested = True
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait


def _read(path: Path) -> JobSpec:
    try:
        return JOB_SPEC.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        reasons = "\n".join(f"  {reason.loc}: {reason.message}" for reason in spec_reasons(error))
        raise SpecError(f"{path} is no job:\n{reasons}") from error


if __name__ == "__main__":
    sys.exit(main())
