"""The catalogue: everything that a spec can contain, with defaults, ranges and help."""

from fastapi import APIRouter

from fgd_core.spec.catalogue import Catalogue
from service.api.access import Reader
from service.catalogue import catalogue

router = APIRouter(prefix="/v1/catalogue", tags=["catalogue"])


@router.get("", operation_id="get_catalogue")
async def get_catalogue(_: Reader) -> Catalogue:
    """Every detector, backbone, method, data set kind, searcher, scheduler, preset and recipe, with its settings.

    It is derived from the models that validate jobs.
    """
    return catalogue()
