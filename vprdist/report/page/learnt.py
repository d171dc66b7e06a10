"""Masks that were learnt, on the page: what they show of each class, and what they make of some pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vprdist.report.learnt import HEADERS, READING, LearntRow, cells
from vprdist.report.rows import Row
from vprdist.store.trial_folder import TrialFolder

MOST_SHEETS, WIDTH, QUALITY = 8, 1100, 75


@dataclass(frozen=True)
class MaskSheet:
    """The masks of one row's first seed: a JPEG picture as a data URI."""

    name: str
    seed: int
    uri: str


def learnt_section(rows: Sequence[LearntRow], sheets: Sequence[MaskSheet]) -> dict[str, Any] | None:
    """What the template needs; None where no mask was learnt."""
    if not rows and not sheets:
        return None
    tables = [{"name": row.name, "seeds": row.seeds, "lines": cells(row), "source": row.source} for row in rows]
    return {"tables": tables, "headers": HEADERS, "reading": READING if rows else (), "sheets": sheets}


def mask_sheets(rows: Iterable[Row], runs: Path) -> list[MaskSheet]:
    """The pictures that trials wrote of their masks, of the first rows; what cannot be read is left out."""
    found = list[MaskSheet]()
    for row in rows:
        result = row.results[0]
        path = TrialFolder.of(runs, result.trial_id).masks_picture
        if row.is_variant or not row.trial.input.learns_mask or not path.is_file() or len(found) == MOST_SHEETS:
            continue
        try:
            found.append(MaskSheet(row.name, result.trial.seed, _uri(path)))
        except (OSError, ValueError, Image.DecompressionBombError):  # a page with gaps is better than no page
            continue
    return found


def _uri(path: Path) -> str:
    stream = io.BytesIO()
    with Image.open(path) as picture:
        size = (min(WIDTH, picture.width), max(1, round(picture.height * min(1, WIDTH / picture.width))))
        picture.convert("RGB").resize(size).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
