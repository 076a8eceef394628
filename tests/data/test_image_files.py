"""Every kind of image file is decoded to upright 8-bit RGB."""

import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_folder import CocoFolder, finding
from PIL import Image

from fgd_core.data import image_files, image_headers
from fgd_core.data.image_faults import Unusable
from fgd_core.data.image_headers import Header, read_headers
from fgd_core.data.jpeg_headers import HEAD_BYTES, plain_size, size_by_segments
from fgd_core.errors import DataError

RED = (255, 0, 0)


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    return CocoFolder(tmp_path / "set")


def _palette() -> Image.Image:
    return Image.new("RGB", (8, 6), RED).convert("P", palette=Image.Palette.ADAPTIVE)


def _deep_grey(value: int) -> Image.Image:
    return Image.fromarray(np.full((6, 8), value, dtype=np.uint16))


@pytest.mark.parametrize(
    ("image", "file_name", "rgb"),
    [
        (Image.new("RGBA", (8, 6), (*RED, 0)), "rgba.png", RED),
        (Image.new("L", (8, 6), 77), "grey.png", (77, 77, 77)),
        (Image.new("LA", (8, 6), (77, 0)), "grey_alpha.png", (77, 77, 77)),
        (Image.new("1", (8, 6), 1), "bits.png", (255, 255, 255)),
        (_palette(), "palette.png", RED),
        (_palette(), "palette.gif", RED),
        (_deep_grey(0x4D80), "deep.png", (0x4D, 0x4D, 0x4D)),
        (_deep_grey(0x4D80), "deep.tif", (0x4D, 0x4D, 0x4D)),
        (Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "cmyk.tif", RED),
        (Image.new("RGB", (8, 6), RED), "plain.bmp", RED),
        (Image.new("RGB", (8, 6), RED), "plain.webp", None),
        (Image.new("L", (8, 6), 77), "grey.jpg", (77, 77, 77)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pixels_become_8_bit_rgb(
    folder: CocoFolder, image: Image.Image, file_name: str, rgb: tuple[int, int, int] | None
) -> None:
    folder.add_image(image, file_name=file_name)
    folder.add_box(bbox=(0, 0, 4, 4))
    pixels = folder.open().load_image(0)
    assert pixels.shape == (3, 6, 8)
    assert (pixels == pixels[:, :1, :1]).all()
    if rgb is not None:
        assert tuple(pixels[:, 0, 0].tolist()) == rgb


@pytest.mark.parametrize("file_name", ["a.avif", "a.jfif", "a.jp2", "a.jpe", "a.dib", "a.pnm", "no_suffix"])
def test_images_with_rare_suffixes_are_read(folder: CocoFolder, file_name: str) -> None:
    folder.add_image(file_name="1.png")
    image = Image.new("RGB", (40, 30), RED)
    own = file_name[2:] in ("avif", "jp2", "pnm", "dib")
    image.save(folder.images_folder / file_name, format=None if own else "JPEG")
    folder.images[0]["file_name"] = file_name
    folder.add_box()
    dataset = folder.open()
    assert (dataset.load_image(0)[0] > 240).all()
    assert dataset.checked.findings == []


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(600)


class TestUnreadableFile:
    @pytest.mark.parametrize(
        ("content", "problem", "detail"),
        [
            (b"", "empty_image_file", ""),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git_lfs_pointer", ""),
            (b"\n <!DOCTYPE html><html>404</html>", "web_page_as_image", ""),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web_page_as_image", ""),
            (b'{"message": "Not Found"}', "web_page_as_image", ""),
            (HEIC, "unread_image_format", " (HEIC)"),
            (b"%PDF-1.7", "unread_image_format", " (PDF)"),
            (b"<?xml version='1.0'?><svg/>", "unread_image_format", " (SVG)"),
            (b"cat 0.5", "unreadable_image", ""),
            (bytes(700), "unreadable_image", " (it begins with zero bytes only)"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "truncated_image", ""),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "truncated_image", ""),
            (b"RIFF\xff\0\0\0WEBPVP8 ", "truncated_image", ""),
            (b"\0\0\0\x20ftypavif", "truncated_image", ""),
            (b"\0\0\0\x20ftypisom", "unread_image_format", " (a video or similar)"),
        ],
    )
    def test_is_reported_with_its_kind(self, folder: CocoFolder, content: bytes, problem: str, detail: str) -> None:
        folder.add_image()
        folder.add_image(file_name="odd.jpg")
        (folder.images_folder / "odd.jpg").write_bytes(content)
        folder.add_box()
        with pytest.raises(DataError, match=problem):
            folder.open()
        assert finding(folder.open("drop"), problem).examples == [f"odd.jpg{detail}"]

    @pytest.mark.parametrize("file_name", ["raw.dng", "raw.NEF", "old.tga"])
    def test_may_have_an_unsupported_format(self, folder: CocoFolder, file_name: str) -> None:
        image_format = "TGA" if file_name.endswith("tga") else "TIFF"
        folder.add_image()
        folder.add_image(file_name="2.png")
        Image.new("RGB", (40, 30), RED).save(folder.images_folder / file_name, format=image_format)
        folder.images[1]["file_name"] = file_name
        folder.add_box()
        found = finding(folder.open("drop"), "unread_image_format")
        assert found.examples == [f"{file_name} (.{file_name.lower().rpartition('.')[2]})"]

    def test_may_be_a_broken_link(self, folder: CocoFolder) -> None:
        folder.add_image()
        folder.add_image(file_name="link.jpg")
        (folder.images_folder / "link.jpg").unlink()
        (folder.images_folder / "link.jpg").symlink_to("gone.jpg")
        folder.add_box()
        assert finding(folder.open("drop"), "missing_image").examples == ["link.jpg (a broken link)"]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_32_bits_are_refused(folder: CocoFolder, mode: str) -> None:
    folder.add_image(Image.new(mode, (8, 6), 1), file_name="deep.tif")
    folder.add_box(bbox=(0, 0, 4, 4))
    with pytest.raises(DataError, match=rf"unread_pixel_format: 1 .deep.tif .Pillow mode {mode}"):
        folder.open()


class TestPixelLimit:
    def test_is_reported_with_the_size_and_the_limit(self, folder: CocoFolder) -> None:
        folder.add_image(Image.new("1", (20_000, 9_000)), file_name="huge.png")
        folder.add_box()
        with pytest.raises(DataError, match=r"image_too_large: 1 .huge.png .180,000,000 pixels, limit"):
            folder.open()

    def test_allows_images_below_it_without_a_warning(self, folder: CocoFolder) -> None:
        folder.add_image(Image.new("1", (12_000, 9_000)), file_name="big.png")
        code = "from fgd_core.data.image_headers import read_headers; import sys; "
        code += "print(read_headers([sys.argv[1]]).at(0).width)"
        path = str(folder.images_folder / "big.png")
        ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        assert (ran.stdout, ran.stderr) == ("12000\n", "")


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


class TestSixteenBitImages:
    def test_that_use_only_the_lower_bits_are_reported(self, folder: CocoFolder) -> None:
        for number in range(3):
            folder.add_image(_deep_grey(4000 + number), file_name=f"{number}.png")
        folder.add_box(bbox=(0, 0, 4, 4))
        found = finding(folder.open(), "dark_16_bit_image")
        assert (found.action, found.count, found.examples[0]) == ("kept", 3, "0.png (12 bits in use)")

    def test_in_colour_are_also_reported(self, folder: CocoFolder) -> None:
        folder.add_image(Image.new("RGB", (8, 6)), file_name="colour.png")
        # Pillow cannot write 16-bit colours. This file has 8x6 px with the value 2,000 of 65,535.
        rows = (b"\0" + (2000).to_bytes(2) * 3 * 8) * 6
        (folder.images_folder / "colour.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0))
            + _chunk(b"IDAT", zlib.compress(rows))
            + _chunk(b"IEND", b"")
        )
        folder.add_box(bbox=(0, 0, 4, 4))
        assert finding(folder.open(), "dark_16_bit_image").examples == ["colour.png (11 bits in use)"]

    def test_may_be_dark_if_another_is_bright(self, folder: CocoFolder) -> None:
        folder.add_image(_deep_grey(40), file_name="dark.png")
        folder.add_image(_deep_grey(60_000), file_name="bright.png")
        folder.add_box(bbox=(0, 0, 4, 4))
        assert folder.open().checked.findings == []


def _marked(orientation: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Return a black image with this EXIF orientation, whose stored top left corner is white."""
    image = Image.new("L", size)
    image.paste(255, (0, 0, 8, 8))
    image.getexif()[0x0112] = orientation
    return image


def _corner(pixels: np.ndarray) -> str:
    """Return which corner is white."""
    rows, columns = np.nonzero(pixels[:, :, 0] > 128)
    vertical = "top" if rows.mean() < pixels.shape[0] / 2 else "bottom"
    return f"{vertical} {'left' if columns.mean() < pixels.shape[1] / 2 else 'right'}"


class TestExifOrientation:
    # The corner that shows the stored first row and first column, from the EXIF standard.
    CORNERS = {
        1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
        5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left",
    }  # fmt: skip

    @pytest.mark.parametrize("orientation", CORNERS)
    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
    def test_is_applied_if_the_boxes_fit_the_rotated_image(
        self, folder: CocoFolder, orientation: int, suffix: str
    ) -> None:
        width, height = (30, 40) if orientation >= 5 else (40, 30)
        folder.add_image(_marked(orientation), file_name=f"turned.{suffix}", width=width, height=height)
        folder.add_box()
        dataset = folder.open()
        pixels = dataset.load_image(0).permute(1, 2, 0).numpy()
        assert pixels.shape == (height, width, 3)
        assert _corner(pixels) == self.CORNERS[orientation]
        if orientation > 1:
            assert finding(dataset, "rotated_by_exif").count == 1

    def test_is_ignored_if_the_boxes_fit_the_stored_image(self, folder: CocoFolder) -> None:
        folder.add_image(_marked(6), file_name="stored.jpg", width=40, height=30)
        folder.add_box()
        dataset = folder.open()
        assert _corner(dataset.load_image(0).permute(1, 2, 0).numpy()) == "top left"
        assert finding(dataset, "exif_ignored").action == "kept"

    def test_is_applied_to_a_square(self, folder: CocoFolder) -> None:
        folder.add_image(_marked(6, (40, 40)), file_name="square.jpg")
        folder.add_box()
        assert _corner(folder.open().load_image(0).permute(1, 2, 0).numpy()) == "top right"

    def test_that_does_not_fit_either_way_makes_the_image_bad(self, folder: CocoFolder) -> None:
        folder.add_image(_marked(6), file_name="odd.jpg", width=31, height=40)
        folder.add_box()
        with pytest.raises(DataError, match="size_mismatch"):
            folder.open()


class TestFileEnd:
    def test_may_be_followed_by_more_bytes(self, folder: CocoFolder) -> None:
        for file_name in ("camera.jpg", "camera.png"):
            folder.add_image(file_name=file_name)
            with (folder.images_folder / file_name).open("ab") as file:
                file.write(b"appended by the camera")
        folder.add_box()
        assert folder.open().checked.findings == []

    def test_is_checked_in_other_formats(self, folder: CocoFolder) -> None:
        folder.add_image(file_name="cut.bmp")
        path = folder.images_folder / "cut.bmp"
        path.write_bytes(path.read_bytes()[:-100])
        folder.add_box()
        with pytest.raises(DataError, match="truncated_image"):
            folder.open()

    def test_is_checked_without_decoding_a_complete_file(self, folder: CocoFolder) -> None:
        for file_name in ("whole.jpg", "whole.png"):
            folder.add_image(file_name=file_name)
            path = folder.images_folder / file_name
            content = bytearray(path.read_bytes())
            # Damaged pixels between a valid header and a valid end.
            content[-60:-20] = bytes(40)
            path.write_bytes(content)
        headers = _headers(*(folder.images_folder / name for name in ("whole.jpg", "whole.png")))
        assert [type(header).__name__ for header in headers] == ["Header", "Header"]
        with pytest.raises(DataError, match="cannot be decoded"):
            image_files.decode(folder.images_folder / "whole.png", (40, 30))


def _headers(*paths: Path) -> list[Header | Unusable]:
    headers = read_headers([*map(str, paths)])
    return [headers.at(index) for index in range(len(paths))]


def test_headers_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = []
    for width in range(1, 701):
        paths.append(tmp_path / f"{width}.bmp")
        Image.new("1", (width, 2)).save(paths[-1])
    headers = _headers(*paths, tmp_path / "none.png")
    found = [h.width if isinstance(h, Header) else h.problem for h in headers]
    assert found == [*range(1, 701), "missing_image"]


class TestPlainJpegFiles:
    """Their headers are read without Pillow, and must be the same."""

    @pytest.mark.parametrize(
        ("mode", "options", "is_plain"),
        [
            ("RGB", {}, True),
            ("RGB", {"progressive": True, "quality": 30}, True),
            ("RGB", {"subsampling": "4:1:1", "comment": b"a note"}, True),
            ("L", {"optimize": True}, True),
            ("RGB", {"icc_profile": b"profile"}, False),
            ("CMYK", {}, False),
        ],
    )
    def test_have_the_header_that_pillow_reads(
        self, tmp_path: Path, mode: str, options: dict[str, Any], is_plain: bool
    ) -> None:
        path = tmp_path / "a.jpg"
        pixels = np.random.default_rng(0).integers(0, 256, (21, 37, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, **options)
        assert (plain_size(path.read_bytes()[:HEAD_BYTES]) is not None) == is_plain
        (header,) = _headers(path)
        assert header == Header(width=37, height=21, orientation=1)
        with Image.open(path) as decoded:
            np.testing.assert_array_equal(image_files.decode(path, (37, 21)), np.asarray(decoded.convert("RGB")))

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_are_recognised_at_once_as_by_their_segments(self, tmp_path: Path, mode: str) -> None:
        path, rng = tmp_path / "a.jpg", random.Random(0)
        Image.new(mode, (37, 21)).save(path)
        head = path.read_bytes()[:HEAD_BYTES]
        heads = [head]
        for _ in range(5000):
            changed = bytearray(head)
            changed[rng.randrange(len(head))] = rng.choice((0, 1, 2, 255, 0xDA, 0xDB, 0xC4, rng.randrange(256)))
            heads.append(bytes(changed[: rng.choice((len(head), rng.randrange(len(head))))]))
        found = [plain_size(each) for each in heads]
        assert found == [size_by_segments(each) for each in heads]
        assert {None, (37, 21)} < {*found}

    def test_with_an_orientation_are_left_to_pillow(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        image = Image.new("RGB", (37, 21))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
        assert _headers(path) == [Header(width=37, height=21, orientation=6)]

    def test_that_end_early_or_are_damaged_are_found(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.new("RGB", (37, 21)).save(path)
        whole = path.read_bytes()
        for content in (whole[:-40], whole[:300], whole[:2]):
            path.write_bytes(content)
            (found,) = _headers(path)
            assert isinstance(found, Unusable)
            with pytest.raises(DataError, match="cannot be decoded"):
                image_files.decode(path, (37, 21))

    def test_are_read_in_order_by_many_processes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_headers, "MANY_FILES", 1)
        sizes = [(1 + number % 7, 1 + number % 11) for number in range(600)]
        for number, size in enumerate(sizes):
            Image.new("L", size).save(tmp_path / f"{number}.jpg")
        headers = _headers(*(tmp_path / f"{number}.jpg" for number in range(600)))
        assert [(header.width, header.height) for header in headers if isinstance(header, Header)] == sizes
