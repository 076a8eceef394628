"""The settings of a server: environment variables with the prefix FGD_, or keyword arguments.

A group of settings reads the variables with the group's name as prefix: `settings.database.url` is FGD_DATABASE_URL.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.loopback import is_loopback
from service.settings.groups import (
    AbsolutePath,
    DatabaseSettings,
    RaySettings,
    RetentionSettings,
    StorageSettings,
    StreamSettings,
    WebhookSettings,
)
from service.settings.loggers import LoggerTarget, targets_of
from service.urls import Bucket, place_of

TUNE_SEARCHERS = (
    "ray.tune.search.ax.AxSearch",
    "ray.tune.search.bayesopt.BayesOptSearch",
    "ray.tune.search.hebo.HEBOSearch",
    "ray.tune.search.hyperopt.HyperOptSearch",
    "ray.tune.search.optuna.OptunaSearch",
)


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
    return "shared" if _storage(values).url is None else "through_server"


def _data_roots(values: dict[str, object]) -> tuple[Path, ...]:
    if values["auth"] == "none":
        return (Path("/"),)
    return (_storage(values).dir,) if _storage(values).url is None else ()


def _storage(values: dict[str, object]) -> StorageSettings:
    return StorageSettings.model_validate(values["storage"])


def _split(value: object) -> object:
    """Split `/data:/mnt/more` from the environment, as in PATH."""
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _with_default(group: object, name: str, default: str) -> object:
    """Add the default of `name` to the given values of a group."""
    return {name: default, **group} if isinstance(group, dict) else group


class Settings(BaseSettings):
    """Holds all settings of a server.

    Raises:
        pydantic.ValidationError: a value is invalid; among others, a host off the loopback without tokens.
    """

    model_config = SettingsConfigDict(
        env_prefix="FGD_",
        # FGD_DATABASE_POOL_SIZE is `pool_size` of `database`: only the first underscore after a group's name counts.
        env_nested_delimiter="_",
        env_nested_max_split=1,
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
    # The defaults of `database.url` and `storage.dir` lie in the home, so validators below add them.
    database: DatabaseSettings = Field(default_factory=dict, validate_default=True)
    secret: SecretStr | None = Field(default=None, min_length=32)
    """Secret from which the tokens of attempts are derived: the same for all control planes of one database. None: a
    secret that is stored in the home."""
    storage: StorageSettings = Field(default_factory=dict, validate_default=True)
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
    tune_searchers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = TUNE_SEARCHERS
    """Classes that a sweep's searcher of type `tune` may name, separated as in PATH. Default: those of Ray Tune whose
    suggestions depend only on a seed. Sweeps run the code of these classes."""
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    loggers: Annotated[tuple[LoggerTarget, ...], NoDecode, BeforeValidator(targets_of)] = ()
    """Other programs to which this server copies runs and their curves, separated by commas: `tensorboard:/folder`,
    `mlflow:http://host:5000`, `wandb:project`, `wandb:entity/project`."""

    ray: RaySettings = Field(default_factory=RaySettings)
    local_cluster: bool = False
    """Whether runs see this machine's files, so that a job with a missing path can be refused at once."""
    python: str = sys.executable
    """Interpreter that starts a run on the cluster; a full path, because otherwise Ray's own PATH decides."""

    heartbeat_s: float = Field(default=5.0, gt=0)
    heartbeat_timeout_s: float = Field(default=30.0, gt=0)
    """Silence after which a run that the cluster does not know is marked lost."""
    cancel_grace_s: float = Field(default=20.0, ge=0)
    """Time in which a run can save and stop before the cluster stops it."""
    tick_s: float = Field(default=1.0, gt=0)
    lease_ttl_s: float = Field(default=10.0, gt=0)
    """Time after which another control plane on the same database dispatches if the present one dies."""

    retention: RetentionSettings = Field(default_factory=RetentionSettings)

    sse: StreamSettings = Field(default_factory=StreamSettings)
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
        return self.storage.dir / "jobs" if self.auth == "tokens" and self.storage.url is None else None

    @model_validator(mode="before")
    @classmethod
    def _one_storage(cls, values: dict[str, object]) -> dict[str, object]:
        """Store a folder as `storage.dir`, in whichever way it was given; `storage.url` then holds only buckets."""
        storage = values.get("storage")
        if not isinstance(storage, dict):
            return values
        url = storage.get("url")
        # An empty value counts as unset: compose files pass on unset variables as empty.
        others = {name: value for name, value in storage.items() if name != "url"}
        if not url:
            return values | {"storage": others}
        if storage.get("dir") is not None:
            raise ValueError("FGD_STORAGE_URL and FGD_STORAGE_DIR both name the storage; set one of them")
        place = place_of(str(url))
        return values if isinstance(place, Bucket) else values | {"storage": others | {"dir": place}}

    @field_validator("database", mode="before")
    @classmethod
    def _database_in_home(cls, given: object, others: ValidationInfo) -> object:
        return _with_default(given, "url", f"sqlite+aiosqlite:///{others.data.get('home')}/fgd.db")

    @field_validator("storage", mode="before")
    @classmethod
    def _storage_in_home(cls, given: object, others: ValidationInfo) -> object:
        return _with_default(given, "dir", f"{others.data.get('home')}/storage")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.storage.url is not None and self.run_files == "shared":
            raise ValueError(
                f"runs cannot share {self.storage.url} as a folder; set FGD_RUN_FILES=through_server, or unset it"
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


def all_settings() -> dict[str, FieldInfo]:
    """Return every setting under its name, such as `port` or `database.url`."""
    found: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {f"{name}.{inner}": each for inner, each in field.annotation.model_fields.items()}
        else:
            found[name] = field
    return found


def variable(name: str) -> str:
    """Return the variable of a setting: FGD_DATABASE_URL for `database.url`.

    The variable of a group, such as FGD_DATABASE for `database`, gives the whole group as a JSON object.
    """
    return f"FGD_{name.replace('.', '_').upper()}"
