"""What sbatch's refusals mean: wait, change something, or do not try again. Words of SLURM 20 to 24."""

from __future__ import annotations

import re

LATE = "sbatch did not answer"
"""What is said when our own patience ends (`submit`)."""
LIMITS = (
    "MaxSubmitJob",  # QOSMaxSubmitJobPerUserLimit, AssocMaxSubmitJobLimit, …
    "job submit limit",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
)
BUSY = (
    "Socket timed out",
    "Unable to contact slurm controller",
    "controller in standby mode",
    "Zero Bytes were transmitted or received",
    LATE,
)
WRONG = (
    "invalid partition",
    "Invalid account",
    "Invalid qos",
    "Invalid feature",
    "Invalid generic resource",
    "Invalid node name",
    "unrecognized option",
    "requested reservation is invalid",
    "Requested time limit is invalid",
    "Invalid license",
    "Invalid wckey",
    "Invalid --",  # of an option's value: sbatch says it itself
    "unrecognized --",
    "is mutually exclusive with",
    "are mutually exclusive",
    "invalid entry for --cluster",
    "Job dependency problem",
)
IMPOSSIBLE = (
    "Requested node configuration is not available",
    "Node count specification invalid",
    "More processors requested than permitted",
)
KEYS = {
    "Invalid account": ("account",),
    "Invalid qos": ("qos",),
    "Invalid feature": ("constraint",),
    "Invalid generic resource": ("gres", "gpu_type"),
    "Invalid node name": ("exclude", "nodelist"),
    "requested reservation is invalid": ("reservation",),
    "Invalid license": ("licenses",),
    "Invalid wckey": ("wckey",),
    "Job dependency problem": ("dependency",),
}
"""Which keys of a profile such a refusal is of: SLURM says what is wrong, and not where."""


POLICY = re.compile(r"\b(?:QOS|Assoc)[A-Z]\w+")
"""SLURM's reason beside `Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)`."""


def is_limit(words: str) -> bool:
    """The user has as many jobs as the site allows, or the controller is busy: later it will do."""
    return _has(words, LIMITS) and not _is_too_much(words)


def is_busy(words: str) -> bool:
    """The controller did not answer; whether there is a job by now nobody knows."""
    return _has(words, BUSY)


def is_impossible(words: str) -> bool:
    """No node of the partition can take such a job, as things are."""
    return _has(words, IMPOSSIBLE)


def is_wrong(words: str) -> bool:
    """The same job will never be taken."""
    return _has(words, WRONG) or _is_too_much(words) or (is_impossible(words) and not is_limit(words))


def keys_of(words: str) -> tuple[str, ...]:
    """Keys of a profile, one of which is refused; empty where nobody can tell."""
    return next((keys for said, keys in KEYS.items() if _has(words, (said,))), ())


def _is_too_much(words: str) -> bool:
    """One job asks for more than a QOS or an account ever allows; only numbers of submitted jobs go down again."""
    return any("Submit" not in reason for reason in POLICY.findall(words))


def _has(words: str, known: tuple[str, ...]) -> bool:
    return any(word.lower() in words.lower() for word in known)
