"""One comparison in a process of its own: a request on standard input, the answer on standard output.

So the server loads neither numpy nor scipy, its event loop never waits, and a file that takes all memory costs a
comparison and not the server.
"""

import os
import sys

from service.compare.assembly import compare
from service.compare.request import CompareAnswer, CompareRequest, Refused
from service.errors import NotComparableError

if __name__ == "__main__":
    # Whoever waits for a comparison waits for seconds; requests and runs are to feel nothing of it.
    os.nice(10)
    try:
        answer = CompareAnswer(comparison=compare(CompareRequest.model_validate_json(sys.stdin.buffer.read())))
    except NotComparableError as error:
        answer = CompareAnswer(refused=Refused(message=error.message, details=error.details))
    sys.stdout.write(answer.model_dump_json())
