"""Read the URLs that name a storage (`/folder`, `file:///folder`, `s3://bucket/prefix`) or a database."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


class Bucket(NamedTuple):
    """Names a bucket, and a prefix within it."""

    name: str
    prefix: str
    """Without slashes at its ends; may be empty."""


def place_of(url: str) -> Path | Bucket:
    """Parse the URL or path of a storage.

    Raises:
        ValueError: the URL names no storage that we support.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Path(url)
    match scheme.lower():
        case "file":
            host, path = urlsplit(url).netloc, unquote(urlsplit(url).path)
            if host not in ("", "localhost") or not path.startswith("/"):
                raise ValueError(f"{url!r} names no folder on this machine; write file:///folder")
            return Path(path)
        case "s3":
            name, _, prefix = rest.partition("/")
            if not name or "@" in name or "?" in rest or "#" in rest or ".." in prefix.split("/"):
                # Without the URL: it may hold a key.
                raise ValueError("this s3:// URL names no bucket; write s3://bucket or s3://bucket/prefix")
            return Bucket(name, prefix.strip("/"))
    raise ValueError(
        f"storage type {scheme[:40]!r} is not supported; give the path of a folder, file:///folder, or "
        "s3://bucket/prefix (any S3 service: AWS_ENDPOINT_URL says which)"
    )


def with_driver(url: str) -> str:
    """Return `url` with our driver; URLs that other PostgreSQL programs accept are accepted.

    Raises:
        ValueError: the URL names no database that we support.
    """
    scheme, separator, rest = url.partition("://")
    driver = _DRIVERS.get(scheme)
    if driver is None or not separator:
        # Without the URL: it may hold a password.
        raise ValueError(
            f"{scheme.partition(':')[0][:40]!r} is no database that fgd supports; "
            "give postgresql://user:password@host:5432/name, or sqlite:////folder/file.db"
        )
    # libpq calls the option sslmode, asyncpg calls it ssl; the values are the same.
    place, question, query = rest.partition("?")
    query = "&".join(
        f"ssl={part.removeprefix('sslmode=')}" if part.startswith("sslmode=") else part for part in query.split("&")
    )
    return f"{driver}://{place}{question}{query}"
