"""Reads a server's settings from options and the environment; errors name the option or variable that is wrong."""

import difflib
import os
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings.exceptions import SettingsError

from service.client.errors import UsageError
from service.settings import Settings, all_settings, variable

Home = Annotated[Path | None, typer.Option("--home", help="The server's folder.  [default: FGD_HOME, or ~/.fgd]")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", metavar="URL", help="Its database, if that is not in the folder.")
]
# Read only to be refused: a command for a named server must not change the home of another server.
NamedServer = Annotated[str | None, typer.Option("--server", envvar="FGD_SERVER", metavar="URL", hidden=True)]

_OPTIONS = {
    "home": "--home",
    "database.url": "--database-url",
    "host": "--host",
    "port": "--port",
    "ray.dashboard_url": "--ray-address",
}
# It may hold a password.
_NOT_SHOWN = ("database.url", "database", "loggers")

# Variables that other programs read: the client, the runs, and the files in `deploy`.
_OF_OTHERS = frozenset(
    {
        *("FGD_SERVER", "FGD_TOKEN", "FGD_TOKEN_FILE"),
        *("FGD_URL", "FGD_ATTEMPT_ID", "FGD_ATTEMPT_CLAIM", "FGD_ATTEMPT_TOKEN", "FGD_SCRATCH", "FGD_CACHE"),
        "FGD_RAY_HEAD",
        *("FGD_RUN_ROOTS", "FGD_RUN_JOBS"),
        *("FGD_IMAGE", "FGD_RAY_IMAGE", "FGD_BIND", "FGD_HOST_PORT", "FGD_DATA", "FGD_SECRETS_DIR"),
        *("FGD_CLUSTER_NETWORK_DRIVER",),
    }
)


def settings_of(options: Mapping[str, object]) -> Settings:
    """Make the settings from the options that are not None; the environment and the defaults fill the rest.

    Args:
        options: by the name of their setting, such as `port` or `database.url`.
    Raises:
        UsageError: a value is invalid; the message names all of them.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**_nested(given))  # type: ignore[arg-type]  # pydantic checks the types
    except ValidationError as cause:
        faults = [
            _sentence(fault, given)
            for fault in cause.errors(include_url=False)
            # A default that is computed from other settings: the errors of those say what is wrong.
            if fault["type"] != "default_factory_not_called"
        ]
        raise UsageError("; ".join(faults)) from cause
    except SettingsError as cause:
        raise UsageError(_not_json(str(cause))) from cause


def _nested(options: Mapping[str, object]) -> dict[str, object]:
    """Return `{"database": {"url": …}}` for `{"database.url": …}`."""
    nested: dict[str, object] = {}
    for name, value in options.items():
        group, _, inner = name.partition(".")
        nested[group] = {inner: value} if inner else value
    return nested


def settings_at(home: Path | None, database_url: str | None, server: str | None, *, command: str) -> Settings:
    """Make the settings of the server with this home or database, else of the default home.

    Raises:
        UsageError: a setting is invalid; or only a server is named, whose home this command cannot know.
    """
    is_named = home is not None or database_url is not None
    if server and not is_named and not {"FGD_HOME", "FGD_DATABASE_URL"} & os.environ.keys():
        raise UsageError(
            f"`fgd {command}` opens a server's home and database, and cannot ask {server} (of --server or FGD_SERVER); "
            "on the machine of that server, add --home or --database-url"
        )
    return settings_of({"home": home, "database.url": database_url})


def unknown_variables(environment: Mapping[str, str], *, only_near: bool = False) -> Iterator[str]:
    """Yield a sentence for each variable with the prefix FGD_ that no program reads.

    Args:
        only_near: leave out variables that resemble no known variable.
    """
    known = known_variables()
    for name in sorted(environment):
        if not name.upper().startswith("FGD_") or name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
        if only_near and not near:
            continue
        hint = f"did you mean {near[0]}?" if near else "unset it, or see service/settings for all variables"
        yield f"the variable {name} is set, and fgd knows no such variable; {hint}"


def known_variables() -> frozenset[str]:
    """All variables with the prefix FGD_ that a program of ours reads."""
    names = {part for name in all_settings() for part in (name, name.partition(".")[0])}
    return _OF_OTHERS | {variable(name) for name in names}


def _not_json(message: str) -> str:
    """Say which variable has the name of a group of settings, and a value that is not a JSON object."""
    group = next(name for name in Settings.model_fields if f'"{name}"' in message)
    shown = "" if group in _NOT_SHOWN else f"={os.environ.get(variable(group))!r}"
    first = next(variable(name) for name in all_settings() if name.startswith(f"{group}."))
    return f"{variable(group)}{shown} is no JSON object; set a variable for each value, as in {first}=…"


def _sentence(fault: ErrorDetails, options: Mapping[str, object]) -> str:
    """`FGD_PORT='99999' must be from 1 to 65535`."""
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        # An error of several settings together; the message names them.
        return message
    # The name ends before an index, as of the second folder of a list.
    name = ".".join(str(part) for part in takewhile(lambda part: isinstance(part, str), fault["loc"]))
    source = _OPTIONS.get(name, name) if name in options else variable(name)
    shown = "" if name in _NOT_SHOWN or _is_secret(name) else f"={_plain(fault['input'])!r}"
    if (bounds := _bounds(name, fault.get("ctx", {}))) is not None:
        return f"{source}{shown} must {bounds}"
    return f"{source}{shown}: {message[:1].lower()}{message[1:]}"


def _bounds(name: str, context: Mapping[str, object]) -> str | None:
    """Put all bounds of a number into words; None if the error is of another kind."""
    if not any(bound in context for bound in ("ge", "gt", "le", "lt", "min_length")):
        return None
    field = all_settings().get(name)
    limits = dict(context)
    for part in field.metadata if field is not None else ():
        limits |= {bound: getattr(part, bound) for bound in ("ge", "gt", "le", "lt") if hasattr(part, bound)}
    if "min_length" in limits:
        return f"have {limits['min_length']} characters or more"
    if "ge" in limits and "le" in limits:
        return f"be from {limits['ge']:,} to {limits['le']:,}".replace(",", "")
    words = {"ge": "{:g} or more", "gt": "more than {:g}", "le": "{:g} or less", "lt": "less than {:g}"}
    never = ", or never" if name.startswith("retention.") else ""
    return "be " + " and ".join(form.format(limits[bound]) for bound, form in words.items() if bound in limits) + never


def _is_secret(name: str) -> bool:
    field = all_settings().get(name)
    return field is not None and SecretStr.__name__ in str(field.annotation)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)
