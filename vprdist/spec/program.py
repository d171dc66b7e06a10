"""A program of the user's own in the place of vprdist's training: `trial.job`, with `trial.params` for what it varies.

The text of its files is part of the trial's digests: another text, another trial. Paths are not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from vprdist.errors import RuleError
from vprdist.files import at_home
from vprdist.spec.base import Spec, marked, not_hashed
from vprdist.spec.own_code import FILE_NAME, class_name, own_file, own_files, settled, text_digest

SCRIPTS = (".py", ".sh")
"""Endings of a word that must be a file: a script that is not found would be another trial without anybody's notice."""
DEEPEST_PARAMS = 20
Leaves = Literal["result", "predictions", "descriptors"]
StopSignal = Literal["none", "INT", "TERM", "USR1", "USR2"]


class ProgramSpec(Spec):
    """A program that is a trial: a command, or a function of a file. It finds its parameters in `VPRDIST_TRIAL`."""

    command: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="the program and its words; a path counts from the file that has it"
    )
    function: str | None = Field(
        default=None, description="in the place of a command: path/file.py:name or package.module:name, called without "
        "arguments in a process of its own",
    )  # fmt: skip
    files: tuple[str, ...] = Field(
        default=(), description="further files and folders whose text makes another trial; scripts of the command, and "
        "what they import from beside them, need not be named",
    )  # fmt: skip
    leaves: Leaves = Field(
        default="result", description="what it leaves: numbers of its own, or predictions or descriptors of the "
        "validation cities, which are then evaluated by trial.evaluate",
    )  # fmt: skip
    steps: int | None = not_hashed(
        None, ge=1, description="steps that it logs in all; a scheduler needs it, and bars show it"
    )
    stop_signal: StopSignal = not_hashed(
        "none", description="sent to it when the cluster wants the node back; `vprdist.client.should_stop()` tells it "
        "without a signal",
    )  # fmt: skip
    folder: str | None = not_hashed(
        None, description="where it runs; null: where the sweep was started",
        json_schema_extra=marked(other="a folder"),
    )  # fmt: skip

    @model_validator(mode="after")
    def _one(self) -> ProgramSpec:
        if (self.command is None) == (self.function is None):
            fault = "a program must be either a command or a function"
            raise RuleError("command", fault, None, "Write command: [python, train.py], or function: train.py:main.")
        if self.function is not None and ":" not in self.function:
            fault = "a function must be path/file.py:name or package.module:name"
            raise RuleError("function", fault, self.function, f"Write {self.function}:main, or a command.")
        return self

    @field_validator("command")
    @classmethod
    def _words(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value[0].strip() or any("\0" in word for word in value)):
            raise ValueError("a command must begin with a program, and its words have no NUL")
        return value

    @property
    def title(self) -> str:
        """The program in a few words, for a person."""
        if self.function is not None:
            return class_name(self.function) if not FILE_NAME.fullmatch(self.function) else _short(self.function)
        return " ".join(_short(word) for word in self.command or ())

    def hashed(self) -> dict[str, Any]:
        """As every spec, but files by their names: where they lie is no part of an experiment."""
        value = super().hashed()
        if self.command is not None:
            value["command"] = [_short(word) for word in self.command]
        if self.function is not None:
            value["function"] = class_name(self.function)
        value["files"] = [_short(word) for word in self.files]
        return value

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files and folders, as far as they are there: what a node loads."""
        words = [word for word in self.command or () if Path(word).is_absolute() and _is_file(word)]
        paths = [at_home(word) for word in (*words, *self.files)]
        if self.function is not None:
            paths += own_files([self.function])
        return tuple(path for path in paths if path.exists())

    def texts(self) -> Iterator[Path]:
        """The files whose text is part of the trial, those of folders included.

        Raises:
            RuleError: one is not there.
        """
        words = [("command", word) for word in self.command or () if Path(word).is_absolute() and _is_file(word)]
        words += [("files", word) for word in self.files]
        for field, word in words:
            path = at_home(word)
            if path.is_dir():
                yield from sorted(
                    each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts
                )
            elif path.is_file():
                yield path
            else:
                raise RuleError(field, "no such file or folder", word, "Mend the path, or delete it.")
        if self.function is not None:
            try:
                yield own_file(self.function)
            except RuleError as error:
                raise RuleError("function", error.fault, error.value, error.remedy) from None
        if self.command is not None and "-m" in self.command[:-1]:
            module = self.command[self.command.index("-m") + 1]
            try:
                yield own_file(f"{module}:main")
            except RuleError:
                return  # installed, or found on the node alone

    def digest(self) -> str:
        """16 hex digits of the text of its files, and of what Python files import from beside them.

        Raises:
            RuleError: one is not there, or cannot be read.
        """
        found = [f"{path.name} {text_digest(path)}" for path in self.texts()]
        return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def anchored_program(value: Any, folder: Path) -> Any:
    """A program's values as a file gives them, with absolute paths; what is no such section is left as it is.

    Raises:
        RuleError: a script of the command is in neither folder.
    """
    if not isinstance(value, dict):
        return value
    out = dict(value)
    if isinstance(out.get("command"), list):
        out["command"] = [_anchored(word, folder) if isinstance(word, str) else word for word in out["command"]]
    if isinstance(out.get("function"), str):
        out["function"] = settled(out["function"], folder)
    if isinstance(out.get("files"), list):
        paths = [str((folder / at_home(word)).resolve()) if isinstance(word, str) else word for word in out["files"]]
        out["files"] = paths
    if isinstance(out.get("folder"), str):
        out["folder"] = str((folder / at_home(out["folder"])).resolve())
    return out


def check_params(value: Any, at: str = "params") -> None:
    """A tree of plain values: text keys, finite numbers.

    Raises:
        RuleError: it is not.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            if not key or not isinstance(key, str):
                raise RuleError(at, "a parameter must have a name", key, "Name it.")
            if at.count(".") >= DEEPEST_PARAMS:
                raise RuleError(
                    at, f"parameters must not lie deeper than {DEEPEST_PARAMS} names", None, "Flatten them."
                )
            check_params(each, f"{at}.{key}")
    elif isinstance(value, (list, tuple)):
        for each in value:
            check_params(each, at)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RuleError(at, "a parameter must be a finite number", value, "Write a number, a text or null.")


def _is_file(word: str) -> bool:
    try:
        return at_home(word).is_file()
    except OSError:  # a word that is too long for a name
        return False


def _anchored(word: str, folder: Path) -> str:
    for base in (folder, Path.cwd()):
        if not word.startswith("-") and _is_file(str(base / at_home(word))):
            return str((base / at_home(word)).resolve())
    if word.endswith(SCRIPTS) and not word.startswith("-"):
        fault = f"no such file in {folder}, nor where vprdist was started"
        raise RuleError("command", fault, word, "A path counts from the folder of the sweep file.")
    return word


def _short(word: str) -> str:
    return word.rpartition("/")[2] if word.startswith("/") else word
