"""What can be set from outside: environment variables with the prefix FGD_, or keyword arguments."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self
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
            f"the folder that ~ stands for in {path} is unknown, for neither HOME nor the list of users has it; "
            "give a whole path"
        ) from cause


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def _database_url(values: dict[str, Any]) -> str:
    return f"sqlite+aiosqlite:///{values['home']}/fgd.db"


def _storage_dir(values: dict[str, Any]) -> Path:
    return Path(values["home"]) / "storage"


def _public_url(values: dict[str, Any]) -> str:
    # Nobody can call "every address"; what runs on this machine can call its loopback.
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(values["host"], values["host"])
    return f"http://[{host}]:{values['port']}" if ":" in host else f"http://{host}:{values['port']}"


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("give the address of this server as browsers have it, like https://fgd.example.org")
    return url.rstrip("/")


def _auth(values: dict[str, Any]) -> Literal["none", "tokens"]:
    return "none" if is_loopback(values["host"]) else "tokens"


def _run_files(values: dict[str, Any]) -> Literal["shared", "through_server"]:
    return "shared" if values.get("storage_url") is None else "through_server"


def _data_roots(values: dict[str, Any]) -> tuple[Path, ...]:
    if values["auth"] == "none":
        return (Path("/"),)
    return (values["storage_dir"],) if values.get("storage_url") is None else ()


def _split(value: object) -> object:
    """`/data:/mnt/more` as the environment has it, like PATH."""
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


class RetentionSettings(Policy, BaseSettings):
    """FGD_RETENTION_LOGS_DAYS=30, or `never`; and so on."""

    model_config = SettingsConfigDict(env_prefix="FGD_RETENTION_", env_parse_none_str="never", extra="forbid")


class Settings(BaseSettings):
    """Raises pydantic.ValidationError for a value that cannot be, a host off the loopback without tokens among them."""

    model_config = SettingsConfigDict(
        env_prefix="FGD_",
        frozen=True,
        extra="forbid",
        # Nobody waits for ever for a heartbeat or a lease.
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # A refused admin token must not be printed with its refusal.
        hide_input_in_errors=True,
    )

    home: AbsolutePath = Field(default=Path("~/.fgd"), validate_default=True)
    """Folder for everything that the control plane keeps."""
    database_url: Annotated[str, AfterValidator(with_driver)] = Field(default_factory=_database_url)
    """sqlite:////folder/file.db, for one control plane; postgresql://user:password@host:5432/name, for any number."""
    database_pool_size: int = Field(default=10, ge=2)
    """Connections to PostgreSQL at most, of this control plane; a stream of events holds none."""
    secret: SecretStr | None = Field(default=None, min_length=32)
    """From which the tokens of attempts are made: the same for all control planes of one database. None: one that is
    kept in the home."""
    storage_dir: AbsolutePath = Field(default_factory=_storage_dir)
    """Folder for checkpoints, artifacts and archived logs."""
    storage_url: str | None = None
    """The same as a path, as file:///folder, or in a bucket: s3://bucket/prefix. Endpoint, credentials and region come
    from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and so on. None: it is `storage_dir`."""
    run_files: Literal["shared", "through_server"] = Field(default_factory=_run_files)
    """How runs keep their files: in the storage folder, which they must reach under the same path, or on their own
    node, from where they send this server what is to stay. With a bucket it is always the second."""
    max_file_bytes: int = Field(default=50_000_000_000, ge=1_000_000)
    """Of one file that a run sends."""

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=1, le=65535)
    public_url: str = Field(default_factory=_public_url)
    """How runs reach this server."""
    external_url: Annotated[str, AfterValidator(_base_url)] | None = None
    """How people reach it, in links that are stored or stand in a file; None: as runs do. Behind something that serves
    it below a path, with that path."""

    auth: Literal["none", "tokens"] = Field(default_factory=_auth)
    """Who is let in: everybody (on a loopback address only), or who has an API token."""
    admin_token: SecretStr | None = Field(default=None, min_length=32)
    """Registered as the token `bootstrap`, of an admin, when the server starts."""
    admin_token_file: AbsolutePath | None = None
    """File that holds it, for what mounts secrets as files."""
    metrics_token: SecretStr | None = Field(default=None, min_length=32)
    """Opens /metrics and nothing else, beside API tokens."""
    metrics_token_file: AbsolutePath | None = None
    """File that holds it, read at each scrape."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Names beside its own by which browsers may reach a server without tokens, separated like PATH."""
    data_roots: Annotated[tuple[AbsolutePath, ...], NoDecode, BeforeValidator(_split)] = Field(
        default_factory=_data_roots
    )
    """Folders in which the paths of a spec must lie, separated like PATH: all of them without tokens, else the storage
    folder alone."""
    webhooks_allow_private: bool = False
    """Whether webhooks may call addresses that are not of the public internet."""

    ray_dashboard_url: str | None = None
    """Ray's dashboard, which also serves its Jobs API; None where the server starts a Ray of its own."""
    ray_keep_runs: int = Field(default=200, ge=0)
    """So many runs that ended stay on Ray's dashboard, where their jobs link to; Ray's lists have no pages."""
    local_cluster: bool = False
    """Whether runs see this machine's files, so that a missing path can be refused at the door."""
    python: str = sys.executable
    """Interpreter that starts a run on the cluster; a full path, for Ray's own PATH decides otherwise."""

    heartbeat_s: float = Field(default=5.0, gt=0)
    heartbeat_timeout_s: float = Field(default=30.0, gt=0)
    """Silence after which a run that the cluster does not know counts as lost."""
    cancel_grace_s: float = Field(default=20.0, ge=0)
    """What a run gets to save and stop by itself before the cluster stops it."""
    tick_s: float = Field(default=1.0, gt=0)
    lease_ttl_s: float = Field(default=10.0, gt=0)
    """How long a control plane that died keeps others from dispatching. They share one database."""

    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    """What is kept for how long; each with a variable of its own, FGD_RETENTION_…"""

    sse_keep_alive_s: float = Field(default=15.0, gt=0)
    sse_poll_s: float = Field(default=0.25, gt=0)
    """How long streams wait at most before they look for events that another process wrote."""
    sse_lifetime_s: float = Field(default=3600.0, gt=0)
    slow_reader_s: float = Field(default=20.0, gt=0)
    """A client that takes none of what is ready for it for so long is cut off."""
    log_poll_s: float = Field(default=1.0, gt=0)
    """How often the cluster is asked for the log of a run that somebody follows; less often where the log is large."""

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
        """The folder of what jobs leave behind, which no spec may name by path; None: it may, or there is none."""
        return self.storage_dir / "jobs" if self.auth == "tokens" and self.storage_url is None else None

    @model_validator(mode="before")
    @classmethod
    def _one_storage(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A folder, however it was named, becomes `storage_dir`; what is left of `storage_url` is a bucket."""
        url = values.get("storage_url")
        # Empty, as a compose file has it that passes on a variable which is not set.
        others = {name: value for name, value in values.items() if name != "storage_url"}
        if not url:
            return others
        if values.get("storage_dir") is not None:
            raise ValueError("FGD_STORAGE_URL and FGD_STORAGE_DIR both say where files lie; set one of them")
        place = place_of(str(url))
        if isinstance(place, Bucket):
            return values
        return others | {"storage_dir": place}

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.storage_url is not None and self.run_files == "shared":
            raise ValueError(
                f"runs cannot share {self.storage_url} as if it were a folder; set FGD_RUN_FILES=through_server, or "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.auth == "none" and not is_loopback(self.host):
            raise ValueError(
                f"{self.host!r} is not a loopback address, and whoever reaches this server without tokens may do "
                "everything; set FGD_AUTH=tokens, or bind to 127.0.0.1 and reach it through an SSH tunnel"
            )
        return self
