"""Browser sessions for Ray's dashboard: a signed cookie that names an API token and works only here.

Sessions are stateless: every control plane with the same secret accepts the cookie. It names the token but does not
contain it, and it ends with the token, which is looked up for each request.
"""

import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from service.api.access import Principal
from service.api.token_check import TokenCheck
from service.clock import Clock
from service.errors import UnauthorizedError
from service.ray_proxy.paths import SESSION_S, SIGN_IN
from service.store.tokens import TokenMint


class RaySessions:
    """Begins sessions and checks their cookies."""

    def __init__(self, tokens: TokenCheck, mint: Callable[[], TokenMint], clock: Clock) -> None:
        self._tokens = tokens
        self._mint = mint
        self._clock = clock

    async def begin(self, token: str) -> tuple[Principal, str]:
        """Return the principal of an API token, and the value of the session's cookie.

        Raises:
            UnauthorizedError: the token is unknown, expired or revoked.
        """
        principal = await self._tokens.principal(token)
        assert principal.token_id is not None
        _, token_sha256 = await self._tokens.holder(principal.token_id)
        ends_at_s = int((self._clock() + timedelta(seconds=SESSION_S)).timestamp())
        return principal, f"{principal.token_id}.{ends_at_s}.{self._seal(principal.token_id, ends_at_s, token_sha256)}"

    async def principal(self, cookie: str) -> Principal:
        """Return the principal of a session.

        Raises:
            UnauthorizedError: the cookie is not ours, its session has ended, or its token is no longer valid.
        """
        found = _VALUE.fullmatch(cookie)
        if found is None:
            raise _ended()
        token_id, ends_at_s = found["token_id"], int(found["ends_at_s"])
        if datetime.fromtimestamp(ends_at_s, UTC) <= self._clock():
            raise _ended()
        principal, token_sha256 = await self._tokens.holder(token_id)
        # The seal covers the present token: the one from the settings keeps its id when its value changes.
        if not hmac.compare_digest(found["seal"], self._seal(token_id, ends_at_s, token_sha256)):
            raise _ended()
        return principal

    def _seal(self, token_id: str, ends_at_s: int, token_sha256: str) -> str:
        return self._mint().seal(f"ray:{token_id}:{ends_at_s}:{token_sha256}")


def _ended() -> UnauthorizedError:
    return UnauthorizedError(f"the session has ended; sign in again at {SIGN_IN}, or send an API token")


# Ten digits last until the year 2286.
_VALUE = re.compile(r"(?P<token_id>[A-Za-z0-9]{1,32})\.(?P<ends_at_s>[0-9]{10})\.(?P<seal>[0-9a-f]{64})")
