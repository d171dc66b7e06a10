"""Run a trial in this process as one rank: `python -m tests.training.ranks TRIAL FOLDER RANK WORLD`."""

from __future__ import annotations

import sys
from pathlib import Path

from vprdist.spec.trial import TrialSpec
from vprdist.training.run import run_trial

if __name__ == "__main__":
    trial_file, folder, rank, world = sys.argv[1:]
    trial = TrialSpec.model_validate_json(Path(trial_file).read_text())
    run_trial(
        trial,
        Path(folder),
        rank=int(rank),
        world_size=int(world),
        local_rank=int(rank),
        rendezvous=Path(folder) / "rendezvous.json",
        num_threads=1,
    )
