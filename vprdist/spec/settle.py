"""Names of a user's own classes with absolute paths: a path counts from the file that has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vprdist.errors import RuleError, SweepFileError
from vprdist.spec.origin import Key, Origin
from vprdist.spec.own_code import settled
from vprdist.spec.program import anchored_program
from vprdist.spec.segmenter import written_segmenter
from vprdist.spec.trial import CHOICES, TrialSpec

SEGMENTER: Key = ("trial", "input", "segmenter")


def settle(dotted: str, value: Any, origin: Origin, where: Key) -> Any:
    """A value of a trial's named choice with an absolute path, or of a whole section; others are left as they are."""
    key = tuple(dotted.removesuffix(".name").split("."))
    if key == SEGMENTER[1:] and key == tuple(dotted.split(".")):
        return written_segmenter(value, folder_of(origin, where))
    folder = folder_of(origin, where)
    if key in CHOICES:
        return CHOICES[key].anchored(value, folder)
    if key[:-1] in CHOICES:
        return CHOICES[key[:-1]].anchored(value, folder, parameter=key[-1])
    if dotted == "job":
        return settle_program(value, origin, where)
    if dotted.startswith("job."):
        field = dotted.removeprefix("job.")
        return settle_program({field: value}, origin, where)[field]
    if isinstance(value, dict) and dotted == "trial":  # several sections
        return {name: settle(name, each, origin, (*where, name)) for name, each in value.items()}
    if isinstance(value, dict) and dotted in TrialSpec.model_fields:  # a whole section
        return {name: settle(f"{dotted}.{name}", each, origin, (*where, name)) for name, each in value.items()}
    return value


def settle_choice(choice: Any, origin: Origin, where: Key) -> Any:
    """A named choice with an absolute path."""
    folder = folder_of(origin, where)
    if isinstance(choice, str):
        return settled(choice, folder)
    if isinstance(choice, dict) and isinstance(choice.get("name"), str):
        return {**choice, "name": settled(choice["name"], folder)}
    return choice


def settle_program(value: Any, origin: Origin, where: Key) -> Any:
    """The section `job` of a trial with absolute paths.

    Raises:
        SweepFileError: a script of its command is not there.
    """
    try:
        return anchored_program(value, folder_of(origin, where))
    except RuleError as error:
        at = where if where[-1] == error.field or where[0] == "search" else (*where, error.field)
        raise SweepFileError(origin.where(at), error.fault, error.value, error.remedy) from None


def folder_of(origin: Origin, where: Key) -> Path:
    """From where a path counts: from the file that has it, or on the command line from the working folder."""
    return Path.cwd() if origin.overridden(where) else origin.path.parent
