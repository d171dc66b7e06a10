"""`result.json`, the row that a finished trial leaves behind: its reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vprdist.errors import UserError
from vprdist.files import read_json
from vprdist.spec.result import RESULT_VERSION, ResultRow
from vprdist.store.reading import read_checked

RUN_AGAIN = "Move the trial's folder away and run the sweep again."
"""What mends a file of a finished trial that cannot be read."""


def read_result(path: Path) -> ResultRow:
    """A trial's result.

    Raises:
        UserError: unreadable, or of another version.
    """
    try:
        value, row = read_checked(path, ResultRow, "a result", RUN_AGAIN)
    except UserError:
        version = glance_at_result(path).get("version", RESULT_VERSION)
        if version != RESULT_VERSION:
            raise UserError(path, f"a result must have version {RESULT_VERSION}", version, RUN_AGAIN) from None
        raise
    if value.get("version") != RESULT_VERSION:
        raise UserError(path, f"a result must have version {RESULT_VERSION}", value.get("version"), RUN_AGAIN)
    return row


def glance_at_result(path: Path) -> Mapping[str, Any]:
    """What the file says, unchecked and of any version; empty where it says nothing.

    `vprdist status` looks at every trial again and again: checking whole results would cost it seconds.
    """
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
