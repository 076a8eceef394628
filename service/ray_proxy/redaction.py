"""Removes claim codes from streams, wherever they occur."""

import re

from service.store.tokens import CLAIM_PREFIX

_REDACTED = f"{CLAIM_PREFIX}[redacted]".encode()
_SHORTEST = 8
"""Shortest code after the prefix that is removed: a truncated code is still useful to an attacker."""
_OF_CODES = rb"[A-Za-z0-9_-]"
_CODE = re.compile(re.escape(CLAIM_PREFIX.encode()) + _OF_CODES + b"{%d,}" % _SHORTEST)
_REST = re.compile(_OF_CODES + b"*")
# A possible beginning of a code at the end of the bytes.
_BEGUN = re.compile(
    b"(?:%s|%s%s{0,%d})\\Z"
    % (
        b"|".join(re.escape(CLAIM_PREFIX[:length].encode()) for length in range(1, len(CLAIM_PREFIX))),
        re.escape(CLAIM_PREFIX.encode()),
        _OF_CODES,
        _SHORTEST - 1,
    )
)


class Redaction:
    """Redacts one stream: call it with each chunk and pass on the result; at the end pass on `rest()`.

    It holds back a dozen bytes at most, and only if a code may have begun, so that followed logs are not delayed.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._is_within = False
        """The last chunk ended within a code; the rest of the code is removed from the next chunk."""

    def __call__(self, chunk: bytes) -> bytes:
        if self._is_within:
            chunk = chunk[_end_of_code(chunk) :]
            if not chunk:
                return b""
        data = self._kept + chunk
        self._is_within = any(found.end() == len(data) for found in _CODE.finditer(data))
        clean = _CODE.sub(_REDACTED, data)
        begun = None if self._is_within else _BEGUN.search(clean)
        self._kept = clean[begun.start() :] if begun is not None else b""
        return clean[: len(clean) - len(self._kept)]

    def rest(self) -> bytes:
        """Return the bytes that were held back."""
        kept, self._kept = self._kept, b""
        return kept


def _end_of_code(chunk: bytes) -> int:
    found = _REST.match(chunk)
    return found.end() if found is not None else 0
