"""A user's own class is loaded and run: from the file that was read, and what goes wrong inside it names its line."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from vprdist.errors import OwnCodeError, RuleError, UserError, first_line
from vprdist.machine import end_in_full
from vprdist.spec.own_code import FILE_NAME, MODULE_NAME, is_own, own_file, read_own

ITS_FILES = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
"""Errors of the machine that are a mistake where a line of a user's file makes them: it opens what is not there."""


def place_of_class(name: str) -> str:
    """Where a class stands, `file:line`; its name where it cannot be read any more."""
    try:
        own = read_own(name)
    except RuleError:
        return name
    return f"{own.file}:{own.line}"


def load_own(name: str, digest: str | None = None) -> Any:
    """The class itself; its file is run.

    Args:
        digest: of the file when the trial was submitted; None: any.

    Raises:
        OwnCodeError: no such class here, an error while its file is run, or another text than when it was submitted.
    """
    try:
        own = read_own(name)
    except RuleError as error:
        raise OwnCodeError(name, error.fault, error.value, error.remedy) from None
    if digest is not None and own.digest != digest:
        fault = f"the file was changed since the trial was submitted; its digest must be {digest}"
        raise OwnCodeError(own.file, fault, own.digest, "Run the sweep again: another text is another trial.")
    end_in_full()
    with blamed(name):
        return getattr(_module(name, own.file, own.digest), own.name)


def _module(name: str, path: Path, digest: str) -> ModuleType:
    """The module of a file, run once a process and text."""
    if match := MODULE_NAME.fullmatch(name):
        return importlib.import_module(match["module"])
    own_name = f"vprdist_own_{path.stem}_{hashlib.sha256(f'{path} {digest}'.encode()).hexdigest()[:12]}"
    if own_name in sys.modules:
        return sys.modules[own_name]
    spec = importlib.util.spec_from_file_location(own_name, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[own_name] = module  # dataclasses and pickle look a class up by its module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # the file may import others beside it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own_name]
        raise
    return module


@contextlib.contextmanager
def blamed(*names: str, otherwise: str | None = None, at_once: bool = False) -> Iterator[None]:
    """An error that comes out of a user's own file becomes one message with its file and line.

    What the machine does to it (memory, disk, a lost rank) stays what it is: another attempt may mend that.

    Args:
        otherwise: the class to blame for an error on whose way no line of a file stands: one that cannot be called so.
        at_once: there is no other attempt, so that what the machine does is theirs too.

    Raises:
        OwnCodeError: the block failed in a line of one of the files, or in what that line called.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, (OSError, MemoryError)) and not isinstance(error, ITS_FILES) and not at_once:
            raise
        if type(error).__name__ in ("OutOfMemoryError", "LostRankError", "Stopped") or _is_ours(error):
            raise
        place = place_in(error, *names) or otherwise
        if place is None:
            raise
        remedy = "Mend the file, and run the sweep again."
        raise OwnCodeError(place, f"{type(error).__name__}: {first_line(error)}", None, remedy) from error


def _is_ours(error: BaseException) -> bool:
    """Whether it is our own word to leave, from a signal that came while a user's class was running."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parents[1]
    return isinstance(error, SystemExit) and bool(frames) and Path(frames[-1].filename).is_relative_to(ours)


def place_in(error: BaseException, *names: str) -> str | None:
    """`file:line`, the last line of one of these classes' files on the way to the error; None: there is none."""
    files = {os.path.realpath(own) for own in map(_known_file, names) if own is not None}
    if isinstance(error, SyntaxError) and error.filename and os.path.realpath(error.filename) in files:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.realpath(frame.filename) in files:
            return f"{frame.filename}:{frame.lineno}"
    return None


def _known_file(name: str) -> Path | None:
    """The file of a name; a path need not be there any more."""
    if match := FILE_NAME.fullmatch(name):
        return Path(match["file"])
    try:
        return own_file(name) if is_own(name) else None
    except RuleError:
        return None
