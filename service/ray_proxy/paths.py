"""Where a browser signs in and out, and where it may be led to after that."""

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
    """As browsers have them: below the path of FGD_EXTERNAL_URL, where there is one."""

    base: str

    @classmethod
    def of(cls, settings: Settings) -> "Paths":
        return cls(settings.url_path)

    @property
    def ray(self) -> str:
        return f"{self.base}{RAY}"

    @property
    def sign_in(self) -> str:
        return f"{self.base}{SIGN_IN}"

    @property
    def sign_out(self) -> str:
        return f"{self.base}{SIGN_OUT}"

    def safe_next(self, asked: str) -> str:
        """Where to go on to, if it only shows something; else the dashboard. Nothing leads to another site.

        Whoever has made somebody open the link to it is led on to it as well: a GET that acts must not be one.
        """
        if not asked.startswith(self.ray):
            return self.ray
        try:
            path = plain_path(_END_OF_PATH.split(asked)[0].removeprefix(self.base).encode())
        except SpecError:
            return self.ray
        return quote(asked, safe=_KEPT) if is_for_readers("GET", path) else self.ray


_END_OF_PATH = re.compile("[?#]")
_KEPT = "/:?#[]@!$&'()*+,;=-._~%"
