"""The two databases, and the ways of naming them."""

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


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
