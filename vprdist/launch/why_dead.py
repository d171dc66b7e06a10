"""Why jobs die before vprdist starts in them: their last words, and what is likely, the likeliest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vprdist.errors import LaunchError
from vprdist.launch.params import python_words
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

LINES = 12
MISSING = re.compile(r"no such file or directory|not found", re.IGNORECASE)
"""What shells and containers say of a file or a program that is not there: Python, or one of `setup`."""
NO_PYTHON = re.compile(r"No module named|execve", re.IGNORECASE)
"""What Python says of a package that is missing, and srun of the program that it starts."""


def never_started(
    profile: ClusterProfile, where: str, fault: str, folder: TrialFolder, record: JobRecord, remedy: str
) -> LaunchError:
    """The message of a job that ended before its start: its last words, the likely causes, and what to do."""
    lines = folder.job_lines(record, LINES)
    return LaunchError(where, fault, None, explained(profile, lines, folder.attempt_log(record), remedy))


def explained(profile: ClusterProfile, lines: Sequence[str] | None, logs: Path, remedy: str) -> str:
    """The rest of such a message.

    Args:
        lines: the log's last ones; None where there is no log.
    """
    if lines is None:
        said = [
            f"There is no log of it in {logs}: its node could not write there, or it ended before its script began."
        ]
    elif not lines:
        said = [f"Its log in {logs} is empty."]
    else:
        said = [f"Its last words, in {logs}:", *(f"    {line}" for line in lines)]
    likely = [f"  - {cause}" for cause in causes(profile, lines, logs)]
    return "\n".join(["", *said, "Likely causes:", *likely, remedy])


def causes(profile: ClusterProfile, lines: Sequence[str] | None, logs: Path) -> list[str]:
    """What ends a job before its start, the likeliest first."""
    unseen = f"nodes do not see {logs}, or may not write there: it must lie on shared storage (`shared` in the profile)"
    python = f"nodes do not have this Python, {' '.join(python_words(profile))}, or not its packages"
    setup, srun = " ; ".join(profile.setup), " ".join(profile.srun_args)
    settings = [f"a line of `setup` fails ({profile.where('setup')}): {setup}"] if setup else []
    settings += [f"a word of `srun_args` is wrong ({profile.where('srun_args')}): {srun}"] if srun else []
    if lines is None:
        return [unseen, "the node's own prolog fails (scontrol show node)", *settings]
    if any(_is_of_python(line, python_words(profile)) for line in lines):
        return [python, *settings]
    return [*settings, python, f"the node lacks memory for Python's start (memory_gb: {profile.memory_gb})"]


def _is_of_python(line: str, words: Sequence[str]) -> bool:
    """Whether a line says that Python, the container around it, or a package is missing."""
    if NO_PYTHON.search(line):
        return True
    names = {words[0], words[-1], *(word for word in words if "/" in word)}
    return bool(MISSING.search(line)) and any(re.search(rf"(?<![\w/.-]){re.escape(n)}(?![\w/.-])", line) for n in names)
