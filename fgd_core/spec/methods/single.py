"""The methods that stand alone; other methods are built around one or several of these."""

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from fgd_core.spec.methods.composed import Composed
from fgd_core.spec.methods.crosskd import CrossKd
from fgd_core.spec.methods.cwd import Cwd
from fgd_core.spec.methods.defeat import Defeat
from fgd_core.spec.methods.drkd import Drkd
from fgd_core.spec.methods.embedding import Embedding
from fgd_core.spec.methods.fbkd import Fbkd
from fgd_core.spec.methods.fgd import Fgd
from fgd_core.spec.methods.fgfi import Fgfi
from fgd_core.spec.methods.fitnet import FitNet
from fgd_core.spec.methods.gdetkd import GDetKd
from fgd_core.spec.methods.ld import Ld
from fgd_core.spec.methods.logit import Logit
from fgd_core.spec.methods.mgd import Mgd
from fgd_core.spec.methods.pkd import Pkd
from fgd_core.spec.methods.tadr import Tadr

RECOMMENDED = Cwd(scale="auto")
"""The method of a spec that has none. It gained on each data set that it was measured on, and needs nothing of a pair:
docs/decisions/0131-without-a-method.md."""


def fgd_if_unnamed(method: object) -> object:
    """Read a method without a type as FGD: it was the only one once, and stored specs do not name it."""
    return {"type": Fgd.name(), **method} if isinstance(method, dict) else method


SingleMethods: TypeAlias = (
    Fgd
    | Pkd
    | FitNet
    | Cwd
    | Mgd
    | Fgfi
    | Fbkd
    | Defeat
    | Tadr
    | Drkd
    | Logit
    | Ld
    | CrossKd
    | GDetKd
    | Embedding
    | Composed
)
SingleMethod: TypeAlias = Annotated[SingleMethods, Field(discriminator="type"), BeforeValidator(fgd_if_unnamed)]
