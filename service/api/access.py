"""Who asks, and what they may do. A route names the least role it needs by its parameter's type."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fastapi import Depends, Request

from fgd_core.errors import NotFoundError


class Role(IntEnum):
    """Each may do what those below it may."""

    READ = 1
    SUBMIT = 2
    ADMIN = 3


@dataclass(frozen=True, kw_only=True)
class Principal:
    name: str
    role: Role
    project: str | None = None
    """The only project that it sees; None: all."""
    token_id: str | None = None

    def sees(self, project: str) -> bool:
        return self.project is None or self.project == project

    def check_sees(self, project: str, what: str) -> None:
        """Raises NotFoundError: what another project has is not even there."""
        if not self.sees(project):
            raise NotFoundError(f"there is no {what}")


ANONYMOUS = Principal(name="anonymous", role=Role.ADMIN)
"""Whoever reaches a server on loopback that asks for no tokens."""


async def _reader(request: Request) -> Principal:
    return ANONYMOUS


async def _submitter(request: Request) -> Principal:
    return ANONYMOUS


async def _admin(request: Request) -> Principal:
    return ANONYMOUS


Reader = Annotated[Principal, Depends(_reader)]
Submitter = Annotated[Principal, Depends(_submitter)]
Admin = Annotated[Principal, Depends(_admin)]
