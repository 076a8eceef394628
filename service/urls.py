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
    name: str
    prefix: str
    """Without slashes at its ends; may be empty."""


def place_of(url: str) -> Path | Bucket:
    """
    Raises:
        ValueError: it names no storage that we know.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Path(url)
    match scheme.lower():
        case "file":
            host, path = urlsplit(url).netloc, unquote(urlsplit(url).path)
            if host not in ("", "localhost") or not path.startswith("/"):
                raise ValueError(f"{url!r} names no folder of this machine; write file:///folder")
            return Path(path)
        case "s3":
            name, _, prefix = rest.partition("/")
            if not name or "@" in name or "?" in rest or "#" in rest or ".." in prefix.split("/"):
                # Not the whole of it: somebody may have put a key into it.
                raise ValueError(
                    "this s3:// URL names no bucket; write s3://bucket or s3://bucket/prefix, nothing more"
                )
            return Bucket(name, prefix.strip("/"))
    raise ValueError(
        f"a storage of the kind {scheme[:40]!r} is not known; give the path of a folder, file:///folder, or "
        "s3://bucket/prefix (any S3 service: AWS_ENDPOINT_URL says which)"
    )


def with_driver(url: str) -> str:
    """`url` with the driver that we use: what other PostgreSQL programs take is taken here.

    Raises:
        ValueError: it names no database that we know.
    """
    scheme, separator, rest = url.partition("://")
    driver = _DRIVERS.get(scheme)
    if driver is None or not separator:
        # Not the whole of it: it may hold a password.
        raise ValueError(
            f"{scheme.partition(':')[0][:40]!r} is no database that fgd knows; "
            "give postgresql://user:password@host:5432/name, or sqlite:////folder/file.db"
        )
    # libpq calls it sslmode, and asyncpg ssl; the values are the same.
    place, question, query = rest.partition("?")
    query = "&".join(
        f"ssl={part.removeprefix('sslmode=')}" if part.startswith("sslmode=") else part for part in query.split("&")
    )
    return f"{driver}://{place}{question}{query}"
