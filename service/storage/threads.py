"""Runs blocking storage calls in separate threads: a storage that hangs blocks no other thread of the server."""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

NUM_THREADS = 16
_pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="storage")


async def run(work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
    """Return the result of `work`. If the caller is cancelled, `work` still runs to its end in its thread."""
    context = contextvars.copy_context()
    call = functools.partial(context.run, work, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)
