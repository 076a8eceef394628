"""Identifies weights by their content."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from fgd_core import confined
from fgd_core.detectors.weights.files import content_files
from fgd_core.spec.pretrained import is_torchvision_name


def weights_digest(source: str, resolve: Callable[[str], Path]) -> str:
    """Return the SHA-256 of a source's file or files; for torchvision's weights, their name.

    Args:
        resolve: returns the local path of a source.
    """
    if is_torchvision_name(source):
        return source
    digests = []
    for path in content_files(resolve(source)):
        with confined.opened(path) as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def state_digest(module: nn.Module) -> str:
    """Return a SHA-256 over the names, types, shapes and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, values in module.state_dict().items():
        digest.update(f"{name} {values.dtype} {[*values.shape]}\n".encode())
        digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
