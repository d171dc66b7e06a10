"""What a user can get wrong, one class a kind.

Every message has one form: where, the fault, the value, the remedy. The fault says what is wrong ("no such trial",
"the cluster refuses the job") or what must be and is not ("the loss must be finite"); never what holds as a rule, for
that would say the opposite of what happened. `tests/test_messages.py` reads them all. The command line prints a
message without a traceback and leaves with exit code 2.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

_REQUIRES = re.compile(r"\b(?:must|needs?|should)\b")
"""A fault with one of these words says what was wanted, so that the value after it is what was found instead."""

LONGEST = 500
"""Characters of a value that a message shows: a file of a million of them would be printed whole."""


_RUNS_CODE = re.compile(
    r"weights_only|trust_remote_code|allow_pickle|safe_globals|unsafe_load|custom code", re.IGNORECASE
)


class UserError(Exception):
    """Something outside the program is wrong, and a person can mend it.

    The message is `where: fault: value. remedy`, or `where: fault; found value. remedy` where the fault says what
    must be: "runs: no such sweep: 'nosuch'. …", "step 4: the loss must be finite; found nan. …".

    Args:
        where: a file, ``file:line``, path, or dotted key.
        fault: what is wrong, in lower case and without a full stop.
        value: what was found (omitted from the message when None).
        remedy: what to do, in sentences.
    """

    exit_code = 2

    def __init__(self, where: str | Path, fault: str, value: object = None, remedy: str = "") -> None:
        self.where, self.fault, self.value, self.remedy = str(where), fault, value, remedy
        before = "; found " if _REQUIRES.search(fault) else ": "
        found = "" if value is None else f"{before}{shown(value)}"
        super().__init__(f"{where}: {fault}{found}." + (remedy if remedy[:1] in ("", "\n") else f" {remedy}"))

    def to_json(self) -> dict[str, object]:
        """The arguments, for another process to raise it anew (`from_json`)."""
        value = self.value if isinstance(self.value, (int, float, str, type(None))) else str(self.value)
        # "rule" is the fault's name on disks: a driver and the jobs of another version read each other's.
        return {"where": self.where, "rule": self.fault, "value": value, "remedy": self.remedy}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """The error that `to_json` told of, as one of this class."""
        return cls(said["where"], said["rule"], said["value"], said["remedy"])

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, object, str]]:
        return type(self), (self.where, self.fault, self.value, self.remedy)


@contextmanager
def leading_there(key: str) -> Iterator[None]:
    """What is wrong below is said with the key of a sweep file that leads there: `trial.data.root: /nowhere: …`."""
    try:
        yield
    except UserError as error:
        if error.where.startswith(("trial.", key)):
            raise
        raise type(error)(f"{key}: {error.where}", error.fault, error.value, error.remedy) from None


class SweepFileError(UserError):
    """A sweep file or an override on the command line."""


class DataError(UserError):
    """A data set: a missing or cut CSV, an image, a city, positives; or the layout that reads it."""


class CacheError(UserError):
    """A cache of semantic activations."""


class WeightsError(UserError):
    """Initial weights or a checkpoint."""


class CheckpointError(WeightsError):
    """A checkpoint of the trial's own that is damaged: training starts anew."""


class TrainingError(UserError):
    """Training cannot go on: a loss that is not finite, pairs that cannot be drawn."""


class OwnCodeError(TrainingError):
    """A class that a user brought: its file, its parameters, what it returned, or what it raised."""


class LaunchError(UserError):
    """A profile, a run folder, or the cluster's commands."""


class WorkersHang(LaunchError):
    """Worker processes give nothing any more: a disk hangs, or a node is overloaded. It is of no trial's making."""


class ProgramError(LaunchError):
    """A program of the user's own that died. Nobody can tell of what, so that another attempt is made."""


class Stopped(Exception):
    """A job was asked to leave (preemption, time limit) and did so with a checkpoint; it is no failure."""


class RuleError(ValueError):
    """A rule of a spec that one field breaks; raised inside validators, shown with the field's own line."""

    def __init__(self, field: str, fault: str, value: object = None, remedy: str = "") -> None:
        super().__init__(fault)
        self.field, self.fault, self.value, self.remedy = field, fault, value, remedy


def shown(value: object) -> str:
    """A value for one line of a message: the beginning of one that is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def first_line(error: BaseException) -> str:
    """What a library's error says, as one line for a message of ours; its kind where it says nothing.

    Some advise to load a file by running what is in it. That is not passed on.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "objects that only code of the file's own could make" if _RUNS_CODE.search(line) else line


def nearest(word: str, valid: Iterable[str]) -> str:
    """A remedy that names the valid words, and the nearest one first where there is a near one."""
    words = [str(v) for v in valid]
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.6)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Valid: {', '.join(words)}."
