"""Exports trained detectors to ONNX and `torch.export`, with everything from pixels to detections in one graph."""
