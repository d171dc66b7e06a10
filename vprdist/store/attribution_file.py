"""Where the attribution of a sweep lies, and its reading."""

from __future__ import annotations

from pathlib import Path

from vprdist.spec.attribution import READABLE_VERSIONS, AttributionReport
from vprdist.store.reading import read_spec

REMEDY = "Run the sweep again: what has a result is not run twice, and the attribution is written anew."
ENDS = ("json", "parquet", "md", "tex")
"""The forms in which it is published."""


def attribution_path(folder: Path, end: str = "json") -> Path:
    """Where a sweep's attribution lies: the JSON, which is read again, or another of `ENDS`."""
    return folder / f"attribution.{end}"


def attribution_files(folder: Path) -> list[Path]:
    """The files of an attribution that are there, the JSON first."""
    return [path for path in (attribution_path(folder, end) for end in ENDS) if path.exists()]


def forget_attribution(folder: Path) -> None:
    """Remove what an earlier search of the same name said."""
    # The JSON first: who finds it counts on the others.
    for path in attribution_files(folder):
        path.unlink(missing_ok=True)


def read_attribution(path: Path) -> AttributionReport | None:
    """The report in a file; None where there is no file.

    Raises:
        UserError: unreadable, or of another version.
    """
    try:
        return read_spec(path, AttributionReport, "an attribution", REMEDY, READABLE_VERSIONS)
    except FileNotFoundError:
        return None
