"""Ray's answer `{"logs": "…"}`, read piece by piece: a log of 100 MB must fill no memory and hold up no event loop."""

import json
import re

from service.dispatcher.excerpts import Excerpt, Gathering

_MAX_BEGINNING = 1000
_BEGUN = re.compile(rb'\s*\{\s*"logs"\s*:\s*("|null)')
_WHOLE = re.compile(rb'(?:[^"\\]+|\\u[0-9a-fA-F]{4}|\\[^u])*')
"""The part of a string that ends in no half escape."""


class JsonLog:
    """Give it each block of the answer, then ask for the excerpt. Both raise ValueError where it is no such object."""

    def __init__(self) -> None:
        self._gathering = Gathering()
        self._unread = b""
        self._half = ""
        """The first of two escapes that stand for one character."""
        self._is_inside = False
        self._is_over = False

    def add(self, block: bytes) -> None:
        if self._is_over:
            return
        self._unread += block
        if not self._is_inside:
            begun = _BEGUN.match(self._unread)
            if begun is None:
                if len(self._unread) > _MAX_BEGINNING:
                    raise ValueError("this is no log of Ray's")
                return
            self._is_inside = True
            self._is_over = begun[1] != b'"'
            self._unread = self._unread[begun.end() :]
        if not self._is_over:
            self._read()

    def excerpt(self) -> Excerpt:
        if not self._is_over:
            raise ValueError("this log of Ray's has no end")
        return self._gathering.excerpt()

    def _read(self) -> None:
        whole = _WHOLE.match(self._unread)
        end = whole.end() if whole is not None else 0
        self._is_over = self._unread[end : end + 1] == b'"'
        text: str = self._half + json.loads(b'"%s"' % self._unread[:end], strict=False)
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" and not self._is_over else ""
        text = text.removesuffix(self._half) if self._half else text
        # Two escapes, each read in a block of its own, are one character; a lone one is none.
        self._gathering.add(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())
        self._unread = self._unread[end:]
