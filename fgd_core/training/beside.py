"""Evaluates an epoch in a thread of its own while the next epoch trains."""

import copy
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import NamedTuple

import torch

from fgd_core.detectors.base import Detector
from fgd_core.spec.results import Scores
from fgd_core.stopping import checking_for_stop


class Scored(NamedTuple):
    """Holds the evaluation of one epoch."""

    detector: Detector
    """With the weights that were evaluated."""
    scores: Scores
    step: int
    """At which the detector had these weights."""
    took_s: float


class EvaluationBeside:
    """Evaluates a copy of a detector; one at a time.

    The copy is computed with the same operations in the same order as the detector, so its scores are the same.

    Args:
        evaluate: scores a detector in eval mode; called in another thread.
        should_stop: whether the run should stop; called in both threads.
    """

    def __init__(self, evaluate: Callable[[Detector], Scores], should_stop: Callable[[], bool]) -> None:
        self._evaluate, self._should_stop = evaluate, should_stop
        self._thread: threading.Thread | None = None
        self._outcome: Scored | BaseException | None = None
        self._is_unwanted = threading.Event()

    @property
    def is_pending(self) -> bool:
        """Whether an evaluation has begun and was not taken."""
        return self._thread is not None

    @property
    def is_done(self) -> bool:
        """Whether `take` would return at once."""
        return self._thread is not None and not self._thread.is_alive()

    def start(self, detector: Detector, step: int) -> None:
        """Begin to evaluate a copy of the detector."""
        assert self._thread is None, "the evaluation before was not taken"
        evaluated = copy.deepcopy(detector).requires_grad_(requires_grad=False).eval()
        device = torch.cuda.current_device() if next(evaluated.parameters()).is_cuda else None
        self._is_unwanted.clear()

        def run() -> None:
            began_s = time.perf_counter()
            try:
                if device is not None:
                    torch.cuda.set_device(device)
                with checking_for_stop(lambda: self._is_unwanted.is_set() or self._should_stop()):
                    scores = self._evaluate(evaluated)
                self._outcome = Scored(evaluated, scores, step, time.perf_counter() - began_s)
            except BaseException as error:
                self._outcome = error

        self._thread = threading.Thread(target=copy_context().run, args=(run,), name="fgd-evaluation", daemon=True)
        self._thread.start()

    def take(self) -> Scored:
        """Wait for the evaluation and return it.

        Raises:
            Stopped: the run should stop.
            BaseException: the error of the evaluation.
        """
        assert self._thread is not None, "no evaluation has begun"
        self._thread.join()
        outcome, self._thread, self._outcome = self._outcome, None, None
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome is not None, "the thread has ended with an outcome"
        return outcome

    def close(self) -> None:
        """Stop an evaluation that nobody will take, and wait for its end."""
        self._is_unwanted.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def has_room(device: torch.device) -> bool:
    """Return whether a device has memory for an evaluation beside the training.

    An evaluation keeps no activations for gradients, so it needs less than the training has needed so far.
    """
    if device.type != "cuda":
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return free_bytes >= torch.cuda.max_memory_reserved(device)
