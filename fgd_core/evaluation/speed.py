"""How fast a detector is, one image at a time, and whether that can be held beside the speed of another."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from fgd_core.data.loading import evaluation_batches
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detector
from fgd_core.evaluation.quiet import Presence
from fgd_core.spec.data import InputSpec
from fgd_core.spec.results import Speed
from fgd_core.stopping import stoppable

_WARMUP_IMAGES = 5
_IMAGES = 20
_REPETITIONS = 5
_LIMIT_S = 10.0
_MAX_SPREAD = 0.1
"""Of the repetitions, relative to their median, in a quiet moment."""
_MIN_CPU_SHARE = 0.9
"""Of the time on a CPU, that the one thread has in a quiet moment."""


@torch.no_grad()
def measure_speed(
    detector: Detector,
    dataset: DetectionDataset,
    input_spec: InputSpec,
    *,
    device: torch.device,
    wait_s: float = 0.0,
    presence: Presence | None = None,
) -> Speed:
    """Of the network and its post-processing, reading and resizing left out; the images wait on the device.

    The median of up to five repetitions over up to 20 images, for about 10 s at most, after a warm-up. On a CPU with
    one thread, whatever the run has, so that the figures of jobs with different resources can be held side by side.

    Args:
        wait_s: for other runs on the device to give way.
    Raises:
        Stopped: the run has been asked to stop.
    """
    batches = []
    for batch in stoppable(evaluation_batches(dataset, input_spec, batch_size=1)):
        batches.append(batch.to(device))
        if len(batches) == _IMAGES:
            break

    def run(count: int) -> None:
        for batch in stoppable(batches[:count]):
            detector.detect(detector.features(batch.images), batch.image_sizes)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (presence or presence_on(device)).alone(wait_s) as is_alone:
            took_s, cpu_share = _repeated(run, len(batches))
    finally:
        torch.set_num_threads(threads)
    median_s = statistics.median(took_s)
    spread = (max(took_s) - min(took_s)) / median_s
    return Speed(
        latency_ms=1000 * median_s,
        spread=spread,
        repetitions=len(took_s),
        load_average=os.getloadavg()[0],
        machine=platform.node(),
        disturbed_by=disturbance(
            is_alone=is_alone, spread=spread, cpu_share=cpu_share if device.type == "cpu" else None
        ),
    )


@lru_cache
def presence_on(device: torch.device) -> Presence:
    """One for a process and device: two would wait for each other."""
    name = device.type
    if device.type == "cuda":
        # Its number depends on which devices a process may see.
        name += f"-{getattr(torch.cuda.get_device_properties(device), 'uuid', device.index)}"
    return Presence(Path(tempfile.gettempdir()) / f"fgd-devices-{os.getuid()}", name)


def disturbance(*, is_alone: bool, spread: float, cpu_share: float | None) -> str | None:
    """What makes a speed incomparable with others; None where the moment was quiet.

    Args:
        is_alone: no other run of this user worked on the device.
        spread: of the repetitions, relative to their median.
        cpu_share: of the time, that the measuring thread had a CPU; None on other devices.
    """
    if not is_alone:
        return "other runs worked on the device"
    if cpu_share is not None and cpu_share < _MIN_CPU_SHARE:
        return f"other programs had the CPU for {1 - cpu_share:.0%} of the time"
    if spread > _MAX_SPREAD:
        return f"repetitions differ by {spread:.0%}"
    return None


def _repeated(run: Callable[[int], None], num_images: int) -> tuple[Sequence[float], float]:
    """Seconds an image in each repetition, and the share of that time in which this thread had a CPU."""
    count = min(_WARMUP_IMAGES, num_images)
    run(count)
    began_s = time.perf_counter()
    run(count)
    an_image_s = (time.perf_counter() - began_s) / count
    # As many images as fit into the time, the same in each repetition.
    count = max(1, min(num_images, int(_LIMIT_S / (_REPETITIONS * max(an_image_s, 1e-9)))))
    took_s = []
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    for _ in range(_REPETITIONS):
        from_s = time.perf_counter()
        run(count)
        took_s.append((time.perf_counter() - from_s) / count)
        if time.perf_counter() - began_s > _LIMIT_S:
            break
    return took_s, (time.thread_time() - began_cpu_s) / (time.perf_counter() - began_s)
