"""Compiles the maps of a detector with `torch.compile`."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fgd_core.errors import CompilerError
from fgd_core.no_compiler import compiler_error
from fgd_core.training.step import AllMaps


def compiled(features: AllMaps) -> AllMaps:
    """Compile a function from images to maps. The compiler runs in the first calls and in their backward passes."""
    run: AllMaps = torch.compile(features)
    return run


@contextmanager
def compiler_errors_named() -> Iterator[None]:
    """Run steps with compiled code.

    Raises:
        CompilerError: the compiler failed; nothing falls back to code that is not compiled.
    """
    try:
        yield
    except compiler_error() as error:
        raise CompilerError(
            "torch.compile failed on the student's maps; set training.compile to false, or install what the compiler "
            "needs (on a CPU a C++ compiler)",
            cause=str(error).strip()[:500],
        ) from error
