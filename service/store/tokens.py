"""The tokens with which attempts report: made from a secret, stored as hashes only; and the codes that buy them."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

CLAIM_PREFIX = "fgdc_"


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
        return self._made_of(attempt_id).hex()

    def claim(self, attempt_id: str) -> str:
        """The code with which a run asks for its token, once; nothing leads from it to the token."""
        code = base64.urlsafe_b64encode(self._made_of(f"claim:{attempt_id}")).decode().rstrip("=")
        return f"{CLAIM_PREFIX}{code}"

    def seal(self, text: str) -> str:
        """Shows that `text` was written here, or beside here."""
        return self._made_of(f"seal:{text}").hex()

    def _made_of(self, text: str) -> bytes:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).digest()


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, token_sha256: str) -> bool:
    return hmac.compare_digest(digest(token), token_sha256)
