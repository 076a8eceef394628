"""Reads text files in any Unicode encoding."""

import codecs
from pathlib import Path

from fgd_core import confined
from fgd_core.errors import DataError, StorageError

# UTF-32 comes first: its byte order mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


GIT_LFS = "version https://git-lfs"
"""First bytes of a pointer file that Git LFS writes in place of the real file."""


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        OSError: the file cannot be read.
        UnicodeError: the file is not text in UTF-8, UTF-16 or UTF-32.
    """
    return decode_text(confined.read_bytes(path))


def read_lines(path: Path, what: str) -> list[str]:
    """Return the lines of a file, without empty lines and surrounding spaces.

    Args:
        what: names the file in errors.
    Raises:
        DataError: the file is not text in UTF-8, UTF-16 or UTF-32.
        StorageError: the file cannot be read.
    """
    try:
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except UnicodeError as error:
        raise DataError(f"the {what} is not text in UTF-8; save it as UTF-8", path=str(path)) from error
    except OSError as error:
        raise StorageError(f"the {what} cannot be read", path=str(path), cause=str(error)[:400]) from error


def decode_text(content: bytes) -> str:
    """Decode text of unknown Unicode encoding.

    Raises:
        UnicodeError: `content` is not text in UTF-8, UTF-16 or UTF-32.
    """
    text = content.decode(_encoding(content))
    if "\x00" in text:
        raise UnicodeError("the text contains NUL characters")
    return text


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    # Without a mark, the zero byte before or after each Latin letter or digit shows the byte order.
    if content[1:2] == b"\x00":
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\x00" else "utf-8"
