"""Detects objects in images, given an engine that runs the detector.

This package needs numpy and Pillow and, for exported ONNX files, onnxruntime; it needs neither PyTorch nor Ray.
"""

from fgd_core.prediction.model import Engine, Model, Prediction

__all__ = ["Engine", "Model", "Prediction"]
