"""Counts the instructions that SQLite's machine executes for an operation: unlike time, load does not change them."""

import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

_GRAIN = 100


async def count(work: Callable[[], Awaitable[object]], file: Path) -> int:
    """Return the hundreds of instructions of the SELECT statements that `work` sends to the database in a file.

    The statements are executed again, on a connection of their own.
    """
    sent: list[tuple[str, Any]] = []

    def on_execute(_: object, __: object, statement: str, parameters: Any, *more: object) -> None:
        sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", on_execute)
    try:
        await work()
    finally:
        event.remove(Engine, "before_cursor_execute", on_execute)
    number = itertools.count()
    connection = sqlite3.connect(file)
    # The handler ends a statement if it returns a true value.
    connection.set_progress_handler(lambda: next(number) and None, _GRAIN)
    for statement, parameters in sent:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            connection.execute(statement, parameters).fetchall()
    connection.close()
    return next(number)
