"""How a storage is named: `/folder`, `file:///folder` or `s3://bucket/prefix`."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


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
