"""Names and versions of models, from Python: `client.models`."""

from fgd_core.spec import models as spec
from service.client.transport import Read, segment


class Models:
    """Names the files of jobs, and finds where they come from."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def list(self) -> list[spec.ModelView]:
        """Return all models with their versions."""
        return self._read(spec.ModelList, "GET", "/v1/models").items

    def get(self, name: str, *, project: str | None = None) -> spec.ModelView:
        """Return a model with its versions, newest first."""
        return self._read(spec.ModelView, "GET", _path(name), params={"project": project})

    def add(self, name: str, job_id: str, artifact: str = "best.pt") -> spec.ModelVersion:
        """Give a file of a job the next version of a model."""
        body = spec.NewModelVersion(job_id=job_id, artifact=artifact).model_dump(mode="json")
        return self._read(spec.ModelVersion, "POST", f"{_path(name)}/versions", json=body)

    def set_alias(self, name: str, alias: str, version: int, *, project: str | None = None) -> spec.ModelView:
        """Let an alias name a version."""
        body = spec.NewAlias(version=version).model_dump(mode="json")
        path = _alias_path(name, alias)
        return self._read(spec.ModelView, "PUT", path, json=body, params={"project": project})

    def remove_alias(self, name: str, alias: str, *, project: str | None = None) -> spec.ModelView:
        """Remove an alias; the version that it names stays. No error if the model has no such alias."""
        return self._read(spec.ModelView, "DELETE", _alias_path(name, alias), params={"project": project})

    def lineage(self, name: str, version: int, *, project: str | None = None) -> spec.Lineage:
        """Return the jobs and data sets that a version comes from, and the jobs that used it."""
        path = f"{_path(name)}/versions/{version}/lineage"
        return self._read(spec.Lineage, "GET", path, params={"project": project})


def _alias_path(name: str, alias: str) -> str:
    return f"{_path(name)}/aliases/{segment(alias, what='alias', listing='fgd models')}"


def _path(name: str) -> str:
    return f"/v1/models/{segment(name, what='model', listing='fgd models')}"
