"""Chooses the device and the precision of a run, and controls PyTorch's random generators."""

import platform
from dataclasses import dataclass
from typing import TypeVar

import pycocotools
import torch
import torchvision
from torch import Tensor, nn

from fgd_core.errors import DeviceError
from fgd_core.provenance import processor_name
from fgd_core.spec.events import DeviceReady
from fgd_core.spec.resources import Resources
from fgd_core.training.freed_memory import keep_freed_memory

N = TypeVar("N", bound=nn.Module)

_CPUS_FOR_TWO = 4
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Machine:
    """The device and the precision of a run."""

    device: torch.device
    autocast_dtype: torch.dtype | None
    """Type of the forward passes; None means float32."""
    loader_workers: int = 0
    """Processes that read images, for training and for each evaluation; with 0 the run itself reads them."""

    @property
    def name(self) -> str:
        """Name of the GPU, or the architecture of the CPU."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{platform.machine()} CPU"

    @property
    def values_behind(self) -> int:
        """How many steps later the values of a step are read: an accelerator then has work while the host reads."""
        return 0 if self.device.type == "cpu" else 1

    def placed(self, network: N) -> N:
        """Move a network to the device, in place; on a GPU to the layout that its convolutions are fastest with."""
        placed = network.to(self.device)
        return placed.to(memory_format=torch.channels_last) if self.device.type == "cuda" else placed

    def describe(self) -> DeviceReady:
        """Return the event that reports device, precision and versions."""
        return DeviceReady(
            device=self.name,
            processor=processor_name() if self.device.type == "cpu" else "",
            threads=torch.get_num_threads(),
            precision=str(self.autocast_dtype or torch.float32).removeprefix("torch."),
            versions={
                "python": platform.python_version(),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "pycocotools": getattr(pycocotools, "__version__", "unknown"),
            },
        )


def choose_machine(resources: Resources, precision: str, loader_workers: int | None = None) -> Machine:
    """Choose the device, and limit PyTorch to as many threads as the job has CPUs.

    Args:
        loader_workers: number of processes that read images; None: see `default_loader_workers`.
    Raises:
        DeviceError: the job needs a GPU and PyTorch finds none, or has none and needs one for its precision.
    """
    torch.set_num_threads(resources.cpus)
    if resources.gpus and not torch.cuda.is_available():
        raise DeviceError(
            "the job needs a GPU and PyTorch finds none here; set resources.gpus to 0, or check the driver",
            gpus=resources.gpus,
        )
    device = torch.device("cuda" if resources.gpus else "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if precision == "float16" and device.type == "cpu":
        raise DeviceError(
            "training.precision float16 needs a GPU, and the job has none; set resources.gpus to 1, or precision to "
            "bfloat16 or float32",
            precision=precision,
        )
    workers = default_loader_workers(resources) if loader_workers is None else loader_workers
    return Machine(device, _AUTOCAST.get(precision), workers)


def default_loader_workers(resources: Resources) -> int:
    """Return how many processes read images: with a GPU one for each CPU but the run's own; without, none.

    Without a GPU, PyTorch computes on all CPUs of the job, and a process that reads images would only compete with it.
    """
    return max(1, resources.cpus - 1) if resources.gpus else 0


def default_evaluate_beside(resources: Resources) -> bool:
    """Return whether a job has cores for an evaluation beside its training: a GPU, and CPUs for twice the loaders."""
    return bool(resources.gpus) and resources.cpus >= _CPUS_FOR_TWO


def seed_everything(seed: int) -> None:
    """Seed PyTorch's generators on every device. Data order and augmentation have their own generators."""
    torch.manual_seed(seed)


def generator_states() -> dict[str, Tensor]:
    """Return the states of PyTorch's generators by device, each a byte tensor of shape (n,), for a checkpoint."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(states: dict[str, Tensor]) -> None:
    """Restore the states, each of shape (n,), that `generator_states` returned."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
