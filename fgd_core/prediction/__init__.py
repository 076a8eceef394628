"""Detects objects in images with a checkpoint or an exported file: `load_model(path)(image)`.

With an exported ONNX file, this package needs numpy, Pillow and onnxruntime, and neither PyTorch nor Ray.
"""

from fgd_core.prediction.model import Model, Prediction, load_model

__all__ = ["Model", "Prediction", "load_model"]
