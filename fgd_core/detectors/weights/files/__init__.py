"""Reads one set of weights from a file of any of several tools, without running code in the file."""

from fgd_core.detectors.weights.files.checkpoint_file import WeightsFile, read_weights
from fgd_core.detectors.weights.files.formats import content_files, read_content

__all__ = ["WeightsFile", "content_files", "read_content", "read_weights"]
