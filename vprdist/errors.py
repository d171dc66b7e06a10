"""What a user can get wrong, one class a kind.

Every message has one form: where, the rule, the value that broke it, the remedy. The command line prints it
without a traceback and leaves with exit code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something outside the program is wrong, and a person can mend it.

    Args:
        where: a file, ``file:line``, path, or dotted key.
        rule: what must hold, as a statement.
        value: what was found (omitted from the message when None).
        remedy: what to do.
    """

    def __init__(self, where: str | Path, rule: str, value: object = None, remedy: str = "") -> None:
        self.where, self.rule, self.value, self.remedy = str(where), rule, value, remedy
        found = "" if value is None else f"; found {value!r}"
        super().__init__(f"{where}: {rule}{found}." + (f" {remedy}" if remedy else ""))

    def to_json(self) -> dict[str, object]:
        """The arguments, for another process to raise it anew."""
        value = self.value if isinstance(self.value, (int, float, str, type(None))) else str(self.value)
        return {"where": self.where, "rule": self.rule, "value": value, "remedy": self.remedy}

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, object, str]]:
        return type(self), (self.where, self.rule, self.value, self.remedy)


class SweepFileError(UserError):
    """A sweep file or an override on the command line."""


class DataError(UserError):
    """A data set: a missing or cut CSV, an image, a city, positives; or the layout that reads it."""


class CacheError(UserError):
    """A cache of semantic activations."""


class WeightsError(UserError):
    """Initial weights or a checkpoint."""


class TrainingError(UserError):
    """Training cannot go on: a loss that is not finite, pairs that cannot be drawn."""


class OwnCodeError(TrainingError):
    """A class that a user brought: its file, its parameters, what it returned, or what it raised."""


class LaunchError(UserError):
    """A profile, a run folder, or the cluster's commands."""


class Stopped(Exception):
    """A job was asked to leave (preemption, time limit) and did so with a checkpoint; it is no failure."""


class RuleError(ValueError):
    """A rule of a spec that one field breaks; raised inside validators, shown with the field's own line."""

    def __init__(self, field: str, rule: str, value: object = None, remedy: str = "") -> None:
        super().__init__(rule)
        self.field, self.rule, self.value, self.remedy = field, rule, value, remedy


def first_line(error: BaseException) -> str:
    """What a library's error says, as one line for a message of ours; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(word: str, valid: Iterable[str]) -> str:
    """A remedy that names the valid words, and the nearest one first where there is a near one."""
    words = [str(v) for v in valid]
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.6)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Valid: {', '.join(words)}."
