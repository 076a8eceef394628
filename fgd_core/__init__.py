"""The library: detectors, distillation, data, training, evaluation, export and prediction.

Importing it imports nothing else; `load_model` is imported when it is first used.
"""

# Type checkers take a variable of this name for true; importing it from `typing` would load modules.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from fgd_core.models import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> object:
    if name != "load_model":
        raise AttributeError(f"module 'fgd_core' has no attribute {name!r}")
    from fgd_core.models import load_model  # noqa: PLC0415

    return load_model
