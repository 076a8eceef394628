"""The distillation methods and their hyper-parameters.

To add a method: a file here, a member of `SingleMethods` in `single`, and a file and a row in `fgd_core.methods`.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, TypeAlias, get_args

from pydantic import BeforeValidator, Field

from fgd_core.spec.detectors import AnyDetector, RetinaNet, Solo
from fgd_core.spec.dimensions import Choice, Dimension, LogUniform
from fgd_core.spec.methods.base import AnyMethod, Space
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
from fgd_core.spec.methods.ikd import Ikd
from fgd_core.spec.methods.ld import Ld
from fgd_core.spec.methods.logit import Logit
from fgd_core.spec.methods.mgd import Mgd
from fgd_core.spec.methods.mixed import Mixed
from fgd_core.spec.methods.pkd import Pkd
from fgd_core.spec.methods.single import SingleMethods, fgd_if_unnamed
from fgd_core.spec.methods.tadr import Tadr

_Methods: TypeAlias = SingleMethods | Ikd | Mixed
MethodSpec: TypeAlias = Annotated[_Methods, Field(discriminator="type"), BeforeValidator(fgd_if_unnamed)]

METHOD_TYPES: Mapping[str, type[AnyMethod]] = {kind.name(): kind for kind in get_args(_Methods)}
"""Every method by its type."""

_ACROSS_METHODS = "methods"
PRESETS: Mapping[str, str | None] = {
    **{name: kind.name() for kind in METHOD_TYPES.values() for name in kind.spaces(kind())},
    _ACROSS_METHODS: None,
}
"""The ready search spaces, with the method whose settings each searches; None: it searches the method itself."""


def preset_space(
    preset: str, method: AnyMethod, student: AnyDetector, teacher: AnyDetector | None, pictures: Collection[str] = ()
) -> dict[str, Dimension]:
    """Return the dimensions of a preset around the published values for a pair.

    Args:
        pictures: the other pictures of the images that the data has.
    Raises:
        KeyError: the preset searches another method.
    """
    if preset == _ACROSS_METHODS:
        defaults = [kind() for kind in METHOD_TYPES.values()]
        suited = [
            each.name()
            for each in defaults
            if each.pictures.keys() <= set(pictures) and not any(each.unmet(student, teacher))
        ]
        return {"method.type": Choice(values=tuple(suited)), "method.scale": LogUniform(low=0.03, high=10)}
    published = method.published(student, teacher)
    space = type(method).spaces(published)[preset]
    # Of a teacher that only its checkpoint describes, nothing is known: as SOLO, it may offer nothing but its maps.
    left = {path: _suited(each, path, published, student, teacher or Solo()) for path, each in space.items()}
    return {path: each for path, each in left.items() if not isinstance(each, Choice) or len(each.values) > 1}


def _suited(
    dimension: Dimension, path: str, method: AnyMethod, student: AnyDetector, teacher: AnyDetector
) -> Dimension:
    """Leave out the choices that need something that the pair has not got; keep them if none would be left."""
    field = path.removeprefix("method.")
    if not isinstance(dimension, Choice) or field not in type(method).model_fields:
        return dimension
    left = tuple(
        value for value in dimension.values if not any(method.model_copy(update={field: value}).unmet(student, teacher))
    )
    return dimension.model_copy(update={"values": left or dimension.values})


def shown_spaces() -> Mapping[str, Space]:
    """Return all presets as the catalogue shows them: around the published values for RetinaNet."""
    student = RetinaNet()
    methods = {name: METHOD_TYPES[kind or Fgd.name()]() for name, kind in PRESETS.items()}
    return {name: preset_space(name, method, student, None) for name, method in methods.items()}


__all__ = [
    "METHOD_TYPES",
    "PRESETS",
    "AnyMethod",
    "Composed",
    "CrossKd",
    "Cwd",
    "Defeat",
    "Drkd",
    "Embedding",
    "Fbkd",
    "Fgd",
    "Fgfi",
    "FitNet",
    "GDetKd",
    "Ikd",
    "Ld",
    "Logit",
    "MethodSpec",
    "Mgd",
    "Mixed",
    "Pkd",
    "Space",
    "Tadr",
    "preset_space",
    "shown_spaces",
]
