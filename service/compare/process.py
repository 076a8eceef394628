"""Runs statistics (comparisons, reports on sweeps) in separate processes."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from fgd_core.errors import FgdError, NotComparableError, SpecError
from fgd_core.spec.comparison import Comparison
from fgd_core.spec.sweep_report import SweepReport
from service.compare.request import Answer, CompareRequest, SweepReportRequest

log = structlog.get_logger(__name__)

LIMIT_S = 600.0
SECRETS = ("FGD_", "AWS_", "RAY_", "OTEL_")
"""Prefixes of environment variables that the process does not get."""
_COMPARE, _SWEEP_REPORT = ("-m", "service.compare"), ("-m", "service.compare.sweep_report")
_MAX_CACHED = 16
_PATHS = {side: {"__all__": {"path"}} for side in ("first", "second")}
_ERRORS: dict[str, type[FgdError]] = {error.code: error for error in (NotComparableError, SpecError)}


class Statistics:
    """Runs one comparison and one report at a time.

    It caches the newest comparisons, because a table is often followed by the page of the same comparison.
    """

    def __init__(self) -> None:
        self._comparing, self._reporting = asyncio.Semaphore(1), asyncio.Semaphore(1)
        self._comparisons: OrderedDict[str, Comparison] = OrderedDict()

    async def compare(self, request: CompareRequest) -> Comparison:
        """Compare two groups of runs.

        Raises:
            NotComparableError: a file cannot be read, or the runs were not scored on the same data.
            FgdError: the process died, or took longer than ten minutes.
        """
        # The answer does not depend on where the copies of the files are.
        key = request.model_dump_json(exclude=_PATHS)
        async with self._comparing:
            if key not in self._comparisons:
                async with _process(_COMPARE) as process:
                    found = (await _answer(process, request)).comparison
                assert found is not None
                self._comparisons[key] = found
            self._comparisons.move_to_end(key)
            while len(self._comparisons) > _MAX_CACHED:
                self._comparisons.popitem(last=False)
            return self._comparisons[key]

    async def sweep_report(self, read: Callable[[], Awaitable[SweepReportRequest]]) -> SweepReport:
        """Make the report on a sweep.

        Args:
            read: reads what the report is made of, while the process starts.
        Raises:
            FgdError: the process died, or took longer than ten minutes.
        """
        async with self._reporting, _process(_SWEEP_REPORT) as process:
            request = await read()
            found = (await _answer(process, request)).sweep_report
        assert found is not None
        return found.model_copy(update={"trials": request.trials, "cost": request.cost})


@asynccontextmanager
async def _process(command: Sequence[str]) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # It reads what runs wrote, and needs none of the server's secrets for that.
        env={name: value for name, value in os.environ.items() if not name.startswith(SECRETS)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _answer(process: Process, request: CompareRequest | SweepReportRequest) -> Answer:
    try:
        async with asyncio.timeout(LIMIT_S):
            output, errors = await process.communicate(request.model_dump_json().encode())
    except TimeoutError as cause:
        raise FgdError(
            f"the statistics took longer than {LIMIT_S:.0f} s; ask for fewer resamples, or compare fewer runs"
        ) from cause
    if process.returncode != 0:
        log.error("statistics_failed", returncode=process.returncode, stderr=errors.decode(errors="replace")[-4000:])
        raise FgdError("the process for statistics failed; the server's log says why", returncode=process.returncode)
    answer = Answer.model_validate_json(output)
    if (refused := answer.refused) is not None:
        raise _ERRORS[refused.code](refused.message, **refused.details)
    return answer
