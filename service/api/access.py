"""Who asks, and what they may do. A route names the least role it needs by its parameter's type."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import NotFoundError
from service.api import audit_notes
from service.errors import ForbiddenError
from service.store import jobs
from service.store.tables import Job


class Role(IntEnum):
    """Each may do what those below it may."""

    READ = 1
    SUBMIT = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> "Role":
        return cls[word.upper()]


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
        audit_notes.about(project=project)
        if not self.sees(project):
            raise NotFoundError(f"there is no {what}")

    def check_role(self, needed: Role) -> None:
        """Raises ForbiddenError naming the role that it takes."""
        if self.role < needed:
            raise ForbiddenError(
                f"this needs a token of the role {needed.word}, and {self.name!r} is of the role {self.role.word}; "
                "use another token, or ask an admin for one",
                needed=needed.word,
                role=self.role.word,
            )

    def check_everywhere(self) -> None:
        """Raises ForbiddenError for who is bound to one project."""
        if self.project is not None:
            raise ForbiddenError(
                f"this needs an admin's token for all projects, and {self.name!r} is for {self.project!r} alone",
                needed="admin",
                project=self.project,
            )

    def own(self, project: str | None) -> str | None:
        """The project that something new belongs to: the one asked for, or else the principal's own.

        Raises:
            ForbiddenError: it asks for another one than its own.
        """
        if project is not None and not self.sees(project):
            raise ForbiddenError(
                f"this token is for the project {self.project!r}, and not for {project!r}; "
                "leave `project` out, or use a token of that project",
                project=project,
            )
        return project or self.project


ANONYMOUS = Principal(name="anonymous", role=Role.ADMIN)
"""Whoever reaches a server on loopback that asks for no tokens."""

SCHEME = "ApiToken"
# Read by the middleware in `authentication`; here it stands for the API's own description.
_bearer = HTTPBearer(auto_error=False, scheme_name=SCHEME, description="An API token: `fgd tokens create` makes one")


def _at_least(role: Role, *, everywhere: bool = False) -> Callable[..., Awaitable[Principal]]:
    async def principal(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
    ) -> Principal:
        # Not there where the middleware leaves the path open: a mistake of ours, which then lets nobody in.
        found: Principal = request.state.principal
        found.check_role(role)
        if everywhere:
            found.check_everywhere()
        return found

    return principal


Reader = Annotated[Principal, Depends(_at_least(Role.READ))]
Submitter = Annotated[Principal, Depends(_at_least(Role.SUBMIT))]
Admin = Annotated[Principal, Depends(_at_least(Role.ADMIN))]
"""Of its project, or of all."""
AdminOfAll = Annotated[Principal, Depends(_at_least(Role.ADMIN, everywhere=True))]


async def visible_job(session: AsyncSession, principal: Principal, job_id: str, *, lock: bool = False) -> Job:
    """The job's row, locked if asked.

    Raises:
        NotFoundError: there is none, or it is another project's; the two read the same.
    """
    job = await jobs.get(session, job_id, lock=lock)
    audit_notes.about(project=job.project)
    if not principal.sees(job.project):
        raise jobs.unknown(job_id)
    return job
