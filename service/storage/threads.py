"""Threads for what blocks on a storage: where one hangs, nothing else in the server has to wait for a thread."""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_NUM_THREADS = 16
_pool = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="storage")


async def run(work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
    """What `work` returns. Cancelled, it goes on to its end in its thread."""
    context = contextvars.copy_context()
    call = functools.partial(context.run, work, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)
