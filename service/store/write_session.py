"""Defines the session that work in a shared transaction may use.

An `AsyncSession` fits it, and so does the session of `WriterThread`, which blocks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, overload

from sqlalchemy import Connection, CursorResult, Engine, Executable, Result, ScalarResult
from sqlalchemy.sql.selectable import TypedReturnsRows
from typing_extensions import TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Info: TypeAlias = dict[Any, Any]
"""What a session remembers about its transaction."""
Parameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class WriteConnection(Protocol):
    """Executes statements without the ORM."""

    async def execute(
        self, statement: Executable, parameters: Parameters = None, /
    ) -> CursorResult[*tuple[Any, ...]]: ...

    async def scalar(self, statement: Executable, parameters: Mapping[str, Any] | None = None, /) -> Any: ...


class WriteSession(Protocol):
    """Executes statements of one writing transaction."""

    @property
    def info(self) -> Info: ...

    def get_bind(self) -> Engine | Connection: ...

    async def connection(self) -> WriteConnection: ...

    @overload
    async def execute(self, statement: TypedReturnsRows[*Ts], params: Parameters = None, /) -> Result[*Ts]: ...

    @overload
    async def execute(self, statement: Executable, params: Parameters = None, /) -> Result[*tuple[Any, ...]]: ...

    @overload
    async def scalar(self, statement: TypedReturnsRows[T], params: Parameters = None, /) -> T | None: ...

    @overload
    async def scalar(self, statement: Executable, params: Parameters = None, /) -> Any: ...

    @overload
    async def scalars(self, statement: TypedReturnsRows[T], params: Parameters = None, /) -> ScalarResult[T]: ...

    @overload
    async def scalars(self, statement: Executable, params: Parameters = None, /) -> ScalarResult[Any]: ...

    async def get(
        self, entity: type[T], ident: object, /, *, populate_existing: bool = False, with_for_update: bool = False
    ) -> T | None: ...
