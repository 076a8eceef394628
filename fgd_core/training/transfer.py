"""Brings batches to the device of a training."""

import torch

from fgd_core.data.loading import Batch


class Transfer:
    """Copies batches to a device and normalises them there.

    An accelerator does both on a stream of its own, while the step before still runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch on the device; steps that are launched from now on may read it."""
        if self._stream is None:
            return batch.to(self._device)
        with torch.cuda.stream(self._stream):
            moved = batch.pin_memory().to(self._device)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for tensor in moved.tensors():
            # Its memory must not be given to the next batch before the step has read it.
            tensor.record_stream(current)
        return moved
