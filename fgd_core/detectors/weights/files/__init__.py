"""Files of weights, whoever wrote them: read without running anything, and one set of weights taken out of them."""

from fgd_core.detectors.weights.files.checkpoint_file import WeightsFile, read_weights
from fgd_core.detectors.weights.files.formats import read_content

__all__ = ["WeightsFile", "read_content", "read_weights"]
