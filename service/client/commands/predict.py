"""`fgd predict`"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

from typer import Argument, Exit, Option

from fgd_core.errors import ConflictError, NotFoundError
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.commands.models import chosen_version
from service.client.console import SERVER, AsJson, Server
from service.client.exits import guarded

_REFERENCE = re.compile(r"^(?:job:)?(?P<job>[0-9a-f]{2,32})(?:/(?P<name>[\w.-]+))?$")
_PREFERRED = ("detector.onnx", "detector.pt2", "best.pt")
"""The artifacts that can predict, best first: an ONNX file needs no PyTorch."""


@guarded
def predict(
    model: Annotated[
        str,
        Argument(
            metavar="MODEL",
            help="A checkpoint (.pt), an exported file (.onnx, .pt2), or a job: its id, or its id and an artifact, "
            "such as 3f2a/best.pt; or NAME@VERSION of a model.",
        ),
    ],
    images: Annotated[list[str], Argument(metavar="IMAGES", help="Files, folders, or patterns in quotes.")],
    *,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Folder for pictures with boxes and results in COCO's format.")
    ] = None,
    score: Annotated[
        float | None,
        Option(min=0, max=1, metavar="S", help="Leave out objects with a lower score. Default: the detector's."),
    ] = None,
    device: Annotated[str, Option(help="cpu or cuda.")] = "cpu",
    batch: Annotated[int, Option(min=1, metavar="N", help="Images per forward pass.")] = 1,
    project: Annotated[str | None, Option(metavar="NAME", help="The project of NAME@VERSION.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Detect objects in images, on this machine.

    A checkpoint needs PyTorch (`pip install fgd[workers]`); an exported ONNX file needs only `pip install
    fgd[runtime]`. A job's file is downloaded once.

    **Examples**

    `fgd predict detector.onnx photos --out found`

    `fgd predict 3f2a "photos/*.jpg" --score 0.5 --out found`
    """
    path = Path(model)
    if not path.is_file() and ("@" in model or _REFERENCE.match(model)):
        with FgdClient(server) as client:
            path = _downloaded(client, _named(client, model, project))
    # The client needs neither PyTorch nor onnxruntime; the library, which detects, runs in its own process.
    command = [sys.executable, "-P", "-m", "fgd_core", "predict", "--device", device, "--batch", str(batch)]
    command += ["--out", str(out)] if out is not None else []
    command += ["--score", str(score)] if score is not None else []
    command += ["--json"] if as_json else []
    command += ["--", str(path), *images]
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise Exit(ended.returncode)


class _File(NamedTuple):
    """Names a file of a job."""

    job_id: str
    name: str
    sha256: str


def _named(client: FgdClient, model: str, project: str | None) -> _File:
    """Return the file that `NAME@VERSION` or a reference to a job names."""
    name, is_version, wanted = model.partition("@")
    if is_version:
        version = chosen_version(client.models.get(name, project=project), wanted)
        return _File(version.job_id, version.artifact, version.sha256)
    found = _REFERENCE.match(model)
    assert found is not None
    job = client.job(client.find(found["job"]).job_id)
    chosen = _artifact_name(job, found["name"])
    return _File(job.job_id, chosen, next(each.sha256 for each in job.artifacts if each.name == chosen))


def _downloaded(client: FgdClient, file: _File) -> Path:
    """Return the local copy of a job's file, which is downloaded if this machine lacks it.

    Raises:
        ConflictError: the job has replaced the file since a version of a model named it.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fgd" / "models"
    path = folder / f"{file.sha256[:16]}{Path(file.name).suffix}"
    if not path.exists():
        present = {each.name: each.sha256 for each in client.job(file.job_id).artifacts}
        if present.get(file.name, file.sha256) != file.sha256:
            raise ConflictError(
                f"job {file.job_id} has replaced {file.name} since this version named it; add a new version with "
                "`fgd models add`",
                job_id=file.job_id,
            )
        folder.mkdir(parents=True, exist_ok=True)
        client.download_artifact(file.job_id, file.name, path)
    return path


def _artifact_name(job: JobView, name: str | None) -> str:
    """Choose the artifact of a job that can predict.

    Raises:
        NotFoundError: the job has none.
    """
    names = {each.name for each in job.artifacts}
    wanted = (name, f"{name}.pt") if name is not None else _PREFERRED
    chosen = next((each for each in wanted if each in names), None)
    if chosen is None:
        raise NotFoundError(
            f"job {job.job_id} has no {name or 'checkpoint and no exported file'}; it has: "
            f"{', '.join(sorted(names)) or 'no files yet'}",
            job_id=job.job_id,
        )
    return chosen
