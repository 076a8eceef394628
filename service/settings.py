"""What can be set from outside: environment variables with the prefix FGD_, or keyword arguments."""

import ipaddress
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def _database_url(values: dict[str, Any]) -> str:
    return f"sqlite+aiosqlite:///{values['home']}/fgd.db"


def _storage_dir(values: dict[str, Any]) -> Path:
    return Path(values["home"]) / "storage"


def _public_url(values: dict[str, Any]) -> str:
    host = values.get("host", "127.0.0.1")
    return f"http://[{host}]:{values['port']}" if ":" in host else f"http://{host}:{values['port']}"


class Settings(BaseSettings):
    """Raises pydantic.ValidationError for a value that cannot be, a host off the loopback among them."""

    model_config = SettingsConfigDict(env_prefix="FGD_", frozen=True, extra="forbid", use_attribute_docstrings=True)

    home: AbsolutePath = Field(default=Path("~/.fgd"), validate_default=True)
    """Folder for everything that the control plane keeps."""
    database_url: str = Field(default_factory=_database_url)
    storage_dir: AbsolutePath = Field(default_factory=_storage_dir)
    """Folder for checkpoints, artifacts and archived logs; runs must reach it under the same path."""

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=1, le=65535)
    public_url: str = Field(default_factory=_public_url)
    """How runs reach this server."""

    ray_dashboard_url: str | None = None
    """Ray's dashboard, which also serves its Jobs API; None where the server starts a Ray of its own."""
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

    sse_keep_alive_s: float = Field(default=15.0, gt=0)
    sse_poll_s: float = Field(default=1.0, gt=0)
    """How long a stream waits at most before it looks for events that another process wrote."""
    sse_lifetime_s: float = Field(default=3600.0, gt=0)

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, host: str) -> str:
        if host == "localhost":
            return host
        try:
            is_loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise ValueError(
                f"{host!r} is not a loopback address, and access tokens come with a later version; "
                "bind to 127.0.0.1 and reach the server through an SSH tunnel"
            )
        return host
