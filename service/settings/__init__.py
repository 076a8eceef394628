"""The settings of a server: environment variables with the prefix FGD_, or keyword arguments."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.jobs.retention import Policy
from service.loopback import is_loopback
from service.urls import Bucket, place_of, with_driver


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as cause:
        raise ValueError(
            f"cannot expand ~ in {path}: neither HOME nor the system's list of users names a home folder; give a "
            "whole path"
        ) from cause


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def _database_url(values: dict[str, object]) -> str:
    return f"sqlite+aiosqlite:///{values['home']}/fgd.db"


def _storage_dir(values: dict[str, object]) -> Path:
    return Path(str(values["home"])) / "storage"


def _public_url(values: dict[str, object]) -> str:
    # "All addresses" is not an address to call; runs on this machine can call its loopback.
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(values["host"]), str(values["host"]))
    return f"http://[{host}]:{values['port']}" if ":" in host else f"http://{host}:{values['port']}"


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("give the address of this server as browsers use it, as in https://fgd.example.org")
    return url.rstrip("/")


def _auth(values: dict[str, object]) -> Literal["none", "tokens"]:
    return "none" if is_loopback(str(values["host"])) else "tokens"


def _run_files(values: dict[str, object]) -> Literal["shared", "through_server"]:
    return "shared" if values.get("storage_url") is None else "through_server"


def _data_roots(values: dict[str, object]) -> tuple[Path, ...]:
    if values["auth"] == "none":
        return (Path("/"),)
    return (Path(str(values["storage_dir"])),) if values.get("storage_url") is None else ()


def _split(value: object) -> object:
    """Split `/data:/mnt/more` from the environment, as in PATH."""
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


class RetentionSettings(Policy, BaseSettings):
    """Reads the rules of retention from variables such as FGD_RETENTION_LOGS_DAYS=30, or `never`."""

    model_config = SettingsConfigDict(env_prefix="FGD_RETENTION_", env_parse_none_str="never", extra="forbid")


class Settings(BaseSettings):
    """Holds all settings of a server.

    Raises:
        pydantic.ValidationError: a value is invalid; among others, a host off the loopback without tokens.
    """

    model_config = SettingsConfigDict(
        env_prefix="FGD_",
        frozen=True,
        extra="forbid",
        # No infinite heartbeat or lease.
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # The message about an invalid admin token must not contain the token.
        hide_input_in_errors=True,
    )

    home: AbsolutePath = Field(default=Path("~/.fgd"), validate_default=True)
    """Folder for all files of the control plane."""
    database_url: Annotated[str, AfterValidator(with_driver)] = Field(default_factory=_database_url)
    """sqlite:////folder/file.db, for one control plane; postgresql://user:password@host:5432/name, for any number."""
    database_pool_size: int = Field(default=10, ge=2)
    """Maximum number of this control plane's connections to PostgreSQL; an event stream needs none."""
    secret: SecretStr | None = Field(default=None, min_length=32)
    """Secret from which the tokens of attempts are derived: the same for all control planes of one database. None: a
    secret that is stored in the home."""
    storage_dir: AbsolutePath = Field(default_factory=_storage_dir)
    """Folder for checkpoints, artifacts and archived logs."""
    storage_url: str | None = None
    """The storage as a path, as file:///folder, or as a bucket: s3://bucket/prefix. Endpoint, credentials and region
    come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and so on. None: `storage_dir`."""
    run_files: Literal["shared", "through_server"] = Field(default_factory=_run_files)
    """Where runs write their files: `shared`, in the storage folder, which they must reach under the same path; or
    `through_server`, on their own node, from where they upload results to this server. A bucket needs the second."""
    max_file_bytes: int = Field(default=50_000_000_000, ge=1_000_000)
    """Maximum size of one file that a run uploads."""

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=1, le=65535)
    public_url: str = Field(default_factory=_public_url)
    """Address at which runs reach this server."""
    external_url: Annotated[str, AfterValidator(_base_url)] | None = None
    """Address at which people reach this server, for links that are stored or written to a file; None: `public_url`. If
    a proxy serves it below a path, include the path."""

    auth: Literal["none", "tokens"] = Field(default_factory=_auth)
    """`none`: no authentication, on a loopback address only; `tokens`: every request needs an API token."""
    admin_token: SecretStr | None = Field(default=None, min_length=32)
    """Admin token that the server registers at its start, as the token `bootstrap`."""
    admin_token_file: AbsolutePath | None = None
    """File with the admin token, for systems that mount secrets as files."""
    metrics_token: SecretStr | None = Field(default=None, min_length=32)
    """Token that gives access to /metrics only; API tokens do so as well."""
    metrics_token_file: AbsolutePath | None = None
    """File with the metrics token; it is read at each scrape."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Additional host names by which browsers may reach a server without tokens, separated as in PATH."""
    data_roots: Annotated[tuple[AbsolutePath, ...], NoDecode, BeforeValidator(_split)] = Field(
        default_factory=_data_roots
    )
    """Folders in which the paths of a spec must lie, separated as in PATH. Default: all folders without tokens, else
    only the storage folder."""
    webhooks_allow_private: bool = False
    """Whether webhooks may call addresses outside the public internet."""

    ray_dashboard_url: str | None = None
    """Address of Ray's dashboard, which also serves its Jobs API; None if the server starts a local Ray."""
    ray_keep_runs: int = Field(default=200, ge=0)
    """Number of ended runs that stay on Ray's dashboard, to which their jobs link. Ray's lists have no pages."""
    local_cluster: bool = False
    """Whether runs see this machine's files, so that a job with a missing path can be refused at once."""
    python: str = sys.executable
    """Interpreter that starts a run on the cluster; a full path, because otherwise Ray's own PATH decides."""

    heartbeat_s: float = Field(default=5.0, gt=0)
    heartbeat_timeout_s: float = Field(default=30.0, gt=0)
    """Silence after which a run that the cluster does not know is marked lost."""
    cancel_grace_s: float = Field(default=20.0, ge=0)
    """Time that a run gets to save and stop by itself before the cluster stops it."""
    tick_s: float = Field(default=1.0, gt=0)
    lease_ttl_s: float = Field(default=10.0, gt=0)
    """Time after which another control plane on the same database dispatches if the present one dies."""

    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    """Rules of retention; each has its own variable, FGD_RETENTION_…"""

    sse_keep_alive_s: float = Field(default=15.0, gt=0)
    sse_poll_s: float = Field(default=0.25, gt=0)
    """Longest time after which streams look for events that another process wrote."""
    sse_lifetime_s: float = Field(default=3600.0, gt=0)
    slow_reader_s: float = Field(default=20.0, gt=0)
    """Time after which a client that reads nothing is disconnected."""
    log_poll_s: float = Field(default=1.0, gt=0)
    """Time between two reads of a log that somebody follows; longer for large logs."""

    @property
    def url_path(self) -> str:
        """The path below which browsers find this server; empty for the root."""
        return urlsplit(self.external_url or "").path.rstrip("/")

    @property
    def lasting_url(self) -> str:
        """The server's address in links that are stored or written to a file."""
        return self.external_url or self.public_url

    @property
    def jobs_of_others(self) -> Path | None:
        """The folder of jobs' results, if specs must not name paths in it; else None."""
        return self.storage_dir / "jobs" if self.auth == "tokens" and self.storage_url is None else None

    @model_validator(mode="before")
    @classmethod
    def _one_storage(cls, values: dict[str, object]) -> dict[str, object]:
        """Store a folder as `storage_dir`, in whichever way it was given; `storage_url` then holds only buckets."""
        url = values.get("storage_url")
        # An empty value counts as unset: compose files pass on unset variables as empty.
        others = {name: value for name, value in values.items() if name != "storage_url"}
        if not url:
            return others
        if values.get("storage_dir") is not None:
            raise ValueError("FGD_STORAGE_URL and FGD_STORAGE_DIR both name the storage; set one of them")
        place = place_of(str(url))
        if isinstance(place, Bucket):
            return values
        return others | {"storage_dir": place}

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.storage_url is not None and self.run_files == "shared":
            raise ValueError(
                f"runs cannot share {self.storage_url} as a folder; set FGD_RUN_FILES=through_server, or unset it"
            )
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.auth == "none" and not is_loopback(self.host):
            raise ValueError(
                f"{self.host!r} is not a loopback address, and without tokens everybody who reaches this server has "
                "full access; set FGD_AUTH=tokens, or bind to 127.0.0.1 and use an SSH tunnel"
            )
        return self
