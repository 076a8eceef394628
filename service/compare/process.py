"""Has comparisons made, in processes of their own."""

import asyncio
import os
import sys
from collections import OrderedDict
from contextlib import suppress

import structlog

from fgd_core.errors import FgdError
from fgd_core.spec.comparison import Comparison
from service.compare.request import CompareAnswer, CompareRequest
from service.errors import NotComparableError

log = structlog.get_logger(__name__)

LIMIT_S = 600.0
SECRETS = ("FGD_", "AWS_", "RAY_", "OTEL_")
"""How the names of variables begin that a comparison has no need of."""
_KEPT = 16
_PLACES = {side: {"__all__": {"path"}} for side in ("first", "second")}


class Comparer:
    """One comparison at a time; the newest answers are kept, for a table is often followed by the same as a page."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)
        self._answers: OrderedDict[str, Comparison] = OrderedDict()

    async def compare(self, request: CompareRequest) -> Comparison:
        """
        Raises:
            NotComparableError: a file cannot be read, or the runs were not scored on the same ground.
            FgdError: the process died, or took longer than ten minutes.
        """
        # Where copies of the files lie is nothing that the answer depends on.
        asked = request.model_dump_json(exclude=_PLACES)
        async with self._turn:
            if asked not in self._answers:
                self._answers[asked] = await _made(request.model_dump_json())
            self._answers.move_to_end(asked)
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
            return self._answers[asked]


async def _made(asked: str) -> Comparison:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.compare"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # It reads what runs wrote, and needs none of the server's secrets for it.
        env={name: value for name, value in os.environ.items() if not name.startswith(SECRETS)},
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, errors = await process.communicate(asked.encode())
    except TimeoutError as cause:
        raise FgdError(
            f"the comparison took longer than {LIMIT_S:.0f} s; ask for fewer resamples, or compare fewer runs"
        ) from cause
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        log.error("comparison_failed", returncode=process.returncode, stderr=errors.decode(errors="replace")[-4000:])
        raise FgdError("the comparison broke down; the server's log has more", returncode=process.returncode)
    answer = CompareAnswer.model_validate_json(output)
    if answer.refused is not None:
        raise NotComparableError(answer.refused.message, **answer.refused.details)
    assert answer.comparison is not None
    return answer.comparison
