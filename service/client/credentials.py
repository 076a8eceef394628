"""The API token that the environment holds: never an argument, for every user of a machine can read those."""

import os

from service.client.errors import UsageError
from service.client.places import expanded

_TOKEN, _FILE = "FGD_TOKEN", "FGD_TOKEN_FILE"


def token_of_environment() -> str | None:
    """What FGD_TOKEN says, or the file that FGD_TOKEN_FILE names.

    Raises:
        UsageError: the file cannot be read.
    """
    if token := os.environ.get(_TOKEN, "").strip():
        return token
    named = os.environ.get(_FILE)
    if not named:
        return None
    try:
        return expanded(named).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is no text"
        raise UsageError(f"{_FILE}={named} cannot be read: {why}; correct or unset it") from cause


def header(token: str | None) -> dict[str, str]:
    """Raises UsageError for what no token can be; the message does not show it."""
    if token is None:
        return {}
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"the API token has characters that no token has; look at {_TOKEN} or {_FILE}")
    return {"Authorization": f"Bearer {token}"}
