"""What takes long to compute for a request: on one thread beside the loop, which goes on answering others."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# One for the process: threads share one interpreter, and each that computes delays the loop by milliseconds a turn.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="computing")


async def apart(compute: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls `compute` once it is its turn. A single long call into C would hold up the loop all the same."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: context.run(compute, *args, **kwargs))
