"""Parses Ray's answer `{"logs": "…"}` block by block: a log of 100 MB must not fill the memory."""

import json
import re

from service.dispatcher.excerpts import Excerpt, Gathering

_MAX_BEGINNING = 1000
_BEGUN = re.compile(rb'\s*\{\s*"logs"\s*:\s*("|null)')
_WHOLE = re.compile(rb'(?:[^"\\]+|\\u[0-9a-fA-F]{4}|\\[^u])*')
"""The part of a string that does not end within an escape sequence."""


class JsonLog:
    """Collects the blocks of an answer into an excerpt. Both methods raise ValueError for any other answer."""

    def __init__(self) -> None:
        self._gathering = Gathering()
        self._unread = b""
        self._half = ""
        """The first of two escape sequences that stand for one character."""
        self._is_inside = False
        self._is_over = False

    def add(self, block: bytes) -> None:
        """Parse the next block."""
        if self._is_over:
            return
        self._unread += block
        if not self._is_inside:
            begun = _BEGUN.match(self._unread)
            if begun is None:
                if len(self._unread) > _MAX_BEGINNING:
                    raise ValueError("this is not an answer of Ray with a log")
                return
            self._is_inside = True
            self._is_over = begun[1] != b'"'
            self._unread = self._unread[begun.end() :]
        if not self._is_over:
            self._read()

    def excerpt(self) -> Excerpt:
        """Return the excerpt, after the last block."""
        if not self._is_over:
            raise ValueError("Ray's answer with a log ended early")
        return self._gathering.excerpt()

    def _read(self) -> None:
        whole = _WHOLE.match(self._unread)
        end = whole.end() if whole is not None else 0
        self._is_over = self._unread[end : end + 1] == b'"'
        text: str = self._half + json.loads(b'"%s"' % self._unread[:end], strict=False)
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" and not self._is_over else ""
        text = text.removesuffix(self._half) if self._half else text
        # Two escape sequences, read in different blocks, can be one character; a single surrogate is replaced.
        self._gathering.add(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())
        self._unread = self._unread[end:]
