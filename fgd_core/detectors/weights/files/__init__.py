"""Reads files of weights of many tools without running anything in them, and takes one set of weights out of them."""

from fgd_core.detectors.weights.files.checkpoint_file import WeightsFile, read_weights
from fgd_core.detectors.weights.files.formats import content_files, read_content

__all__ = ["WeightsFile", "content_files", "read_content", "read_weights"]
