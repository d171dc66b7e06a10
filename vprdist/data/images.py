"""Pictures from disk as arrays of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vprdist.errors import DataError


def load_image(path: Path, height: int, width: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB, resized by bilinear filtering with antialiasing where the size differs.

    Raises:
        DataError: missing or cut picture.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (width, height))  # a JPEG is decoded at the smallest scale that is large enough
            rgb = image.convert("RGB")
    except FileNotFoundError:
        raise DataError(path, "the picture is missing", None, "Unpack the city again.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if getattr(error, "errno", None) is not None:  # the storage failed, not the picture: another attempt may work
            raise
        raise DataError(path, "the picture cannot be read", str(error), "Unpack the city again.") from None
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(rgb)
