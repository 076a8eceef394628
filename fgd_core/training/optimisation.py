"""Takes the steps of a training: the learner, its optimiser, and the scale of float16."""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.amp import GradScaler

from fgd_core.data.loading import Batch
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import Content
from fgd_core.methods.base import Moment
from fgd_core.spec.training import TrainingSpec
from fgd_core.training.compiling import compiled, compiler_errors_named
from fgd_core.training.distiller import Distillation
from fgd_core.training.machine import Machine
from fgd_core.training.optimizers import build_optimizer, parameter_groups
from fgd_core.training.step import Learner, shared_by_ranks, training_step


class Optimisation:
    """Trains a detector and its distiller on one batch after another, as the settings say.

    Args:
        distiller: adds the distillation loss; None trains on labels only.
    """

    def __init__(
        self, detector: Detector, distiller: Distillation | None, settings: TrainingSpec, machine: Machine
    ) -> None:
        self._settings, self._machine = settings, machine
        all_maps = compiled(detector.all_maps) if settings.compile else None
        if settings.compile and distiller is not None and machine.device.type != "cpu":
            distiller.compile_parts()
        self._learner = shared_by_ranks(Learner(detector, distiller, all_maps=all_maps))
        groups = parameter_groups(settings, detector, *([distiller] if distiller is not None else []))
        self._rates = [group.rate for group in groups]
        self.optimizer = build_optimizer(settings.optimizer, groups)
        self._scaler = GradScaler(machine.device.type, enabled=machine.autocast_dtype is torch.float16)
        self._before: list[Tensor] = []

    def step(self, batch: Batch, moment: Moment, learning_rate: float) -> dict[str, Tensor]:
        """Train on a batch of the machine's device; return the values of the step, scalars (), by name.

        If the loss or the gradient is not finite, the weights stay as they are; see `training_step`.

        Raises:
            CompilerError: the code should be compiled, and cannot be.
        """
        for group, factor in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = learning_rate * factor
        self._before = [each.clone() for each in self._learner.buffers()] if self._settings.skip_bad_steps else []
        with compiler_errors_named() if self._settings.compile else nullcontext():
            return training_step(
                self._learner,
                self.optimizer,
                batch,
                clip_norm=self._settings.clip_norm,
                autocast_dtype=self._machine.autocast_dtype,
                moment=moment,
                accumulate=self._settings.accumulate,
                scaler=self._scaler,
            )

    def undo(self) -> None:
        """Restore the running statistics from before the newest step, if the settings allow to skip steps."""
        for buffer, value in zip(self._learner.buffers(), self._before, strict=bool(self._before)):
            buffer.copy_(value)

    def state_dict(self) -> Content:
        """Return the state of the optimiser, and of the scaler if there is one."""
        scaler = {"scaler": self._scaler.state_dict()} if self._scaler.is_enabled() else {}
        return {"optimizer": self.optimizer.state_dict(), **scaler}

    def load_state_dict(self, state: Content) -> None:
        """Restore what `state_dict` returned; without a scaler's state, its scale starts anew."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self._scaler.is_enabled() and "scaler" in state:
            self._scaler.load_state_dict(state["scaler"])
