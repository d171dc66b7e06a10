"""`result.json`, the row that a finished trial leaves behind: its reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vprdist.errors import UserError, first_line
from vprdist.files import read_json
from vprdist.spec.result import RESULT_VERSION, ResultRow

RUN_AGAIN = "Move the trial's folder away and run the sweep again."
"""What mends a file of a finished trial that cannot be read."""


def read_result(path: Path) -> ResultRow:
    """A trial's result.

    Raises:
        UserError: unreadable, or of another version.
    """
    try:
        value = read_json(path)
        if value.get("version") != RESULT_VERSION:
            raise UserError(path, f"a result must have version {RESULT_VERSION}", value.get("version"), RUN_AGAIN)
        return ResultRow.model_validate_json(path.read_bytes())
    except (ValueError, AttributeError) as error:
        found = first_line(error)
        if isinstance(error, ValidationError):  # its first line counts the findings, and names none
            first = error.errors()[0]
            found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(path, "a result must be readable", found, RUN_AGAIN) from None


def glance_at_result(path: Path) -> Mapping[str, Any]:
    """What the file says, unchecked and of any version; empty where it says nothing.

    `vprdist status` looks at every trial again and again: checking whole results would cost it seconds.
    """
    try:
        value = read_json(path)
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
