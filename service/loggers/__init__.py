"""Loggers: copies of runs and their curves in other programs, such as TensorBoard, MLflow and W&B."""
