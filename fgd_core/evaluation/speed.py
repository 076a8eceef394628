"""Measures a detector's speed, one image at a time, and whether the measurement is comparable with others."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch

from fgd_core.data.loading import Batch, evaluation_batches
from fgd_core.data.samples import DetectionDataset
from fgd_core.detectors.base import Detector
from fgd_core.evaluation.device_lock import DeviceLock
from fgd_core.spec.data import InputSpec
from fgd_core.spec.results import Speed
from fgd_core.stopping import stoppable

_WARMUP_IMAGES = 5
_IMAGES = 20
_REPETITIONS = 5
_LIMIT_S = 10.0
_MAX_SPREAD = 0.1
"""The largest spread of the repetitions, relative to their median, of an undisturbed measurement."""
_MIN_CPU_SHARE = 0.9
"""The least share of the time for which the measuring thread has a CPU in an undisturbed measurement."""


@torch.no_grad()
def measure_speed(
    detector: Detector,
    dataset: DetectionDataset,
    input_spec: InputSpec,
    *,
    device: torch.device,
    wait_s: float = 0.0,
    lock: DeviceLock | None = None,
) -> Speed:
    """Measure the network and its post-processing, without reading and resizing: the images are already on the device.

    Takes the median of up to five repetitions over up to 20 images, for at most about 10 s, after a warm-up. A CPU
    measurement uses one thread, however many the run has, so that jobs with different resources are comparable.

    Args:
        wait_s: how long to wait for other runs to yield the device.
        lock: of the device; None takes this process's own.
    Raises:
        Stopped: the run was asked to stop.
    """
    batches = _first_batches(dataset, input_spec, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (lock or device_lock_for(device)).exclusive(wait_s) as is_exclusive:
            took_s, cpu_share = _time_repetitions(partial(_run, detector, batches, device), len(batches))
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
        disturbed_by=find_disturbance(
            is_exclusive=is_exclusive, spread=spread, cpu_share=cpu_share if device.type == "cpu" else None
        ),
    )


@lru_cache
def device_lock_for(device: torch.device) -> DeviceLock:
    """Return the process's only lock of a device; two locks in one process would wait for each other."""
    name = device.type
    if device.type == "cuda":
        # Not the index alone: it depends on which devices are visible to the process.
        name += f"-{getattr(torch.cuda.get_device_properties(device), 'uuid', device.index)}"
    return DeviceLock(Path(tempfile.gettempdir()) / f"fgd-devices-{os.getuid()}", name)


def find_disturbance(*, is_exclusive: bool, spread: float, cpu_share: float | None) -> str | None:
    """Describe what disturbed a measurement, so that it is not comparable; None if nothing did.

    Args:
        is_exclusive: whether no other run of this user worked on the device.
        spread: of the repetitions, relative to their median.
        cpu_share: the share of the time for which the measuring thread had a CPU; None on other devices.
    """
    if not is_exclusive:
        return "other runs worked on the device"
    if cpu_share is not None and cpu_share < _MIN_CPU_SHARE:
        return f"other programs had the CPU for {1 - cpu_share:.0%} of the time"
    if spread > _MAX_SPREAD:
        return f"repetitions differ by {spread:.0%}"
    return None


def _first_batches(dataset: DetectionDataset, input_spec: InputSpec, device: torch.device) -> list[Batch]:
    batches = []
    for batch in stoppable(evaluation_batches(dataset, input_spec, batch_size=1)):
        batches.append(batch.to(device))
        if len(batches) == _IMAGES:
            break
    return batches


def _run(detector: Detector, batches: Sequence[Batch], device: torch.device, count: int) -> None:
    for batch in stoppable(batches[:count]):
        detector.detect(detector.predict(detector.features(batch.images), batch.image_sizes), batch.image_sizes)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _time_repetitions(run: Callable[[int], None], num_images: int) -> tuple[Sequence[float], float]:
    """Time the repetitions: seconds per image of each, and the share of the time for which this thread had a CPU."""
    count = min(_WARMUP_IMAGES, num_images)
    run(count)
    began_s = time.perf_counter()
    run(count)
    per_image_s = (time.perf_counter() - began_s) / count
    # As many images as fit into the time limit, the same number in each repetition.
    count = max(1, min(num_images, int(_LIMIT_S / (_REPETITIONS * max(per_image_s, 1e-9)))))
    took_s = []
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    for _ in range(_REPETITIONS):
        from_s = time.perf_counter()
        run(count)
        took_s.append((time.perf_counter() - from_s) / count)
        if time.perf_counter() - began_s > _LIMIT_S:
            break
    return took_s, (time.thread_time() - began_cpu_s) / (time.perf_counter() - began_s)
