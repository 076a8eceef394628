"""Lists the distillation methods.

To add a method: a file here and a row below; its spec is a file and a member of `MethodSpec` in `spec.methods`.
"""

from collections.abc import Mapping

from fgd_core.methods.base import MethodFactory
from fgd_core.methods.fgd import build_fgd
from fgd_core.methods.ikd import ikd_around
from fgd_core.methods.pkd import build_pkd
from fgd_core.spec import methods as spec

METHODS: Mapping[type[spec.AnyMethod], MethodFactory] = {
    spec.Fgd: build_fgd,
    spec.Ikd: ikd_around(lambda base: METHODS[type(base)]),
    spec.Pkd: build_pkd,
}
