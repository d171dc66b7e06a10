"""How a small JSON file of a run folder is read: whole and checked, or refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vprdist.errors import UserError, first_line
from vprdist.files import MOST_JSON, parse_json, read_bytes

Shape = TypeVar("Shape", bound=BaseModel)


def read_spec(path: Path, shape: type[Shape], what: str, remedy: str) -> Shape:
    """A file that holds one spec.

    Args:
        what: what it is called: `a result`.
        remedy: what mends it.

    Raises:
        FileNotFoundError: there is no file.
        UserError: it cannot be read.
    """
    _, value = read_checked(path, shape, what, remedy)
    return value


def read_checked(path: Path, shape: type[Shape], what: str, remedy: str) -> tuple[Any, Shape]:
    """The same, with the plain value of its JSON."""
    try:
        data = read_bytes(path, MOST_JSON)
        return parse_json(data), shape.model_validate_json(data)
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
