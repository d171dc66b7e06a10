"""`result.json`, the row that a finished trial leaves behind: its reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vprdist.files import read_json
from vprdist.spec.result import RESULT_VERSION, ResultRow
from vprdist.store.reading import read_spec

RUN_AGAIN = "Move the trial's folder away and run the sweep again."
"""What mends a file of a finished trial that cannot be read."""


def read_result(path: Path) -> ResultRow:
    """A trial's result.

    Raises:
        FileNotFoundError: there is none.
        UserError: unreadable, or of another version.
    """
    return read_spec(path, ResultRow, "a result", RUN_AGAIN, RESULT_VERSION)


def glance_at_result(path: Path) -> Mapping[str, Any]:
    """What the file says, unchecked and of any version; empty where it says nothing.

    `vprdist status` looks at every trial again and again: checking whole results would cost it seconds.
    """
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
