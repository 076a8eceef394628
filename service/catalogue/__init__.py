"""The catalogue: everything that a spec can contain, derived from the models of the specs."""

from functools import cache

from fgd_core.spec.catalogue import Catalogue, SpaceEntry
from fgd_core.spec.methods import shown_spaces
from service.catalogue.recipes import recipes
from service.catalogue.settings import read


@cache
def catalogue() -> Catalogue:
    """Return the catalogue of this installation."""
    spaces = [SpaceEntry(name=name, dimensions=dict(space)) for name, space in shown_spaces().items()]
    return Catalogue(**read(), spaces=spaces, recipes=list(recipes().values()))
