"""What can be asked for, read off the specs: nothing in it is written twice."""

from functools import cache
from typing import get_args

from fgd_core.spec.catalogue import Catalogue, SpaceEntry
from fgd_core.spec.methods import Fgd
from fgd_core.spec.search import PresetName, preset_space
from service.catalogue.recipes import recipes
from service.catalogue.settings import read


@cache
def catalogue() -> Catalogue:
    published = Fgd().model_dump(mode="json")
    spaces = [SpaceEntry(name=name, dimensions=preset_space(name, published)) for name in get_args(PresetName)]
    return Catalogue(**read(), spaces=spaces, recipes=list(recipes().values()))
