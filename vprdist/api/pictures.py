"""The pictures that a trial leaves: sheets of queries with what was retrieved, masks, augmented pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from vprdist.api.html import paragraph, paragraphs

MOST_SHOWN = 4
"""Sheets that a notebook shows by itself."""
MOST_WIDE = 1000
"""Pixels; a wider sheet is shown smaller."""


class Pictures(Mapping[str, Image.Image]):
    """Sheets by name: `sheet` (queries and what was retrieved), `masks`, `augmented`, with the seed where there are
    several.

    Attributes:
        notes: sheets that cannot be opened.

    Example:
        >>> sweep.pictures("rgb 0-2")["sheet"].save("sheet.png")
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._sheets: dict[str, Image.Image] = {}
        notes = []
        for name, path in paths.items():
            try:
                with Image.open(path) as opened:
                    self._sheets[name] = opened.convert("RGB")
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                notes.append(f"{path} cannot be opened as a picture: {error}")
        self.notes: Sequence[str] = tuple(notes)

    def __getitem__(self, name: str) -> Image.Image:
        return self._sheets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sheets)

    def __len__(self) -> int:
        return len(self._sheets)

    def __repr__(self) -> str:
        sizes = (f"{name} {sheet.width}x{sheet.height}" for name, sheet in self._sheets.items())
        return "\n".join([f"pictures: {', '.join(sizes) or 'none'}", *self.notes])

    def _repr_html_(self) -> str:
        shown = list(self._sheets.items())[:MOST_SHOWN]
        more = len(self) - len(shown)
        notes = ["no pictures were left"] if not self._sheets and not self.notes else []
        notes += [f"… and {more} more"] if more > 0 else []
        return "".join(f"{paragraph(name)}{_image(sheet)}" for name, sheet in shown) + paragraphs([*notes, *self.notes])


def _image(sheet: Image.Image) -> str:
    small = sheet.copy()
    small.thumbnail((MOST_WIDE, 4 * MOST_WIDE))
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
