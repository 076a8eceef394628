"""Reads YAML from clients: without aliases, and only what JSON can express."""

import json

import yaml

from fgd_core.errors import SpecError
from service.errors import TooLargeError

MAX_BYTES = 100_000
"""The parser is written in Python and takes a second for this size; the spec of a long sweep has a tenth of it."""


class Loader(yaml.SafeLoader):
    """Loads YAML without aliases: with them, a few lines can expand to more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed here", event.start_mark)
        return super().compose_node(parent, index)


def to_json(body: bytes) -> bytes:
    """Convert a YAML document to JSON.

    Raises:
        SpecError: the body is not YAML, or holds a value that JSON cannot express; `line` is where, if it is known.
        TooLargeError: the body is above the limit for YAML.
    """
    if len(body) > MAX_BYTES:
        message = f"the YAML has {len(body)} bytes; the limit is {MAX_BYTES}. Send the spec as JSON"
        raise TooLargeError(message, max_bytes=MAX_BYTES)
    try:
        return json.dumps(Loader(body).get_single_data(), allow_nan=False).encode()
    except yaml.MarkedYAMLError as cause:
        line = cause.problem_mark.line + 1 if cause.problem_mark is not None else None
        raise SpecError(f"the body is not valid YAML: line {line}: {cause.problem}", line=line) from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise SpecError(f"the body is not valid YAML in UTF-8: {cause}") from cause
    except (TypeError, ValueError, RecursionError) as cause:
        raise SpecError(
            f"the YAML holds a value that JSON cannot express: {cause}; put dates in quotation marks"
        ) from cause
