"""The tokens with which attempts report: made from a secret on disk, stored as hashes only."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path


class TokenMint:
    """Derives an attempt's token, so that one that was lost between commit and submission can be made again."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def at(cls, path: Path) -> "TokenMint":
        """The mint whose secret lies at `path`; made there, readable by its owner only, when it is missing."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(bytes.fromhex(path.read_text()))
        secret = secrets.token_bytes(32)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret.hex())
        return cls(secret)

    def token(self, attempt_id: str) -> str:
        return hmac.new(self._secret, attempt_id.encode(), hashlib.sha256).hexdigest()


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, token_sha256: str) -> bool:
    return hmac.compare_digest(digest(token), token_sha256)
