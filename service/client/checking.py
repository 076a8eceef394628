"""Options of a command as a command of ours; refused in the words of the option."""

from typing import Any, TypeVar

from pydantic import ValidationError

from fgd_core.spec.base import Command
from service.client.errors import UsageError

C = TypeVar("C", bound=Command)


def checked(model: type[C], **options: Any) -> C:
    """Raises UsageError naming every option that cannot be."""
    try:
        return model.model_validate(options)
    except ValidationError as cause:
        faults = cause.errors(include_url=False)
        raise UsageError(
            "; ".join(f"{_option(fault['loc'])} {fault['input']!r}: {fault['msg']}" for fault in faults)
        ) from cause


def _option(loc: tuple[int | str, ...]) -> str:
    return f"--{str(loc[0]).replace('_', '-')}"
