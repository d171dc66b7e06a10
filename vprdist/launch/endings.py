"""How a job ended, where one word of SLURM's does not say: who cancelled it, and what its log says of that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from vprdist.launch.cluster import Cause, Sight
from vprdist.machine import user_name

CANCELLED_DUE_TO: dict[str, Cause] = {"PREEMPTION": "preempted", "NODE FAILURE": "cluster", "TIME LIMIT": "time"}
"""slurmd's words in a job's log. `DUE TO JOB REQUEUE` is no end, and without a reason anybody may have cancelled it."""
DUE_TO = re.compile(r"\bAT \d{4}-\d\d-\d\dT[\d:]+ DUE TO ([A-Z ]*[A-Z])")
OWN = re.compile(r"^vprdist\.[\w.]*Error: (.+)")
KILLED = 128
"""Shells add the signal's number to this."""


def who(user: str) -> str:
    """The name of a user whom SLURM calls by number; "somebody" where it does not say."""
    return user_name(int(user)) if user.isdecimal() else user or "somebody"


def due_to(lines: Iterable[str]) -> str:
    """Why SLURM cancelled the job, in its last words in the log; they may stand within a line of the job's own."""
    found = [words for line in lines for words in DUE_TO.findall(line)]
    return found[-1] if found else ""


def own_words(lines: Iterable[str]) -> str:
    """What a job says of its end where it knows: a full disk, say; empty where it says nothing."""
    found = [match[1] for line in lines if (match := OWN.match(line))]
    return found[-1] if found else ""


def last_word(sight: Sight, lines: Iterable[str]) -> Sight:
    """A job that is called cancelled, with what its log says: some sites call preempted jobs so."""
    reason = due_to(lines)
    cause = next((cause for words, cause in CANCELLED_DUE_TO.items() if reason.startswith(words)), None)
    return sight if cause is None else replace(sight, cause=cause, reason=f"{sight.reason}, due to {reason.lower()}")


def contradicts(state: str, exit_code: str) -> bool:
    """Whether a batch step ended by itself (`code:signal`), whatever the job is called; preempted ones are killed."""
    code, _, signal = exit_code.partition(":")
    by_itself = signal in ("", "0") and code.isdecimal() and 0 < int(code) <= KILLED
    return state in ("COMPLETED", "OUT_OF_MEMORY") or (state == "FAILED" and by_itself)
