"""Files of weights, whoever wrote them: read without running anything, and one set of weights taken out of them."""

from fgd_core.detectors.weights.files.checkpoint_file import WeightsFile, read_weights
from fgd_core.detectors.weights.files.formats import content_files, read_content

__all__ = ["WeightsFile", "content_files", "read_content", "read_weights"]
