"""Paths at which a browser signs in and out, and where it may go after that."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from fgd_core.errors import SpecError
from service.links import RAY
from service.ray_proxy.rules import PREFIX, is_for_readers, plain_path
from service.settings import Settings

COOKIE = "fgd_ray"
SESSION_S = 12 * 3600
SIGN_IN = f"{PREFIX}/sign-in"
SIGN_OUT = f"{PREFIX}/sign-out"


@dataclass(frozen=True)
class Paths:
    """Holds the paths as browsers see them: below the path of FGD_EXTERNAL_URL, if there is one."""

    base: str

    @classmethod
    def of(cls, settings: Settings) -> "Paths":
        """Make the paths of a server with these settings."""
        return cls(settings.url_path)

    @property
    def ray(self) -> str:
        """The dashboard's page."""
        return f"{self.base}{RAY}"

    @property
    def sign_in(self) -> str:
        """The sign-in form."""
        return f"{self.base}{SIGN_IN}"

    @property
    def sign_out(self) -> str:
        """Ends the session."""
        return f"{self.base}{SIGN_OUT}"

    def safe_next(self, requested: str) -> str:
        """Return `requested` if it is a page on this server that only shows something; else the dashboard.

        An attacker may have sent the link to a user: the sign-in must not lead to another site, or to a GET that acts.
        """
        if not requested.startswith(self.ray):
            return self.ray
        try:
            path = plain_path(_END_OF_PATH.split(requested)[0].removeprefix(self.base).encode())
        except SpecError:
            return self.ray
        return quote(requested, safe=_KEPT) if is_for_readers("GET", path) else self.ray


_END_OF_PATH = re.compile("[?#]")
_KEPT = "/:?#[]@!$&'()*+,;=-._~%"
