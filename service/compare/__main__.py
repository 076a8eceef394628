"""Makes one comparison in its own process: a request on standard input, the answer on standard output.

So the server loads neither NumPy nor SciPy, its event loop never waits, and a file that exhausts memory costs one
answer and not the server.
"""

import sys

from fgd_core.errors import NotComparableError, SpecError
from service.compare.assembly import compare
from service.compare.request import Answer, CompareRequest, Refused


def answer(request: CompareRequest) -> Answer:
    """Carry out a request; a refusal is part of the answer."""
    try:
        return Answer(comparison=compare(request))
    except (NotComparableError, SpecError) as error:
        return Answer(refused=Refused(code=error.code, message=error.message, details=error.details))


if __name__ == "__main__":
    sys.stdout.write(answer(CompareRequest.model_validate_json(sys.stdin.buffer.read())).model_dump_json())
