"""Takes claim codes out of what passes by, whatever they are wrapped in."""

import re

from service.store.tokens import CLAIM_PREFIX

_REDACTED = f"{CLAIM_PREFIX}[redacted]".encode()
_SHORTEST = 8
"""Of what follows the prefix: a code that somebody has cut short is still worth something."""
_OF_CODES = rb"[A-Za-z0-9_-]"
_CODE = re.compile(re.escape(CLAIM_PREFIX.encode()) + _OF_CODES + b"{%d,}" % _SHORTEST)
_REST = re.compile(_OF_CODES + b"*")
# What may be the beginning of a code, where the bytes end.
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
    """For one stream: give it each piece, pass on what it returns, and `rest` in the end.

    It keeps back a dozen bytes at most, and only where a code may have begun: a log that is followed is not held up.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._is_within = False
        """A code was cut by the end of the last piece; whatever belongs to it is to go."""

    def __call__(self, piece: bytes) -> bytes:
        if self._is_within:
            piece = piece[_end_of_code(piece) :]
            if not piece:
                return b""
        data = self._kept + piece
        self._is_within = any(found.end() == len(data) for found in _CODE.finditer(data))
        clean = _CODE.sub(_REDACTED, data)
        begun = None if self._is_within else _BEGUN.search(clean)
        self._kept = clean[begun.start() :] if begun is not None else b""
        return clean[: len(clean) - len(self._kept)]

    def rest(self) -> bytes:
        kept, self._kept = self._kept, b""
        return kept


def _end_of_code(piece: bytes) -> int:
    found = _REST.match(piece)
    return found.end() if found is not None else 0
