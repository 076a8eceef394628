"""A function by name, for another process."""

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Imported:
    """Names a function, so that the process that sends it need not load the function's module."""

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        return getattr(importlib.import_module(self.module), self.name)(*arguments)
