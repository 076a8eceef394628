"""Shares the teacher's weights: one copy in memory for all runs of a node."""

import hashlib
import time

from torch import nn

from workers.tuning.teacher_store import TeacherStore

_POLL_S = 0.01


def share_weights(module: nn.Module, store: TeacherStore, *, patience_s: float) -> None:
    """Replace the weights of a frozen `module` on the CPU by equal ones in the node's shared memory.

    Args:
        patience_s: how long to wait for another run that stores the same weights; then the module keeps its own.
    Raises:
        OSError, RuntimeError: the memory is full; the module still has its own weights.
    """
    state = module.state_dict(keep_vars=True)
    if any(tensor.device.type != "cpu" for tensor in state.values()):
        return
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy())
    name = f"weights-{digest.hexdigest()[:32]}"
    deadline_s = time.monotonic() + patience_s
    while (shared := store.weights(name)) is None and time.monotonic() < deadline_s:
        with store.claim(name) as is_ours:
            if is_ours:
                if store.weights(name) is None:
                    store.set_weights(name, {key: tensor.detach() for key, tensor in state.items()})
                continue
        time.sleep(_POLL_S)
    for key, tensor in state.items():
        if shared is not None:
            tensor.data = shared[key]
