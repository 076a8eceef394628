"""The background tasks of a control plane end when it stops."""

import asyncio

from service.server.background import BackgroundTask, running


async def test_a_pass_that_ends_its_cancellation_with_another_error_is_the_last() -> None:
    begun = asyncio.Event()
    passes = 0

    async def run_once() -> None:
        nonlocal passes
        passes += 1
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as cause:
            raise RuntimeError("as a driver that cleans up") from cause

    async with asyncio.timeout(60), running([BackgroundTask(name="stubborn", run_once=run_once, period_s=0.01)]):
        await begun.wait()
    assert passes == 1
