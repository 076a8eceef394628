"""One thread for computations that would block the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# One thread for the process: threads share the interpreter, and each busy one delays the loop by milliseconds per turn.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")


async def run_in_compute_thread(compute: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs `compute` after the calls before it. A single long call into C would still block the loop."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: context.run(compute, *args, **kwargs))
