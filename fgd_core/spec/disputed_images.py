"""The validation images on which several runs disagree: GET /v1/compare/images."""

from fgd_core.spec.base import Fact
from fgd_core.spec.views import ProblemReason
from fgd_core.spec.worst_images import ImagePanel


class DisputedImage(Fact):
    """An image on which one run has found what another has not."""

    image_id: int
    file_name: str
    width: int
    height: int
    """Width and height in pixels; boxes are in these pixels."""
    num_disputed: int
    """Objects that some of the runs have found and others have missed."""
    jpeg: str | None
    """The image in base64, reduced, if one of the runs has kept it."""
    picture_url: str | None
    """Else the address of the image, relative to the server's URL, if the server can read the data set. If both are
    None, only the boxes can be drawn."""
    panels: list[ImagePanel]
    """Of each compared job, in the order of the request."""


class DisputedImages(Fact):
    """GET /v1/compare/images"""

    items: list[DisputedImage]
    """The largest disagreement first."""
    num_images: int
    """Number of validation images that were compared; 0 if fewer than two jobs can be compared."""
    num_disputed: int
    """Number of images on which the jobs disagree, of all pages."""
    left_out: list[ProblemReason]
    """Jobs that are not compared, by their id in `loc`, and why."""
    next_cursor: str | None
