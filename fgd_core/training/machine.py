"""The device that a run computes on, and in what precision."""

import platform
from dataclasses import dataclass

import pycocotools
import torch
import torchvision

from fgd_core.errors import DeviceError
from fgd_core.spec.events import DeviceReady
from fgd_core.spec.resources import Resources


@dataclass(frozen=True)
class Machine:
    device: torch.device
    autocast_dtype: torch.dtype | None
    """Of forward passes; None is float32 throughout."""

    @property
    def name(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{platform.machine()} CPU"

    def describe(self) -> DeviceReady:
        return DeviceReady(
            device=self.name,
            threads=torch.get_num_threads(),
            precision="float32" if self.autocast_dtype is None else "bfloat16",
            versions={
                "python": platform.python_version(),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "pycocotools": getattr(pycocotools, "__version__", "unknown"),
            },
        )


def choose_machine(resources: Resources, precision: str) -> Machine:
    """The device asked for, with PyTorch held to as many threads as the job has CPUs.

    Raises:
        DeviceError: a GPU is asked for and there is none.
    """
    torch.set_num_threads(resources.cpus)
    if resources.gpus and not torch.cuda.is_available():
        raise DeviceError(
            "the job asks for a GPU and PyTorch sees none here; set resources.gpus to 0, or check the driver",
            gpus=resources.gpus,
        )
    device = torch.device("cuda" if resources.gpus else "cpu")
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return Machine(device, torch.bfloat16 if precision == "bfloat16" else None)
