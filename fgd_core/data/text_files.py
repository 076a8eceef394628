"""Text files in whichever Unicode encoding the editor or the shell of their author chose."""

import codecs
from pathlib import Path

from fgd_core import confined

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


GIT_LFS = "version https://git-lfs"
"""Begins a file that Git LFS has put in the place of the true one."""


def read_text(path: Path) -> str:
    """
    Raises:
        OSError: the file cannot be read.
        UnicodeError: it is no text in UTF-8, UTF-16 or UTF-32.
    """
    return decoded(confined.read_bytes(path))


def decoded(content: bytes) -> str:
    """
    Raises:
        UnicodeError: `content` is no text in UTF-8, UTF-16 or UTF-32.
    """
    text = content.decode(_encoding(content))
    if "\x00" in text:
        raise UnicodeError("the text holds NUL characters")
    return text


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    # Without a mark, the zero halves of letters and digits show which half comes first.
    if content[1:2] == b"\x00":
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\x00" else "utf-8"
