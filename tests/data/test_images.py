"""Pictures enter as torchvision resizes what Pillow opens, upright, in eight bits; unknown colours are refused."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize

from tests.worlds import write_small_tree
from vprdist.data.images import is_turned, load_image, load_image_at_a_scale, loader_of, upright_size
from vprdist.data.layouts.msls import read_city
from vprdist.data.pictures import turned_pictures
from vprdist.errors import DataError
from vprdist.spec.computation import COMPUTATION, EARLIER, FIRST

SIZES = [(64, 48), (128, 96), (127, 95), (129, 97), (300, 190), (640, 480), (40, 33), (64, 200)]
"""(width, height) on both sides of once, twice, four times and eight times what is wanted; narrow and wide."""
WANTED = (48, 64)


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise with edges of several pixels, as photographs have."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def reference(path: Path, height: int, width: int) -> np.ndarray:
    """The public code's way."""
    with Image.open(path) as image:
        return np.asarray(Resize((height, width), InterpolationMode.BILINEAR)(image.convert("RGB")))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["JPEG", "JPEG L", "JPEG CMYK", "JPEG progressive", "PNG", "PNG P", "PNG L", "PNG 1"])
def test_every_picture_is_that_of_the_public_code_to_the_grey_level(tmp_path: Path, size, kind: str) -> None:
    path, (form, *more) = tmp_path / "picture", kind.split()
    image = smooth(*size).convert(more[0]) if more and more[0] != "progressive" else smooth(*size)
    image.save(path, form, **({"progressive": True} if "progressive" in more else {}))
    assert np.array_equal(load_image(path, *WANTED), reference(path, *WANTED))


def test_the_first_computation_reads_as_it_did_and_that_is_another_filter(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    smooth(256, 192).save(path)
    with Image.open(path) as image:
        image.draft("RGB", (64, 48))
        then = np.asarray(image.convert("RGB").resize((64, 48), Image.Resampling.BILINEAR))
    assert np.array_equal(loader_of(FIRST)(path, *WANTED), then)
    assert not np.array_equal(loader_of(COMPUTATION)(path, *WANTED), then)
    assert EARLIER == (FIRST,) and loader_of(FIRST) is load_image_at_a_scale


def test_grey_of_sixteen_bits_is_as_bright_as_it_is_in_eight(tmp_path: Path) -> None:
    eight = np.asarray(smooth(64, 48).convert("L"))
    for name, deep in (("by 256", eight.astype(np.uint16) << 8), ("by 257", eight.astype(np.uint16) * 257)):
        for form in ("PNG", "TIFF"):
            path = tmp_path / f"{name}.{form}"
            Image.fromarray(deep).save(path, form)
            assert np.array_equal(load_image(path, *WANTED), np.stack([eight] * 3, axis=2)), (name, form)
    wide = tmp_path / "wide.tiff"
    Image.fromarray(eight.astype(np.int32) << 8).save(wide)
    assert np.array_equal(load_image(wide, *WANTED)[..., 0], eight)
    assert load_image_at_a_scale(tmp_path / "by 257.PNG", *WANTED).mean() > 250, "what it was before"


def test_a_range_that_is_not_known_is_refused(tmp_path: Path) -> None:
    values = np.full((48, 64), 70_000, np.int32)
    Image.fromarray(values).save(tmp_path / "wide.tiff")
    with pytest.raises(DataError, match=r"its values are beyond 16 bits: 70000. Save it in 8 bits"):
        load_image(tmp_path / "wide.tiff", *WANTED)
    Image.fromarray(np.float32(values) / 70_000).save(tmp_path / "floats.tiff")
    with pytest.raises(DataError, match="its values are floats"):
        load_image(tmp_path / "floats.tiff", *WANTED)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_places_are_refused_and_an_opaque_alpha_changes_nothing(tmp_path: Path, mode: str) -> None:
    plain = smooth(64, 48) if mode == "RGBA" else smooth(64, 48).convert("L")
    opaque, holed = plain.convert(mode), plain.convert(mode)
    if mode == "P":
        opaque.save(tmp_path / "opaque.png", transparency=bytes([255] * 256))
        holed.save(tmp_path / "holed.png", transparency=bytes([0] * 128 + [255] * 128))
    else:
        opaque.save(tmp_path / "opaque.png")
        holed.putpixel((5, 5), (*np.atleast_1d(plain.getpixel((5, 5))).tolist(), 0))
        holed.save(tmp_path / "holed.png")
    assert np.array_equal(load_image(tmp_path / "opaque.png", *WANTED), np.asarray(plain.convert("RGB")))
    with pytest.raises(DataError, match=r"transparent in places.* Save it without transparency"):
        load_image(tmp_path / "holed.png", *WANTED)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_pictures_stand_upright(tmp_path: Path, form: str, orientation: int) -> None:
    """As a camera that was held so stores it: row 0 and column 0 of the file lie where EXIF's table says."""
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32], upright[:24, 32:], upright[24:, :32] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    rows_and_columns = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1], 8: upright.transpose(1, 0, 2)[:, ::-1],
    }  # fmt: skip
    exif, path = Image.Exif(), tmp_path / "picture"
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(rows_and_columns[orientation])).save(path, form, exif=exif, quality=95)
    assert np.abs(load_image(path, *WANTED).astype(int) - upright).mean() < 4
    assert (upright_size(path), is_turned(path)) == (WANTED, orientation != 1)


def test_turned_pictures_are_named_once_a_side(tmp_path: Path) -> None:
    city = read_city(write_small_tree(tmp_path), "bob")
    assert turned_pictures(city) == ()
    exif = Image.Exif()
    exif[0x0112] = 6
    for row, form in ((2, "JPEG"), (5, "JPEG"), (6, "PNG")):
        smooth(40, 32).save(city.query.image_path(row), form, exif=exif)
    exif[0x0112] = 1
    smooth(40, 32).save(city.database.image_path(0), "JPEG", exif=exif)
    assert turned_pictures(city) == (
        "3 of 8 query images of bob are stored turned or mirrored, as EXIF says: they are put upright "
        "(the first: bob_q002.jpg)",
    )


def test_spoilt_exif_turns_nothing(tmp_path: Path) -> None:
    path, image = tmp_path / "picture.jpg", smooth(64, 48)
    for spoilt in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0rubbish", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x05"):
        image.save(path, exif=spoilt)
        assert np.array_equal(load_image(path, *WANTED), reference(path, *WANTED)), spoilt
        assert not is_turned(path)


def test_what_cannot_be_read_is_said_and_a_storage_that_fails_is_no_picture(tmp_path: Path, monkeypatch) -> None:
    cut = tmp_path / "cut.jpg"
    smooth(640, 480).save(cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    for read in (load_image, load_image_at_a_scale):
        with pytest.raises(DataError, match="the picture is missing"):
            read(tmp_path / "none.jpg", *WANTED)
        with pytest.raises(DataError, match="the picture cannot be read"):
            read(cut, *WANTED)
        with monkeypatch.context() as patched:
            patched.setattr(Image, "open", lambda path, **how: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            with pytest.raises(OSError, match="Input/output error"):
                read(cut, *WANTED)


def png(width: int, height: int, more: bytes = b"", data: bytes = b"") -> bytes:
    """A grey PNG that says that it has this size, whatever data it has."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    body = b"note\0\0" + zlib.compress(bytes(10**8))
    return struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))


TIFF = b"".join((
    struct.pack("<2sHIH", b"II", 42, 8, 2), struct.pack("<HHII", 256, 4, 1, 60000),
    struct.pack("<HHII", 257, 4, 1, 60000), bytes(4),
))  # fmt: skip
HOSTILE = {
    "a PNG that says it has 10^9 pixels": (png(2**16, 2**15), "2147483648 pixels.*Scale it down"),
    "one of 182 million": (png(14_000, 13_000), "14000 x 13000 pixels, more than 178956970.*Scale it down"),
    "one that says so of 100 million, and has none": (png(10**4, 10**4), "."),
    "a PNG whose remark becomes 100 MB": (png(64, 48, text_bomb(), zlib.compress(bytes(65 * 48))), "."),
    "a GIF of a huge screen": (b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\x2c" + bytes(9), "."),
    "a TIFF that says so": (TIFF, "."),
    "a BMP that says so": (b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 10**5, 10**5, 1, 24, *[0] * 6), "."),
    "a program for another program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "identify"),
    "no pixel": (png(0, 5), "."),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_pictures_that_would_fill_the_memory_or_call_another_program_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing is allocated for what 74 bytes say of themselves."""
    data, words = HOSTILE[name]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    for read in (load_image, load_image_at_a_scale):
        with pytest.raises(DataError, match=f"picture.jpg: the picture cannot be read.*{words}"):
            read(path, *WANTED)


def test_a_file_that_is_no_picture_for_its_length_alone_is_not_read(tmp_path: Path) -> None:
    """Pillow reads a WebP whole."""
    Image.new("RGB", (40, 32)).save(tmp_path / "picture.webp")
    os.truncate(tmp_path / "picture.webp", 5 * 10**9)  # nothing, that takes no room
    with pytest.raises(DataError, match="the picture cannot be read: 'it has 5000000000 bytes, more than"):
        load_image(tmp_path / "picture.webp", *WANTED)


def test_a_large_picture_is_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A panorama of 100 million pixels: Pillow's own bound is for pictures of the web."""
    Image.new("L", (14_000, 7_000)).save(tmp_path / "panorama.png", compress_level=1)
    assert load_image(tmp_path / "panorama.png", *WANTED).shape == (*WANTED, 3)
    assert not recwarn.list


def test_a_picture_as_large_as_pillow_takes_is_not_too_large(tmp_path: Path) -> None:
    """Panoramas of 16,384 x 8,192 and more are made."""
    (tmp_path / "panorama.png").write_bytes(png(17_000, 10_500))
    assert upright_size(tmp_path / "panorama.png") == (10_500, 17_000)


def test_a_picture_that_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, what in (("pipe.jpg", "a named pipe"), ("folder.jpg", "a folder")):
        with pytest.raises(DataError, match=f"the picture cannot be read: '{what} lies where a file should'"):
            load_image(tmp_path / name, *WANTED)
