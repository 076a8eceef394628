"""A server's settings, from options and the environment; faults named by the option or variable at fault."""

import difflib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings
from pydantic_settings.exceptions import SettingsError

from service.client.errors import UsageError
from service.settings import RetentionSettings, Settings

_OPTIONS = {
    "home": "--home",
    "database_url": "--database-url",
    "host": "--host",
    "port": "--port",
    "ray_dashboard_url": "--ray-address",
}
# It may hold a password.
_UNSHOWN = ("database_url",)

# What others than the server read: the client, the runs, and the files in `deploy`.
_OF_OTHERS = frozenset(
    {
        *("FGD_SERVER", "FGD_TOKEN", "FGD_TOKEN_FILE"),
        *("FGD_URL", "FGD_ATTEMPT_ID", "FGD_ATTEMPT_CLAIM", "FGD_ATTEMPT_TOKEN", "FGD_SCRATCH", "FGD_RAY_HEAD"),
        *("FGD_RUN_ROOTS", "FGD_RUN_JOBS"),
        *("FGD_IMAGE", "FGD_RAY_IMAGE", "FGD_BIND", "FGD_HOST_PORT", "FGD_DATA", "FGD_SECRETS_DIR"),
        *("FGD_CLUSTER_NETWORK_DRIVER",),
    }
)


def settings_of(**given: Any) -> Settings:
    """Settings from the options that were given; the environment and the defaults fill the rest.

    Raises:
        UsageError: one of them cannot be.
    """
    options = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**options)
    except ValidationError as cause:
        model = RetentionSettings if cause.title == RetentionSettings.__name__ else Settings
        faults = [
            _said(model, fault, options)
            for fault in cause.errors(include_url=False)
            # Of a setting that follows from others: those say what is wrong.
            if fault["type"] != "default_factory_not_called"
        ]
        raise UsageError("; ".join(faults)) from cause
    except SettingsError as cause:
        raise UsageError(
            f"FGD_RETENTION={os.environ.get('FGD_RETENTION')!r} is no JSON object; set a variable for each rule, "
            "as in FGD_RETENTION_LOGS_DAYS=30"
        ) from cause


def unknown_variables(environment: Mapping[str, str], *, only_near: bool = False) -> Iterator[str]:
    """A sentence for each variable that looks like one of ours and that nothing reads.

    Args:
        only_near: leave out those that are like no variable that is read.
    """
    known = known_variables()
    for name in sorted(environment):
        if not name.upper().startswith("FGD_") or name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
        if only_near and not near:
            continue
        hint = f"did you mean {near[0]}?" if near else "unset it, or see service/settings.py for those there are"
        yield f"the variable {name} is set, and fgd knows no such variable; {hint}"


def known_variables() -> frozenset[str]:
    of_settings = {f"FGD_{name.upper()}" for name in Settings.model_fields}
    return _OF_OTHERS | of_settings | {f"FGD_RETENTION_{name.upper()}" for name in RetentionSettings.model_fields}


def _said(model: type[BaseSettings], fault: Any, options: Mapping[str, Any]) -> str:
    """`FGD_PORT='99999' must be from 1 to 65535`."""
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        # What several settings say together; the message names them.
        return str(message)
    name = ".".join(str(part) for part in fault["loc"])
    source = _OPTIONS.get(name, name) if name in options else _variable(model, name)
    shown = "" if name in _UNSHOWN or _is_secret(model, name) else f"={_plain(fault['input'])!r}"
    if (bounds := _bounds(model, name, fault.get("ctx", {}))) is not None:
        return f"{source}{shown} must {bounds}"
    return f"{source}{shown}: {message[:1].lower()}{message[1:]}"


def _variable(model: type[BaseSettings], name: str) -> str:
    return f"{model.model_config['env_prefix']}{name.replace('.', '_').upper()}"


def _bounds(model: type[BaseModel], name: str, context: Mapping[str, Any]) -> str | None:
    """All bounds of a number in words; None for a fault of another kind."""
    if not any(bound in context for bound in ("ge", "gt", "le", "lt", "min_length")):
        return None
    field = model.model_fields.get(name)
    limits = dict(context)
    for part in field.metadata if field is not None else ():
        limits |= {bound: getattr(part, bound) for bound in ("ge", "gt", "le", "lt") if hasattr(part, bound)}
    if "min_length" in limits:
        return f"have {limits['min_length']} characters or more"
    if "ge" in limits and "le" in limits:
        return f"be from {limits['ge']:,} to {limits['le']:,}".replace(",", "")
    words = {"ge": "{:g} or more", "gt": "more than {:g}", "le": "{:g} or less", "lt": "less than {:g}"}
    never = ", or never" if model is RetentionSettings else ""
    return "be " + " and ".join(form.format(limits[bound]) for bound, form in words.items() if bound in limits) + never


def _is_secret(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and SecretStr.__name__ in str(field.annotation)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)
