"""Makes one report on a sweep in its own process, as `service.compare` makes a comparison."""

import gc
import sys

from service.compare.request import Answer, SweepReportRequest
from service.compare.sweeps.report import assemble


def answer(request: SweepReportRequest) -> Answer:
    """Make the report, without its trials, which the server has."""
    report = assemble(request.job, request.trials, now=request.now)
    return Answer(sweep_report=report.model_copy(update={"trials": []}))


if __name__ == "__main__":
    # A process that gives one answer has nothing to free before its end; looking for it took a third.
    gc.disable()
    request = SweepReportRequest.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(answer(request).model_dump_json())
