"""Whether a folder holds the demo city of a spec, by the mark that its writer leaves; nothing is drawn for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vprdist.errors import DataError
from vprdist.files import read_json, write_json
from vprdist.spec.demo import DemoSpec

GENERATOR = 1
"""Raised when the same spec begins to make other bytes."""
MARK, WORK, LOCK = "demo.json", ".work", ".lock"


def is_made(spec: DemoSpec, folder: Path) -> bool:
    """Whether a folder holds the whole city of a spec; nothing is written.

    Raises:
        DataError: it holds another spec's city, or one of another version.
    """
    return (folder / MARK).exists() and check_folder(folder, wanted_of(spec))


def wanted_of(spec: DemoSpec) -> dict[str, Any]:
    """What the mark of the city of that spec says."""
    return {"generator": GENERATOR, **spec.resolved()}


def check_folder(folder: Path, wanted: dict[str, Any]) -> bool:
    """True when the folder is complete; claims an empty one.

    Raises:
        DataError: the folder is of another spec, or holds what no demo city put there.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(folder, "a demo city cannot be written into a file", remedy="Name another path.")
    plan = folder / WORK / "plan.json"
    for path in (folder / MARK, plan):
        if path.exists():
            try:
                found = read_json(path)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise DataError(path, f"the spec of a demo city must be JSON ({error})",
                                remedy="Delete the folder; it will be made again.") from None  # fmt: skip
            if found != wanted:
                different = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
                raise DataError(folder, "the folder holds another demo city already", different or None,
                                "Name another folder, or delete this one.")  # fmt: skip
            return path.name == MARK
    strange = sorted(entry.name for entry in folder.iterdir() if entry.name not in (LOCK, WORK))
    if strange:
        raise DataError(folder, "a demo city must be written into an empty folder", strange[0], "Name an empty folder.")
    write_json(plan, wanted)
    return False
