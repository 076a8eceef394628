"""What a run needs of the cluster."""

from pydantic import Field

from fgd_core.spec.base import Command


class Resources(Command):
    cpus: int = Field(default=1, ge=1)
    """CPU cores; also the number of threads that PyTorch may use."""
    gpus: int = Field(default=0, ge=0, le=1)
    """GPUs on one node."""
