"""Sends one POST request to one receiver: to the checked address, without redirects or proxies, within ten seconds."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

import httpx

from fgd_core.errors import SpecError
from service.webhooks.addresses import Resolve, Target, resolve, target

_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Says how a receiver answered."""

    delivered: bool
    status: int | None
    """None if there was no answer."""
    error: str | None


class Sender:
    """Sends deliveries.

    Args:
        allow_private: True to allow addresses that are not of the public internet.
    """

    def __init__(self, *, allow_private: bool, resolve: Resolve = resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolve

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        """Loaded once, because loading takes 20 ms, in which the server does nothing else."""
        return httpx.create_ssl_context(trust_env=False)

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a delivery. Errors of the receiver are part of the answer; only a status 2xx counts as delivered."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                where = await target(url, allow_private=self._allow_private, resolve=self._resolve)
                status = await self._post(where, url, body, headers)
        except TimeoutError:
            return Answer(delivered=False, status=None, error=f"no answer within {_TIMEOUT_S:g} s")
        except SpecError as refusal:
            return Answer(delivered=False, status=None, error=refusal.message)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
            return Answer(delivered=False, status=None, error=f"{type(failure).__name__}: {failure}"[:500])
        if not 200 <= status < 300:
            return Answer(delivered=False, status=status, error=f"answered {status}")
        return Answer(delivered=True, status=status, error=None)

    async def _post(self, where: Target, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # trust_env=False: a proxy would resolve the name again, and could reach private addresses.
        async with httpx.AsyncClient(
            verify=self._certificates, trust_env=False, follow_redirects=False, timeout=_TIMEOUT_S
        ) as http:
            for left, address in enumerate(reversed(where.addresses)):
                host = f"[{address}]" if ":" in address else address
                request = http.build_request(
                    "POST",
                    f"{where.scheme}://{host}:{where.port}{path}",
                    content=body,
                    headers={**headers, "Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "fgd"},
                    # The certificate must match the host name, although we connect to an address.
                    extensions={"sni_hostname": where.host},
                )
                try:
                    answer = await http.send(request, stream=True)
                except httpx.ConnectError:
                    if left == len(where.addresses) - 1:
                        raise
                    continue
                # The body is not read: it may be endless, and is not needed.
                await answer.aclose()
                return answer.status_code
        raise AssertionError("a target has at least one address")
