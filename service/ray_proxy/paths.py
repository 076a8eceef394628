"""Where a browser signs in and out, and where it may be led to after that."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from service.links import RAY, path_of
from service.ray_proxy.rules import PREFIX
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
        return cls(path_of(settings))

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
        """Where to go on to, if it is below here; else the dashboard. Nothing leads to another site, or to sign-out."""
        is_ours = asked.startswith(self.ray) and _PLAIN.fullmatch(asked) is not None and "/." not in asked
        if not is_ours or asked.startswith((self.sign_in, self.sign_out)):
            return self.ray
        return quote(asked, safe=_KEPT)


_PLAIN = re.compile(r"[^\x00-\x20\x7f\\]*")
_KEPT = "/:?#[]@!$&'()*+,;=-._~%"
