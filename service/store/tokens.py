"""Derives the tokens of attempts, and the claim codes for them, from the server's secret. Stores hashes only."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

CLAIM_PREFIX = "fgdc_"


class TokenMint:
    """Derives tokens from a secret, so that a token lost between commit and submission can be derived again."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def at(cls, path: Path) -> "TokenMint":
        """Return the mint with the secret in the file `path`; if needed, creates it, readable by its owner only."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(bytes.fromhex(path.read_text()))
        secret = secrets.token_bytes(32)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret.hex())
        return cls(secret)

    def token(self, attempt_id: str) -> str:
        """Return the token with which an attempt reports."""
        return self._made_of(attempt_id).hex()

    def claim(self, attempt_id: str) -> str:
        """Return the code with which a run requests its token once; the token cannot be derived from the code."""
        code = base64.urlsafe_b64encode(self._made_of(f"claim:{attempt_id}")).decode().rstrip("=")
        return f"{CLAIM_PREFIX}{code}"

    def seal(self, text: str) -> str:
        """Return a signature which proves that this server, or a replica with the same secret, wrote `text`."""
        return self._made_of(f"seal:{text}").hex()

    def _made_of(self, text: str) -> bytes:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).digest()


def digest(token: str) -> str:
    """Return the SHA-256 of a token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, token_sha256: str) -> bool:
    """Return whether a token has this hash; takes the same time for every token."""
    return hmac.compare_digest(digest(token), token_sha256)
