"""Pictures from disk as arrays of one size: whole, upright, eight bits a colour."""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from vprdist.errors import DataError, UserError, first_line
from vprdist.files import NotAFile, open_file
from vprdist.spec.computation import FIRST

Pixels = npt.NDArray[np.uint8]
Bytes = bytes | memoryview


class Loader(Protocol):
    """From a file, or its bytes, to a picture of some height and width; see `load_image`."""

    def __call__(self, path: Path, height: int, width: int, data: Bytes | None = None) -> Pixels: ...


MAX_PIXELS = 178_956_970
"""A picture may say that it has so many, as for Pillow: its pixels are allocated before any of them is seen."""
MAX_BYTES = 2**30
"""A file may be so long: Pillow reads those of some formats whole."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
"""Those that Pillow reads by itself: for a file that begins as EPS does it would call Ghostscript."""
# Pillow warns from half of its own bound on, for which it prints two lines of its source.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow's modes of grey pictures of 16 bits; some of its versions read them into 32."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""By EXIF's orientation, what puts a picture upright (EXIF 2.3, 4.6.4 A)."""
SIDEWAYS = (5, 6, 7, 8)

LEAVE_OUT = "Or leave such pictures out: trial.data.leave_out, or trial.data.broken: leave_out."
BROKEN_REMEDY = f"Fetch or unpack it again. {LEAVE_OUT}"
"""Helps whatever is wrong with a picture, and whoever made the data set."""
SMALLER_REMEDY = f"Scale it down; one that is smaller is damaged: fetch it again. {LEAVE_OUT}"
"""For a picture that says it is too large."""


def load_image(path: Path, height: int, width: int, data: Bytes | None = None) -> Pixels:
    """(height, width, 3) uint8 RGB, equal to torchvision's `Resize` of the picture as Pillow opens it.

    It is decoded whole, and resized by bilinear filtering with antialiasing where its size differs. EXIF's orientation
    is applied. The high byte of 16 bits counts, for grey pictures as Pillow has it for those in colour.

    Args:
        data: what the file holds, where it was read already: the path is then for messages alone.

    Raises:
        DataError: missing or cut picture; one whose colours are not known: transparent in places, or of floats.
    """
    with _opened(path, data) as image:
        image.load()
        turn = TURNS.get(_orientation(image))
        rgb = _rgb(path, image)
    rgb = rgb if turn is None else rgb.transpose(turn)
    return _resized(rgb, height, width)


def load_image_at_a_scale(path: Path, height: int, width: int, data: Bytes | None = None) -> Pixels:
    """What computation 1 reads: a JPEG of twice the size or more is decoded at a smaller scale, another filter.

    EXIF's orientation is not applied, and grey pictures of 16 bits are nearly white.

    Raises:
        DataError: missing or cut picture.
    """
    with _opened(path, data) as image:
        image.draft("RGB", (width, height))
        rgb = image.convert("RGB")
    return _resized(rgb, height, width)


def loader_of(computation: int) -> Loader:
    """How trials of a computation read their pictures."""
    return load_image_at_a_scale if computation == FIRST else load_image


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as `load_image` sees it; its pixels are not decoded.

    Raises:
        DataError: missing picture, or none.
    """
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in SIDEWAYS else (height, width)


def missing_remedy(path: Path) -> str:
    """What helps where no picture lies: it may lie there with another ending."""
    try:
        others = sorted(each.name for each in path.parent.iterdir() if each.stem == path.stem)
    except OSError:
        others = []
    return f"Rename {others[0]}, which lies there, to {path.name}. {LEAVE_OUT}" if others else BROKEN_REMEDY


def is_turned(path: Path) -> bool:
    """Whether EXIF's orientation asks for a picture to be turned.

    Raises:
        DataError: missing picture, or none.
    """
    with _opened(path) as image:
        return _orientation(image) in TURNS


@contextmanager
def open_picture(path: Path, data: Bytes | None = None) -> Iterator[Image.Image]:
    """A picture of a size that can be decoded, whoever made it; nothing of it is decoded yet.

    Args:
        data: what the file holds; None: it is read.

    Raises:
        NotAFile: something else lies there.
        Image.DecompressionBombError: it is too large, or says so.
        OSError, ValueError, SyntaxError: as Pillow.
    """
    stream: BinaryIO = open_file(path) if data is None else io.BytesIO(data)
    with stream:
        if (size := os.fstat(stream.fileno()).st_size if data is None else len(data)) > MAX_BYTES:
            raise Image.DecompressionBombError(f"it has {size} bytes, more than {MAX_BYTES}")
        with Image.open(stream, formats=_formats()) as image:
            if (pixels := image.width * image.height) > MAX_PIXELS:
                reason = f"it says that it has {image.width} x {image.height} pixels, more than {MAX_PIXELS}"
                raise Image.DecompressionBombError(reason)
            if not pixels:
                raise ValueError("it says that it has no pixel")
            yield image


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with; once a process, in 0.1 s."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _opened(path: Path, data: Bytes | None = None) -> Iterator[Image.Image]:
    """A picture whose faults, also while it is decoded in the block, are those of the picture. An error of the storage
    stays: another attempt may work."""
    try:
        with open_picture(path, data) as image:
            yield image
    except UserError:
        raise
    except FileNotFoundError:
        raise DataError(path, "the picture is missing", None, missing_remedy(path)) from None
    except Image.DecompressionBombError as error:
        raise DataError(path, "the picture cannot be read", first_line(error), SMALLER_REMEDY) from None
    except Exception as error:  # Pillow has many words for a broken picture, and each of its formats has more
        told = error.strerror if isinstance(error, OSError) and error.errno is not None else None
        if told is not None and not isinstance(error, NotAFile | PermissionError):
            raise
        reason = first_line(error) if told is None else told
        raise DataError(path, "the picture cannot be read", reason, BROKEN_REMEDY) from None


def _orientation(image: Image.Image) -> int:
    """1, upright, where nothing else is said."""
    try:
        found = image.getexif().get(ORIENTATION)
    except Exception:  # spoilt EXIF, in many ways: viewers show such a picture as it lies
        return 1
    return found if isinstance(found, int) else 1


def _rgb(path: Path, image: Image.Image) -> Image.Image:
    """A decoded picture in RGB, converted by Pillow where that keeps what is seen."""
    if image.mode in DEEP_GREY and "transparency" not in image.info:
        return Image.fromarray(_high_byte(path, np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise DataError(path, "the picture has no known white, its values are floats", None, "Save it in 8 bits.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            fault = "the picture is transparent in places, and what is seen there is not known"
            raise DataError(path, fault, None, "Save it without transparency.")
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_byte(path: Path, values: npt.NDArray[np.integer]) -> Pixels:
    if values.size and not 0 <= values.min() <= values.max() < 2**16:
        fault = "the picture has no known white, its values are beyond 16 bits"
        raise DataError(path, fault, int(values.max()), "Save it in 8 bits.")
    return (values >> 8).astype(np.uint8)


def _resized(rgb: Image.Image, height: int, width: int) -> Pixels:
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(rgb)
