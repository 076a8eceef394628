"""The groups of a server's settings: settings whose variables share a prefix, such as FGD_DATABASE_."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from service.jobs.cluster import NodeType
from service.jobs.retention import Policy
from service.urls import with_driver


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as cause:
        raise ValueError(
            f"cannot expand ~ in {path}: neither HOME nor the system's list of users names a home folder; give a "
            "whole path"
        ) from cause


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class _Group(BaseModel):
    # `extra` stays at its default, which ignores unknown names: a deployment has variables of other programs with the
    # prefix of a group, such as FGD_RAY_IMAGE. `unknown_variables` reports misspelt names.
    model_config = ConfigDict(
        frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class DatabaseSettings(_Group):
    """Holds the variables FGD_DATABASE_…"""

    url: Annotated[str, AfterValidator(with_driver)]
    """sqlite:////folder/file.db, for one control plane; postgresql://user:password@host:5432/name, for any number.
    Default: SQLite in the home."""
    pool_size: int = Field(default=10, ge=2)
    """Maximum number of this control plane's connections to PostgreSQL; an event stream needs none."""


class StorageSettings(_Group):
    """Holds the variables FGD_STORAGE_…"""

    dir: AbsolutePath
    """Folder for checkpoints, artifacts and archived logs. Default: `storage` in the home."""
    url: str | None = None
    """The storage as a path, as file:///folder, or as a bucket: s3://bucket/prefix. Endpoint, credentials and region
    come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and so on. None: `dir`."""


class RaySettings(_Group):
    """Holds the variables FGD_RAY_…"""

    dashboard_url: str | None = None
    """Address of Ray's dashboard, which also serves its Jobs API; None if the server starts a local Ray."""
    keep_runs: int = Field(default=200, ge=0)
    """Number of ended runs that stay on Ray's dashboard, to which their jobs link. Ray's lists have no pages."""
    node_types: tuple[NodeType, ...] = ()
    """The kinds of nodes that Ray's autoscaler adds and removes, as [{"cpus": 16, "gpus": 1, "max_nodes": 4}], with the
    CPUs and GPUs that Ray sees on such a node. Empty for a cluster that does not grow."""


class WebhookSettings(_Group):
    """Holds the variables FGD_WEBHOOKS_…"""

    allow_private: bool = False
    """Whether webhooks may call addresses outside the public internet."""


class StreamSettings(_Group):
    """Holds the variables FGD_SSE_…, of the streams of server-sent events."""

    keep_alive_s: float = Field(default=15.0, gt=0)
    poll_s: float = Field(default=0.25, gt=0)
    """Longest time after which streams look for events that another process wrote."""
    lifetime_s: float = Field(default=3600.0, gt=0)


class RetentionSettings(Policy):
    """Holds the rules of retention, from variables such as FGD_RETENTION_LOGS_DAYS=30, or `never`."""

    @model_validator(mode="before")
    @classmethod
    def _never(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        return {name: None if value == "never" else value for name, value in values.items()}
