"""The catalogue: everything that a spec can contain, derived from the models of the specs."""

from functools import cache
from typing import get_args

from fgd_core.spec.catalogue import Catalogue, SpaceEntry
from fgd_core.spec.methods import Fgd
from fgd_core.spec.search import PresetName, preset_space
from service.catalogue.recipes import recipes
from service.catalogue.settings import read


@cache
def catalogue() -> Catalogue:
    """Return the catalogue of this installation."""
    published = Fgd().model_dump(mode="json")
    spaces = [SpaceEntry(name=name, dimensions=preset_space(name, published)) for name in get_args(PresetName)]
    return Catalogue(**read(), spaces=spaces, recipes=list(recipes().values()))
