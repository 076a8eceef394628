"""Access: who sends a request and what they may do. A route names the role it needs by the type of its parameter."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import NotFoundError
from service.api import audit_notes
from service.errors import ForbiddenError
from service.store import events, jobs
from service.store.tables import Job


class Role(IntEnum):
    """What a token allows. Each role includes the roles below it."""

    READ = 1
    SUBMIT = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role's name in the API: `read`, `submit` or `admin`."""
        return self.name.lower()

    @classmethod
    def parse(cls, label: str) -> "Role":
        """Return the role with this name in the API."""
        return cls[label.upper()]


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The person or program that sends a request."""

    name: str
    role: Role
    project: str | None = None
    """The only project that the principal sees; None: all projects."""
    token_id: str | None = None

    def sees(self, project: str) -> bool:
        """Tells whether the principal may see what belongs to `project`."""
        return self.project is None or self.project == project

    def check_sees(self, project: str, what: str) -> None:
        """Raises NotFoundError if the principal may not see `project`: it must not learn that `what` exists."""
        audit_notes.about(project=project)
        if not self.sees(project):
            raise NotFoundError(f"there is no {what}")

    def check_role(self, needed: Role) -> None:
        """Raises ForbiddenError, naming the role, if the principal's role is below it."""
        if self.role < needed:
            raise ForbiddenError(
                f"this request needs a token with the role {needed.label}; the token {self.name!r} has the role "
                f"{self.role.label}. Use another token, or ask an admin for one",
                needed=needed.label,
                role=self.role.label,
            )

    def check_all_projects(self, why: str = "this request concerns all projects") -> None:
        """Raises ForbiddenError, which begins with `why`, if the principal is limited to one project."""
        if self.project is not None:
            raise ForbiddenError(
                f"{why}, and the token {self.name!r} is for the project {self.project!r} only; use a token for all "
                "projects",
                project=self.project,
            )

    def project_for(self, requested: str | None) -> str | None:
        """Return the project of a new or named resource: the requested one, else the principal's own.

        Raises:
            ForbiddenError: the principal is limited to another project.
        """
        if requested is not None and not self.sees(requested):
            raise ForbiddenError(
                f"this token is for the project {self.project!r}, not for {requested!r}; omit `project`, or use a "
                "token for that project",
                project=requested,
            )
        return requested or self.project


ANONYMOUS = Principal(name="anonymous", role=Role.ADMIN)
"""Every client of a server on loopback that needs no tokens."""

SCHEME = "ApiToken"
# The middleware `authentication` reads the token; this only declares it in the OpenAPI description.
_bearer = HTTPBearer(auto_error=False, scheme_name=SCHEME, description="An API token, made by `fgd tokens create`")


def _at_least(role: Role, *, all_projects: bool = False) -> Callable[..., Awaitable[Principal]]:
    async def principal(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
    ) -> Principal:
        # Missing if the middleware leaves the path open: a mistake of ours, and then every request is refused.
        found: Principal = request.state.principal
        found.check_role(role)
        if all_projects:
            found.check_all_projects()
        return found

    return principal


Reader = Annotated[Principal, Depends(_at_least(Role.READ))]
Submitter = Annotated[Principal, Depends(_at_least(Role.SUBMIT))]
Admin = Annotated[Principal, Depends(_at_least(Role.ADMIN))]
"""An admin of one project or of all."""
AdminOfAll = Annotated[Principal, Depends(_at_least(Role.ADMIN, all_projects=True))]

JobId = Annotated[str, Path(description="The id of a job", examples=["3f9c0a1b7d2e"])]


async def visible_job(session: AsyncSession, principal: Principal, job_id: str, *, lock: bool = False) -> Job:
    """Return the job's row, locked if `lock` is set.

    Raises:
        NotFoundError: there is no such job, or it belongs to another project; the message is the same.
    """
    job = await jobs.get(session, job_id, lock=lock)
    audit_notes.about(project=job.project)
    if not principal.sees(job.project):
        raise events.unknown_job(job_id)
    return job
