"""`fgd export`"""

from typing import Annotated

from rich.markup import escape
from typer import Argument, Option

from fgd_core.spec.exports import ExportFormat
from fgd_core.spec.jobs import data_of
from fgd_core.spec.kinds.export import ExportSpec
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.commands.submit import print_submitted
from service.client.commands.watch import follow_to_the_end
from service.client.console import SERVER, AsJson, Server, output
from service.client.errors import UsageError
from service.client.exits import guarded

_FORMATS: tuple[ExportFormat, ...] = ("onnx", "torch_export")


@guarded
def export(
    job: Annotated[str, Argument(metavar="JOB", help="The id of the job whose best checkpoint is exported.")],
    *,
    formats: Annotated[
        list[str] | None, Option("--format", metavar="FORMAT", help=f"{' or '.join(_FORMATS)}. Repeatable.")
    ] = None,
    int8: Annotated[bool, Option("--int8", help="Also write an ONNX file in 8-bit integers, and score it.")] = False,
    size: Annotated[
        tuple[int, int] | None,
        Option(metavar="HEIGHT WIDTH", help="The only size that the graph accepts, in pixels. Default: any size."),
    ] = None,
    name: Annotated[str | None, Option(metavar="NAME", help="Name of the new job.")] = None,
    watching: Annotated[bool, Option("--watch", help="Follow the job until it is over, as `fgd watch` does.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Submit a job that exports a detector, and compares the file with PyTorch on the validation images of its data.

    `kind: export` in a spec has more settings. `fgd predict JOB IMAGES` uses the exported file.

    **Examples**

    `fgd export 3f2a --watch`

    `fgd export 3f2a --format onnx --format torch_export --int8 --size 640 640`
    """
    with FgdClient(server) as client:
        trained = client.job(client.find(job).job_id)
        spec = _spec(trained, _known(formats), int8=int8, size_px=size, name=name)
        submitted = client.submit(spec)
        if watching:
            if not as_json:
                output().print(f"[bold]{escape(submitted.name)}[/] {submitted.job_id}")
            follow_to_the_end(client, [submitted], as_json=as_json)
        else:
            print_submitted(submitted, as_json=as_json)


def _spec(
    trained: JobView,
    formats: tuple[ExportFormat, ...],
    *,
    int8: bool,
    size_px: tuple[int, int] | None,
    name: str | None,
) -> ExportSpec:
    if isinstance(trained.spec, dict):
        raise UsageError(f"an older version stored the spec of job {trained.job_id}; write a spec with kind: export")
    return ExportSpec(
        name=name or f"export of {trained.name}"[:100],
        project=trained.spec.project,
        checkpoint=f"job:{trained.job_id}/best",
        data=data_of(trained.spec)[1],
        formats=formats,
        int8=int8,
        size_px=size_px,
    )


def _known(names: list[str] | None) -> tuple[ExportFormat, ...]:
    unknown = sorted({*(names or ())} - {*_FORMATS})
    if unknown:
        raise UsageError(f"{unknown[0]!r} is not a format; the formats are {' and '.join(_FORMATS)}")
    return tuple(each for each in _FORMATS if each in (names or ("onnx",)))
