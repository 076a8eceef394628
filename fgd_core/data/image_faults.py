"""Tells from the first bytes of a file why it cannot be read as an image."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from PIL import features

from fgd_core.data.text_files import GIT_LFS

FileProblem: TypeAlias = Literal[
    "missing_image",
    "empty_image_file",
    "git_lfs_pointer",
    "web_page_as_image",
    "unread_image_format",
    "unread_pixel_format",
    "image_too_large",
    "unreadable_image",
    "truncated_image",
]

HEAD_BYTES = 512
"""How many bytes `find_fault` reads."""

# The brands of HEIF files that phones write.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIGNATURES = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip"),
    (b"\x00\x00\x01\x00", "an icon"),
)
_READ_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8")
_WEB_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<error", b'{"')


@dataclass(frozen=True)
class Unusable:
    """Says why an image file cannot be used."""

    problem: FileProblem
    detail: str = ""
    """More about this file; may be empty."""

    def example(self, file_name: str) -> str:
        """Return the file name with the detail, for findings."""
        return f"{file_name} ({self.detail})" if self.detail else file_name


def find_fault(head: bytes) -> Unusable:
    """Say why a file cannot be read as an image.

    Args:
        head: the first `HEAD_BYTES` of a file that no decoder can open.
    """
    if not head:
        return Unusable("empty_image_file")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(GIT_LFS.encode()):
        return Unusable("git_lfs_pointer")
    if b"<svg" in text:
        return Unusable("unread_image_format", "SVG")
    if text.startswith(_WEB_PAGES):
        return Unusable("web_page_as_image")
    if _has_readable_signature(head):
        return Unusable("truncated_image")
    kind = _kind(head)
    if kind is not None:
        return Unusable("unread_image_format", kind)
    return Unusable("unreadable_image", "" if head.strip(b"\x00") else "it begins with zero bytes only")


def _has_readable_signature(head: bytes) -> bool:
    """Return whether the format is one that fgd reads, so that the image must be incomplete."""
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return bool(features.check("avif"))
    return head.startswith(_READ_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _kind(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        kind = head[8:12]
        return "HEIC" if kind in _HEIF_BRANDS else "AVIF" if kind in (b"avif", b"avis") else "a video or similar"
    if head[128:132] == b"DICM":
        return "DICOM"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)
