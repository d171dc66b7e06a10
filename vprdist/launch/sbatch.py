"""What sbatch answers: sites print banners, and their wrappers say this and that."""

from __future__ import annotations

import re

TAKEN = re.compile(r"^Submitted batch job (\d+)(?: on cluster \S+)?[ \t\r]*$", re.MULTILINE)
PARSABLE = re.compile(r"^(\d+)(?:;\S+)?[ \t\r]*$", re.MULTILINE)
"""What `sbatch --parsable` says."""


def job_id_in(said: str, pattern: re.Pattern[str] = TAKEN) -> str | None:
    """The id of the job that sbatch took: its line is the last of its form.

    None where it does not say that it took one: "job 12 ended" of a login banner is no id.
    """
    found = pattern.findall(said)
    return found[-1] if found else None
