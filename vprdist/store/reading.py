"""How a small JSON file of a run folder is read: whole and checked, or refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vprdist.errors import UserError, first_line
from vprdist.files import MOST_JSON, parse_json, read_bytes

Shape = TypeVar("Shape", bound=BaseModel)


def read_spec(
    path: Path, shape: type[Shape], what: str, remedy: str, version: int | tuple[int, ...] | None = None
) -> Shape:
    """A file that holds one spec.

    Args:
        what: what it is called: `a result`.
        remedy: what mends it.
        version: what its `version` must be, or which may be; None where files of its kind have none.

    Raises:
        FileNotFoundError: there is no file.
        UserError: it cannot be read, or is of another version.
    """
    try:
        data = read_bytes(path, MOST_JSON)
        value = parse_json(data)
        known = version if isinstance(version, tuple) else (version,)
        found = value.get("version") if isinstance(value, dict) else known[-1]
        if version is not None and found not in known:  # said first: its fields may be others
            words = " or ".join(map(str, known))
            raise UserError(path, f"{what} must have version {words}", found, remedy)
        return shape.model_validate_json(data)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(path, f"{what} must be readable", found_in(error), remedy) from None


def found_in(error: BaseException) -> str:
    """What is wrong with a file, in one line."""
    if isinstance(error, ValidationError):  # its first line counts the findings, and names none
        first = error.errors(include_url=False)[0]
        return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    if isinstance(error, OSError):
        return error.strerror or first_line(error)
    return first_line(error)
