"""The way in: a server that asks for tokens needs one that may make others."""

from fgd_core.errors import ConflictError, StorageError
from service.clock import Clock
from service.settings import Settings
from service.store import api_tokens
from service.store.session import Database
from service.store.tokens import digest

_SHORTEST = 32


async def have_an_admin(settings: Settings, database: Database, clock: Clock) -> None:
    """Register the token of the settings, if they have one, and see that somebody can get in.

    Raises:
        ConflictError: tokens are asked for, and there is none of an admin.
        StorageError: the file with the token cannot be read, or holds none that is long enough.
    """
    if settings.auth == "none":
        return
    given = _given(settings)
    async with database.writing() as session:
        if given is not None:
            await api_tokens.register_bootstrap(session, digest(given), clock())
        has_admin = await api_tokens.has_admin(session, clock())
    if not has_admin:
        raise ConflictError(
            f"this server listens on {settings.host} and asks for API tokens, and there is none yet of an admin; make "
            f"one with `fgd tokens create --name you --role admin --home {settings.home}` (or --database-url), or set "
            "FGD_ADMIN_TOKEN or FGD_ADMIN_TOKEN_FILE",
            host=settings.host,
        )


def _given(settings: Settings) -> str | None:
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    file = settings.admin_token_file
    if file is None:
        return None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise StorageError(f"FGD_ADMIN_TOKEN_FILE {file} cannot be read: {cause}", path=str(file)) from cause
    if len(token) < _SHORTEST:
        raise StorageError(
            f"FGD_ADMIN_TOKEN_FILE {file} holds no token of at least {_SHORTEST} characters; "
            "`openssl rand -hex 32` makes one",
            path=str(file),
        )
    return token
