"""Browser sessions: a signed cookie that names an API token, and works either for the page or for Ray's dashboard.

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
from service.ray_proxy.paths import SESSION_S
from service.store.tokens import TokenMint


class BrowserSessions:
    """Begins sessions of one site and checks their cookies.

    Args:
        site: a part of the seal, so that the cookie of one site opens no other one.
        sign_in: path of the site's sign-in form, for messages.
    """

    def __init__(
        self, tokens: TokenCheck, mint: Callable[[], TokenMint], clock: Clock, *, site: str, sign_in: str
    ) -> None:
        self._site = site
        self._sign_in = sign_in
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
            raise self._ended()
        token_id, ends_at_s = found["token_id"], int(found["ends_at_s"])
        if datetime.fromtimestamp(ends_at_s, UTC) <= self._clock():
            raise self._ended()
        principal, token_sha256 = await self._tokens.holder(token_id)
        # The seal covers the present token: the one from the settings keeps its id when its value changes.
        if not hmac.compare_digest(found["seal"], self._seal(token_id, ends_at_s, token_sha256)):
            raise self._ended()
        return principal

    def _seal(self, token_id: str, ends_at_s: int, token_sha256: str) -> str:
        return self._mint().seal(f"{self._site}:{token_id}:{ends_at_s}:{token_sha256}")

    def _ended(self) -> UnauthorizedError:
        return UnauthorizedError(f"the session has ended; sign in again at {self._sign_in}, or send an API token")


# Ten digits last until the year 2286.
_VALUE = re.compile(r"(?P<token_id>[A-Za-z0-9]{1,32})\.(?P<ends_at_s>[0-9]{10})\.(?P<seal>[0-9a-f]{64})")
