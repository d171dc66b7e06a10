"""`python -m vprdist.launch.submit FOLDER TOKEN`: submit the job whose intent stands in the trial's journal.

The dispatcher starts this in a session of its own, holding the trial's submit lock. It survives the driver's
Ctrl-C and kill -9, so that a job that was submitted is a job that was journalled.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vprdist.launch.folder import TrialFolder


def main(arguments: list[str]) -> int:
    """Submit and journal; 0 when the journal says `submitted`."""
    folder, token = TrialFolder(Path(arguments[0])), arguments[1]
    record = folder.job()
    if record is None or record.token != token or record.state != "intent":
        print(f"The journal of {folder.trial_id} no longer asks for submission {token}; nothing was submitted.")
        return 1
    logs = folder.attempt_log(record)
    if record.cluster == "local":
        from vprdist.launch.local import submit_here as submit
    else:
        from vprdist.launch.slurm import submit_to_slurm as submit
    try:
        folder.write_job(submit(folder, record, logs))
    except Exception as error:  # whatever sbatch or submitit says goes to the person in one line
        print(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
