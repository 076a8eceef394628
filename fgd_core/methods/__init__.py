"""Lists the distillation methods.

To add a method: a file here and a row below; its spec is a file and a member of `SingleMethods` in
`spec.methods.single`.
"""

from collections.abc import Mapping

import fgd_core.no_compiler  # noqa: F401  # before torchvision is imported
from fgd_core.methods.base import MethodFactory
from fgd_core.methods.composed import build_composed
from fgd_core.methods.crosskd import build_crosskd
from fgd_core.methods.cwd import build_cwd
from fgd_core.methods.defeat import build_defeat
from fgd_core.methods.drkd import build_drkd
from fgd_core.methods.embedding import build_embedding
from fgd_core.methods.fbkd import build_fbkd
from fgd_core.methods.fgd import build_fgd
from fgd_core.methods.fgfi import build_fgfi
from fgd_core.methods.fitnet import build_fitnet
from fgd_core.methods.gdetkd import build_gdetkd
from fgd_core.methods.ikd import ikd_around
from fgd_core.methods.ld import build_ld
from fgd_core.methods.logit import build_logit
from fgd_core.methods.mgd import build_mgd
from fgd_core.methods.mixed import mixed_of
from fgd_core.methods.pkd import build_pkd
from fgd_core.methods.tadr import build_tadr
from fgd_core.spec import methods as spec

METHODS: Mapping[type[spec.AnyMethod], MethodFactory] = {
    spec.Fgd: build_fgd,
    spec.Pkd: build_pkd,
    spec.FitNet: build_fitnet,
    spec.Cwd: build_cwd,
    spec.Mgd: build_mgd,
    spec.Fgfi: build_fgfi,
    spec.Fbkd: build_fbkd,
    spec.Defeat: build_defeat,
    spec.Tadr: build_tadr,
    spec.Drkd: build_drkd,
    spec.Logit: build_logit,
    spec.Ld: build_ld,
    spec.CrossKd: build_crosskd,
    spec.GDetKd: build_gdetkd,
    spec.Embedding: build_embedding,
    spec.Composed: build_composed,
    spec.Ikd: ikd_around(lambda base: METHODS[type(base)]),
    spec.Mixed: mixed_of(lambda part: METHODS[type(part)]),
}
