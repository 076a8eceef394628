"""The teacher's weights, once for all runs of a node."""

import hashlib
import time

from torch import nn

from workers.tuning.teacher_store import TeacherStore

_POLL_S = 0.01


def share_weights(module: nn.Module, store: TeacherStore, *, patience_s: float) -> None:
    """Have a frozen `module` that is on the CPU compute on weights in the node's shared memory.

    Args:
        patience_s: so long it waits for another run that stores the same weights; then it keeps its own.
    Raises:
        OSError, RuntimeError: the memory is full; the module has its own weights still.
    """
    state = module.state_dict(keep_vars=True)
    if any(tensor.device.type != "cpu" for tensor in state.values()):
        return
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy())
    name = f"weights-{digest.hexdigest()[:32]}"
    give_up_s = time.monotonic() + patience_s
    while (kept := store.kept(name)) is None and time.monotonic() < give_up_s:
        with store.claim(name) as is_ours:
            if is_ours:
                if store.kept(name) is None:
                    store.keep(name, {key: tensor.detach() for key, tensor in state.items()})
                continue
        time.sleep(_POLL_S)
    for key, tensor in state.items():
        if kept is not None:
            tensor.data = kept[key]
