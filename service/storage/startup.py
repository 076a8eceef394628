"""Whether a server can begin with its storage."""

from collections.abc import Callable

from service.storage import threads
from service.storage.base import Storage
from service.storage.errors import StorageAwayError


async def check(storage: Storage, say: Callable[[str], None]) -> None:
    """Write something into it. One that is away may come back, and until then all else works: that is said only.

    Raises:
        StorageError: it is there and cannot be written, or there is no such bucket.
    """
    try:
        await threads.run(storage.check)
    except StorageAwayError as error:
        say(f"without a storage for now: {error.message}")
